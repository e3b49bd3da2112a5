-- What the embedded hot store and its registry ask of hot.db. The order of the columns is the order of the code's fields.

-- name: claim_reference
-- Take a merchant's reference for an order, unless it is taken; the first to take it has it.
INSERT INTO order_refs (merchant_id, merchant_ref, order_id, digest)
VALUES (:merchant_id, :merchant_ref, :order_id, :digest)
ON CONFLICT (merchant_id, merchant_ref) DO NOTHING;

-- name: owner_of_reference
-- Whom a reference stands for, by which body, and that order's row; no row for a reference claimed a moment ago.
SELECT
    r.order_id, r.digest,
    o.order_id, o.merchant_id, o.merchant_ref, o.amount, o.currency, o.payment_method, o.metadata,
    o.status, o.status_reason, o.version, o.created_at, o.updated_at, o.deadline_at
FROM order_refs AS r
LEFT JOIN orders AS o ON o.order_id = r.order_id
WHERE r.merchant_id = :merchant_id AND r.merchant_ref = :merchant_ref;

-- name: insert_order
-- Write a new order, and say its first version: the epoch's first, or 1.
INSERT INTO orders (
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
)
VALUES (
    :order_id, :merchant_id, :merchant_ref, :amount, :currency, :payment_method, :metadata,
    :status, :status_reason, max(1, (SELECT epoch FROM deployment) << 32), :created_at, :updated_at, :deadline_at
)
RETURNING version;

-- name: change_order
-- Move an order on, and say its next version, never one that an earlier epoch may have given out.
UPDATE orders
SET
    status = :status,
    status_reason = :status_reason,
    updated_at = :updated_at,
    version = max(version + 1, (SELECT epoch FROM deployment) << 32)
WHERE order_id = :order_id
RETURNING version;

-- name: order_by_id
-- One order's row.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE order_id = :order_id;

-- name: order_id_of_reference
-- The order that a merchant's reference stands for.
SELECT order_id FROM order_refs WHERE merchant_id = :merchant_id AND merchant_ref = :merchant_ref;

-- name: found_deployment
-- Write the deployment's constants, the first time; later it changes nothing.
INSERT INTO deployment (id, group_count) VALUES (1, :groups) ON CONFLICT (id) DO NOTHING;

-- name: deployment
-- The deployment's constants, and the number of the last migration that was applied.
SELECT d.group_count, v.user_version, d.epoch FROM deployment AS d CROSS JOIN pragma_user_version AS v;

-- name: api_keys
-- Every key, revoked ones too, oldest first.
SELECT key_id, digest, role, merchant_id, created_at, revoked_at FROM api_keys ORDER BY created_at, key_id;

-- name: add_key
-- Keep a key, unless its id or its digest is known.
INSERT INTO api_keys (key_id, digest, role, merchant_id, created_at, revoked_at)
VALUES (:key_id, :digest, :role, :merchant_id, :created_at, :revoked_at)
ON CONFLICT DO NOTHING
RETURNING key_id;

-- name: revoke_key
-- Revoke a key, and say how it now is; the first time counts.
UPDATE api_keys
SET revoked_at = coalesce(revoked_at, :now_us)
WHERE key_id = :key_id
RETURNING key_id, digest, role, merchant_id, created_at, revoked_at;

-- name: beat
-- An instance is alive.
INSERT INTO heartbeats (instance, daemon, state, address, last_error, beat_at)
VALUES (:instance, :daemon, :state, :address, :last_error, :beat_at)
ON CONFLICT (instance) DO UPDATE SET
    daemon = excluded.daemon,
    state = excluded.state,
    address = excluded.address,
    last_error = excluded.last_error,
    beat_at = excluded.beat_at;

-- name: retire
-- An instance ended in good order.
DELETE FROM heartbeats WHERE instance = :instance;

-- name: heartbeats
-- The last sign of life of every instance.
SELECT instance, daemon, state, address, last_error, beat_at FROM heartbeats ORDER BY daemon, instance;
