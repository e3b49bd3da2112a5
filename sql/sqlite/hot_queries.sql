-- What the embedded hot store and its registry ask of hot.db. The order of the columns is the order of the code's fields.

-- name: claim_reference
-- Take a merchant's reference for an order, unless it is taken; the first to take it has it.
INSERT INTO order_refs (merchant_id, merchant_ref, order_id, digest)
VALUES (:merchant_id, :merchant_ref, :order_id, :digest)
ON CONFLICT (merchant_id, merchant_ref) DO NOTHING;

-- name: owner_of_reference
-- Whom a reference stands for, by which body, whether it has moved, and its row; none for a reference claimed a moment ago.
SELECT
    r.order_id, r.digest, r.moved_at IS NOT NULL,
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
-- Move an order of the epoch in force on, and say its next version; no row where it is of an older epoch.
UPDATE orders
SET
    status = :status,
    status_reason = :status_reason,
    updated_at = :updated_at,
    version = version + 1
WHERE order_id = :order_id AND version >= (SELECT epoch FROM deployment) << 32
RETURNING version;

-- name: touch_order
-- Give an open order of an older epoch, at this version, the epoch's first version.
UPDATE orders
SET version = (SELECT epoch FROM deployment) << 32
WHERE order_id = :order_id AND version = :version AND status IN ('pending', 'processing')
    AND version < (SELECT epoch FROM deployment) << 32
RETURNING version;

-- name: reference_of_discardable
-- The reference of an order that is open, at this version, and of an older epoch; no row where it is not.
SELECT merchant_id, merchant_ref FROM orders
WHERE order_id = :order_id AND version = :version AND status IN ('pending', 'processing')
    AND version < (SELECT epoch FROM deployment) << 32;

-- name: of_older_epochs
-- Open orders whose versions are of older epochs, by id.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE order_id > :after AND status IN ('pending', 'processing') AND version < (SELECT epoch FROM deployment) << 32
ORDER BY order_id
LIMIT :count;

-- name: of_older_epochs_of_groups
-- As above, of some groups, see `finals_of_groups`.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE order_id > :after AND status IN ('pending', 'processing') AND version < (SELECT epoch FROM deployment) << 32
    AND (
        instr('123456789ABCDEF', substr(hex(order_id), 14, 1)) << 8
        | instr('123456789ABCDEF', substr(hex(order_id), 15, 1)) << 4
        | instr('123456789ABCDEF', substr(hex(order_id), 16, 1))
    ) % (SELECT group_count FROM deployment) IN (SELECT value FROM json_each(:groups))
ORDER BY order_id
LIMIT :count;

-- name: open_orders
-- Open orders, by id.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE order_id > :after AND status IN ('pending', 'processing')
ORDER BY order_id
LIMIT :count;

-- name: open_orders_of_groups
-- As above, of some groups, see `finals_of_groups`.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE order_id > :after AND status IN ('pending', 'processing')
    AND (
        instr('123456789ABCDEF', substr(hex(order_id), 14, 1)) << 8
        | instr('123456789ABCDEF', substr(hex(order_id), 15, 1)) << 4
        | instr('123456789ABCDEF', substr(hex(order_id), 16, 1))
    ) % (SELECT group_count FROM deployment) IN (SELECT value FROM json_each(:groups))
ORDER BY order_id
LIMIT :count;

-- name: references
-- References and whose they are, by their keys, of all groups or of some.
SELECT merchant_id, merchant_ref, order_id FROM order_refs
WHERE (merchant_id, merchant_ref) > (:merchant_id, :merchant_ref)
    AND (:groups IS NULL OR (
        instr('123456789ABCDEF', substr(hex(order_id), 14, 1)) << 8
        | instr('123456789ABCDEF', substr(hex(order_id), 15, 1)) << 4
        | instr('123456789ABCDEF', substr(hex(order_id), 16, 1))
    ) % (SELECT group_count FROM deployment) IN (SELECT value FROM json_each(:groups)))
ORDER BY merchant_id, merchant_ref
LIMIT :count;

-- name: count_open
-- How many orders are open.
SELECT count(*) FROM orders WHERE status IN ('pending', 'processing');

-- name: epoch
-- The epoch in force.
SELECT epoch FROM deployment;

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

-- name: finals
-- The oldest final orders behind a place.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE status IN ('success', 'failed', 'cancelled', 'timeout') AND (updated_at, order_id) > (:updated_at, :order_id)
ORDER BY updated_at, order_id
LIMIT :count;

-- name: finals_of_groups
-- As above, of some groups: digits 14 to 16 of the id are its partition, and that modulo the number of groups is its group.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE status IN ('success', 'failed', 'cancelled', 'timeout') AND (updated_at, order_id) > (:updated_at, :order_id)
    AND (
        instr('123456789ABCDEF', substr(hex(order_id), 14, 1)) << 8
        | instr('123456789ABCDEF', substr(hex(order_id), 15, 1)) << 4
        | instr('123456789ABCDEF', substr(hex(order_id), 16, 1))
    ) % (SELECT group_count FROM deployment) IN (SELECT value FROM json_each(:groups))
ORDER BY updated_at, order_id
LIMIT :count;

-- name: reference_of_removable
-- The reference of an order that is final and at this version; no row where it is not.
SELECT merchant_id, merchant_ref FROM orders
WHERE order_id = :order_id AND version = :version AND status IN ('success', 'failed', 'cancelled', 'timeout');

-- name: remove_order
-- Remove a row; that it may be removed was seen in the same transaction.
DELETE FROM orders WHERE order_id = :order_id;

-- name: mark_moved
-- From now on a reference stands for an order that is in the archive.
UPDATE order_refs SET moved_at = :now_us
WHERE merchant_id = :merchant_id AND merchant_ref = :merchant_ref AND order_id = :order_id;

-- name: purge_references
-- Forget references whose orders moved before a moment, some at a time, the earliest first.
DELETE FROM order_refs WHERE (merchant_id, merchant_ref) IN (
    SELECT merchant_id, merchant_ref FROM order_refs WHERE moved_at < :moved_before_us ORDER BY moved_at LIMIT :count
)
RETURNING 1;

-- name: begin_changes
-- What is written from here to COMMIT is one transaction in the change feed.
UPDATE current_transaction SET number = number + 1, ts_us = :now_us;

-- name: changes_behind
-- The changes behind a position, in the order in which they were committed.
SELECT position, transaction_number, ts_us, op, before, after FROM changes
WHERE position > :position
ORDER BY position
LIMIT :count;

-- name: kept_changes
-- Of the change feed: the first position kept, NULL where none is, and the last one ever given; no row where none ever was.
SELECT (SELECT min(position) FROM changes), seq FROM sqlite_sequence WHERE name = 'changes';

-- name: purge_changes
-- Forget changes up to a position, some at a time.
DELETE FROM changes
WHERE position <= min(:position, (SELECT min(position) FROM changes) + :count - 1)
RETURNING 1;

-- name: found_deployment
-- Write the deployment's constants, the first time; later it changes nothing.
INSERT INTO deployment (id, group_count) VALUES (1, :groups) ON CONFLICT (id) DO NOTHING;

-- name: deployment
-- The deployment's constants, and the number of the last migration that was applied.
SELECT d.group_count, v.user_version, d.epoch, d.epoch_settled
FROM deployment AS d CROSS JOIN pragma_user_version AS v;

-- name: raise_epoch
-- Raise the epoch above the one that is in force.
UPDATE deployment SET epoch = epoch + 1 WHERE epoch = :above RETURNING epoch;

-- name: note_settled
-- The orders of all epochs before this one have been settled.
UPDATE deployment SET epoch_settled = epoch WHERE epoch = :epoch RETURNING epoch;

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

-- name: forget_silent
-- Instances that ended without a word, long ago.
DELETE FROM heartbeats WHERE beat_at < :before_us;

-- name: retire
-- An instance ended in good order.
DELETE FROM heartbeats WHERE instance = :instance;

-- name: heartbeats
-- The last sign of life of every instance.
SELECT instance, daemon, state, address, last_error, beat_at FROM heartbeats ORDER BY daemon, instance;

-- name: keep_late
-- Keep a late result; one that is there already stays as it is.
INSERT INTO late_results (order_id, status, reason_digest, status_reason, received_at)
VALUES (:order_id, :status, :reason_digest, :status_reason, :received_at)
ON CONFLICT DO NOTHING;

-- name: late_of_order
-- An order's late results.
SELECT order_id, status, status_reason, received_at FROM late_results WHERE order_id = :order_id;

-- name: oldest_late
-- The oldest late results behind a place; groups as in finals_of_groups, or NULL for all.
SELECT order_id, status, status_reason, received_at
FROM late_results
WHERE (received_at, order_id, status, reason_digest) > (:received_at, :order_id, :status, :reason_digest)
    AND (
        :groups IS NULL
        OR (
            instr('123456789ABCDEF', substr(hex(order_id), 14, 1)) << 8
            | instr('123456789ABCDEF', substr(hex(order_id), 15, 1)) << 4
            | instr('123456789ABCDEF', substr(hex(order_id), 16, 1))
        ) % (SELECT group_count FROM deployment) IN (SELECT value FROM json_each(:groups))
    )
ORDER BY received_at, order_id, status, reason_digest
LIMIT :count;

-- name: remove_late
-- Remove a late result, if it is the one that was received at that time.
DELETE FROM late_results
WHERE order_id = :order_id AND status = :status AND reason_digest = :reason_digest AND received_at = :received_at;
