-- What is asked of the late results in MySQL 8.0 and MariaDB 10.11; written as hot_queries.sql is.

-- name: keep_late
-- Keep results; one that is there already stays as it is.
INSERT INTO late_results (order_id, status, reason_digest, status_reason, received_at)
VALUES [[(%(order_id)s, %(status)s, %(reason_digest)s, %(status_reason)s, %(received_at)s)]], ...
ON DUPLICATE KEY UPDATE order_id = late_results.order_id;

-- name: late_of_orders
-- Some orders' results.
SELECT order_id, status, status_reason, received_at
FROM late_results FORCE INDEX (PRIMARY)
WHERE order_id IN ([[%(order_id)s]], ...);

-- name: oldest_late
-- The oldest results behind a place. The index holds the key as well, and the order's id tells its group.
SELECT order_id, status, status_reason, received_at
FROM late_results FORCE INDEX (late_results_received)
WHERE received_at >= %(received_at)s
    AND (
        received_at > %(received_at)s
        OR (order_id, status, reason_digest) > (%(order_id)s, %(status)s, %(reason_digest)s)
    )
    AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
        CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
    ), 1) = '1')
ORDER BY received_at, order_id, status, reason_digest
LIMIT %(count)s;

-- name: remove_late
-- Remove results, each if it is the one that was received at that time.
DELETE l FROM (
    [[SELECT
        %(order_id)s AS order_id, %(status)s AS status, %(reason_digest)s AS reason_digest, %(received_at)s AS received_at
    ]] UNION ALL ...
) AS wanted
STRAIGHT_JOIN late_results AS l
    ON l.order_id = wanted.order_id AND l.status = wanted.status AND l.reason_digest = wanted.reason_digest
WHERE l.received_at = wanted.received_at;
