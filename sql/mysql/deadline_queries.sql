-- How orders are timed out on MySQL 8.0 and MariaDB 10.11, by the database's own clock.
--
-- The clock is UTC's: UNIX_TIMESTAMP(NOW(6)) goes through the session's time zone, which has one hour twice a year, and an order
-- must not be timed out an hour early in it. It stands still within a statement, so a statement that waits for a lock judges
-- by the time at which it began, which is never too early. How a batch is written is said in hot_queries.sql.

-- name: overdue
-- The open orders of some groups that have been due for a while, behind a place, the earliest deadlines first. Nothing is locked:
-- a lock taken by this index and then by the primary key would cross with those of changes, which go the other way.
(
    SELECT order_id, deadline_at
    FROM orders FORCE INDEX (orders_status_deadline)
    WHERE status = 'pending' AND deadline_at >= %(deadline_at)s
        AND deadline_at <= TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) - %(late_by_us)s
        AND (deadline_at > %(deadline_at)s OR order_id > %(order_id)s)
        AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
            CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
        ), 1) = '1')
    ORDER BY deadline_at, order_id
    LIMIT %(count)s
)
UNION ALL
(
    SELECT order_id, deadline_at
    FROM orders FORCE INDEX (orders_status_deadline)
    WHERE status = 'processing' AND deadline_at >= %(deadline_at)s
        AND deadline_at <= TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) - %(late_by_us)s
        AND (deadline_at > %(deadline_at)s OR order_id > %(order_id)s)
        AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
            CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
        ), 1) = '1')
    ORDER BY deadline_at, order_id
    LIMIT %(count)s
)
ORDER BY deadline_at, order_id
LIMIT %(count)s;

-- name: lock_free
-- Those of some orders' rows that nobody holds, locked: as below.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at,
    version < (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32,
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
FROM orders FORCE INDEX (PRIMARY)
WHERE order_id IN ([[%(order_id)s]], ...)
ORDER BY order_id
FOR UPDATE SKIP LOCKED;

-- name: lock
-- Orders' rows, locked; whether each is of an older epoch, NULL on another server than the epoch's; and the clock.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at,
    version < (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32,
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
FROM orders FORCE INDEX (PRIMARY)
WHERE order_id IN ([[%(order_id)s]], ...)
ORDER BY order_id
FOR UPDATE;

-- name: time_out
-- Time out orders whose rows are locked, open and due, but none of an older epoch than the one in force.
UPDATE orders FORCE INDEX (PRIMARY)
SET
    status = 'timeout',
    status_reason = NULL,
    updated_at = GREATEST(updated_at, %(now_us)s),
    version = version + 1
WHERE order_id IN ([[%(order_id)s]], ...)
    AND version >= (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32;

-- name: versions
-- What the statement before, in the same transaction, made of orders' versions.
SELECT order_id, version FROM orders FORCE INDEX (PRIMARY) WHERE order_id IN ([[%(order_id)s]], ...);

-- name: oldest_overdue
-- How long ago the earliest deadline of an open order passed, 0 or less where none has; NULL where no order is open.
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) - MIN(deadline_at)
FROM (
    SELECT MIN(deadline_at) AS deadline_at FROM orders FORCE INDEX (orders_status_deadline) WHERE status = 'pending'
    UNION ALL
    SELECT MIN(deadline_at) FROM orders FORCE INDEX (orders_status_deadline) WHERE status = 'processing'
) AS earliest;

-- name: servers
-- Which server this is, and on which one the epoch was raised.
SELECT @orderctl_server, epoch_server FROM deployment;
