-- What the embedded archive asks of archive.db. Every statement on one order finds it by a primary key.

-- name: archive_order
-- Write an order, unless a version at least as large is there.
INSERT INTO orders (
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
)
VALUES (
    :order_id, :merchant_id, :merchant_ref, :amount, :currency, :payment_method, :metadata,
    :status, :status_reason, :version, :created_at, :updated_at, :deadline_at
)
ON CONFLICT (order_id) DO UPDATE SET
    merchant_id = excluded.merchant_id,
    merchant_ref = excluded.merchant_ref,
    amount = excluded.amount,
    currency = excluded.currency,
    payment_method = excluded.payment_method,
    metadata = excluded.metadata,
    status = excluded.status,
    status_reason = excluded.status_reason,
    version = excluded.version,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    deadline_at = excluded.deadline_at
WHERE excluded.version > orders.version;

-- name: archive_reference
-- Write down that a reference stood for an order, unless a version at least as large is there.
INSERT INTO orders_by_ref (merchant_id, merchant_ref, order_id, version)
VALUES (:merchant_id, :merchant_ref, :order_id, :version)
ON CONFLICT (merchant_id, merchant_ref, order_id) DO UPDATE SET version = excluded.version
WHERE excluded.version > orders_by_ref.version;

-- name: archived_order
-- One order's row.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE order_id = :order_id;

-- name: archived_reference
-- The version under which a reference was written down for an order.
SELECT version FROM orders_by_ref
WHERE merchant_id = :merchant_id AND merchant_ref = :merchant_ref AND order_id = :order_id;

-- name: newest_of_reference
-- The newest order that a reference stood for.
SELECT order_id FROM orders_by_ref
WHERE merchant_id = :merchant_id AND merchant_ref = :merchant_ref
ORDER BY order_id DESC
LIMIT 1;

-- name: sign_of_life
-- Any answer will do.
SELECT 1 FROM orders LIMIT 1;

-- name: forget_synced
-- Writes up to this moment are on the disk, as far as anybody may know.
DELETE FROM unsynced WHERE position <= (SELECT max(position) FROM unsynced WHERE written_us <= :synced_us);

-- name: note_unsynced
-- What a row held before a write that is not synced yet.
INSERT INTO unsynced (table_name, order_id, merchant_id, merchant_ref, held, written_us)
VALUES (:table_name, :order_id, :merchant_id, :merchant_ref, :held, :written_us);

-- name: unsynced
-- What a loss of power would undo, newest first.
SELECT table_name, order_id, merchant_id, merchant_ref, held FROM unsynced ORDER BY position DESC;

-- name: forget_unsynced
-- After a loss of power nothing is left in memory.
DELETE FROM unsynced;

-- name: lose_order
-- Undo a write: what was there before is put in again, if anything was.
DELETE FROM orders WHERE order_id = :order_id;

-- name: lose_reference
-- Undo a write: what was there before is put in again, if anything was.
DELETE FROM orders_by_ref
WHERE merchant_id = :merchant_id AND merchant_ref = :merchant_ref AND order_id = :order_id;

-- name: archive_late
-- Write a late result, unless the same was received earlier.
INSERT INTO late_results (order_id, status, reason_digest, status_reason, received_at)
VALUES (:order_id, :status, :reason_digest, :status_reason, :received_at)
ON CONFLICT (order_id, status, reason_digest) DO UPDATE SET received_at = excluded.received_at
WHERE excluded.received_at < late_results.received_at;

-- name: archived_late
-- An order's late results.
SELECT order_id, status, status_reason, received_at FROM late_results WHERE order_id = :order_id;
