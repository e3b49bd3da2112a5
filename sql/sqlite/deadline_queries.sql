-- How orders are timed out in hot.db. :now_us is the clock that all processes of this machine share.

-- name: overdue
-- The open orders that have been due for a while, the earliest deadlines first.
SELECT order_id FROM orders
WHERE status IN ('pending', 'processing') AND deadline_at <= :now_us - :late_by_us
ORDER BY deadline_at, order_id
LIMIT :count;

-- name: overdue_of_groups
-- As above, of some groups: digits 14 to 16 of the id are its partition, and that modulo the number of groups is its group.
SELECT order_id FROM orders
WHERE status IN ('pending', 'processing') AND deadline_at <= :now_us - :late_by_us
    AND (
        instr('123456789ABCDEF', substr(hex(order_id), 14, 1)) << 8
        | instr('123456789ABCDEF', substr(hex(order_id), 15, 1)) << 4
        | instr('123456789ABCDEF', substr(hex(order_id), 16, 1))
    ) % (SELECT group_count FROM deployment) IN (SELECT value FROM json_each(:groups))
ORDER BY deadline_at, order_id
LIMIT :count;

-- name: order_by_id
-- One order's row.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders
WHERE order_id = :order_id;

-- name: begin_changes
-- What is written from here to COMMIT is one transaction in the change feed.
UPDATE current_transaction SET number = number + 1, ts_us = :now_us;

-- name: time_out
-- Time out an order that is open and due, and say its next version; no row where it is of an older epoch.
UPDATE orders
SET
    status = 'timeout',
    status_reason = NULL,
    updated_at = max(updated_at, :now_us),
    version = version + 1
WHERE order_id = :order_id AND version >= (SELECT epoch FROM deployment) << 32
RETURNING version;

-- name: oldest_overdue
-- How long ago the earliest deadline of an open order passed, 0 or less where none has; NULL where no order is open.
SELECT :now_us - min(deadline_at) FROM orders WHERE status IN ('pending', 'processing');
