-- What the hot store and its registry ask of MySQL 8.0 and MariaDB 10.11. The order of the columns is the order of the code's fields.
--
-- Parameters are the driver's: %(name)s. A part in double brackets stands once for each row of a batch, and what follows it up
-- to the three dots stands between the rows: [[(%(a)s, %(b)s)]], ... for (1, 2), (3, 4). A batch is sorted by its key before it
-- is sent, so that two of them lock in one order. Batches of two-part keys are joined (UNION ALL, STRAIGHT_JOIN) and not asked
-- for with IN, because MariaDB scans the table for an IN of rows. FORCE INDEX is for small tables, where the optimizer would
-- rather scan, and a scan waits for rows that others have locked.
--
-- A version is given by a statement that reads the epoch, and only where the server is the one that the epoch was raised on:
-- @orderctl_server is the identity of the connection's server, and of another one there is no epoch (NULL), so no version.

-- name: claim_references
-- Take merchants' references for orders, unless they are taken; the first to take one has it, and one that is taken is locked.
INSERT INTO order_refs (merchant_id, merchant_ref, order_id, digest)
VALUES [[(%(merchant_id)s, %(merchant_ref)s, %(order_id)s, %(digest)s)]], ...
ON DUPLICATE KEY UPDATE order_id = order_refs.order_id;

-- name: owners_of_references
-- Whom references stand for, by which body, and whether they have moved.
SELECT r.merchant_id, r.merchant_ref, r.order_id, r.digest, r.moved_at IS NOT NULL
FROM ([[SELECT %(merchant_id)s AS merchant_id, %(merchant_ref)s AS merchant_ref]] UNION ALL ...) AS wanted
STRAIGHT_JOIN order_refs AS r ON r.merchant_id = wanted.merchant_id AND r.merchant_ref = wanted.merchant_ref;

-- name: insert_orders
-- Write new orders at their first version: the epoch's first, or 1.
INSERT INTO orders (
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
)
VALUES [[(
    %(order_id)s, %(merchant_id)s, %(merchant_ref)s, %(amount)s, %(currency)s, %(payment_method)s, %(metadata)s,
    %(status)s, %(status_reason)s, GREATEST(
        1, (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32
    ),
    %(created_at)s, %(updated_at)s, %(deadline_at)s
)]], ...;

-- name: change_orders
-- Move orders on to their next version, those of the epoch in force. Their rows are locked.
UPDATE (
    [[SELECT
        %(order_id)s AS order_id, %(status)s AS status, %(status_reason)s AS status_reason, %(updated_at)s AS updated_at
    ]] UNION ALL ...
) AS wanted
STRAIGHT_JOIN orders AS o ON o.order_id = wanted.order_id
SET
    o.status = wanted.status,
    o.status_reason = wanted.status_reason,
    o.updated_at = wanted.updated_at,
    o.version = o.version + 1
WHERE o.version >= (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32;

-- name: versions
-- What the statement before, in the same transaction, made of orders' versions.
SELECT order_id, version FROM orders FORCE INDEX (PRIMARY) WHERE order_id IN ([[%(order_id)s]], ...);

-- name: lock_orders
-- Orders' rows, for a change, and whether each is of an older epoch; NULL on another server than the epoch's.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at,
    version < (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32
FROM orders FORCE INDEX (PRIMARY)
WHERE order_id IN ([[%(order_id)s]], ...)
ORDER BY order_id
FOR UPDATE;

-- name: touch_orders
-- Give open orders of older epochs, at these versions, the epoch's first version. Their rows are locked.
UPDATE ([[SELECT %(order_id)s AS order_id, %(version)s AS version]] UNION ALL ...) AS wanted
STRAIGHT_JOIN orders AS o ON o.order_id = wanted.order_id AND o.version = wanted.version
SET o.version = (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32
WHERE o.status IN ('pending', 'processing')
    AND o.version < (SELECT epoch FROM deployment WHERE epoch_server = @orderctl_server) << 32;

-- name: of_older_epochs
-- Open orders whose versions are of older epochs, by id. Of all epochs before the one in force, whatever the server is.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders FORCE INDEX (PRIMARY)
WHERE order_id > %(after)s
    AND status IN ('pending', 'processing')
    AND version < (SELECT epoch FROM deployment) << 32
    AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
        CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
    ), 1) = '1')
ORDER BY order_id
LIMIT %(count)s;

-- name: open_orders
-- Open orders, by id.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders FORCE INDEX (PRIMARY)
WHERE order_id > %(after)s
    AND status IN ('pending', 'processing')
    AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
        CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
    ), 1) = '1')
ORDER BY order_id
LIMIT %(count)s;

-- name: references
-- References and whose they are, by their keys. The keys are compared one by one: of a pair the optimizer makes no range.
SELECT merchant_id, merchant_ref, order_id
FROM order_refs FORCE INDEX (PRIMARY)
WHERE merchant_id >= %(merchant_id)s
    AND (merchant_id > %(merchant_id)s OR merchant_ref > %(merchant_ref)s)
    AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
        CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
    ), 1) = '1')
ORDER BY merchant_id, merchant_ref
LIMIT %(count)s;

-- name: count_open
-- How many orders are open.
SELECT COUNT(*) FROM orders WHERE status IN ('pending', 'processing');

-- name: orders_as_committed
-- Orders' rows, once whoever is writing them has committed and everybody can see it.
SELECT
    order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
    status, status_reason, version, created_at, updated_at, deadline_at
FROM orders FORCE INDEX (PRIMARY)
WHERE order_id IN ([[%(order_id)s]], ...)
ORDER BY order_id
LOCK IN SHARE MODE;

-- name: finals
-- The oldest final orders behind a place. Each status is one range of the index, and each gives no more rows than all shall.
(
    SELECT
        order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
        status, status_reason, version, created_at, updated_at, deadline_at
    FROM orders FORCE INDEX (orders_status_updated)
    WHERE status = 'success' AND updated_at >= %(updated_at)s
        AND (updated_at > %(updated_at)s OR order_id > %(order_id)s)
        AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
            CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
        ), 1) = '1')
    ORDER BY updated_at, order_id
    LIMIT %(count)s
)
UNION ALL
(
    SELECT
        order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
        status, status_reason, version, created_at, updated_at, deadline_at
    FROM orders FORCE INDEX (orders_status_updated)
    WHERE status = 'failed' AND updated_at >= %(updated_at)s
        AND (updated_at > %(updated_at)s OR order_id > %(order_id)s)
        AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
            CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
        ), 1) = '1')
    ORDER BY updated_at, order_id
    LIMIT %(count)s
)
UNION ALL
(
    SELECT
        order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
        status, status_reason, version, created_at, updated_at, deadline_at
    FROM orders FORCE INDEX (orders_status_updated)
    WHERE status = 'cancelled' AND updated_at >= %(updated_at)s
        AND (updated_at > %(updated_at)s OR order_id > %(order_id)s)
        AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
            CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
        ), 1) = '1')
    ORDER BY updated_at, order_id
    LIMIT %(count)s
)
UNION ALL
(
    SELECT
        order_id, merchant_id, merchant_ref, amount, currency, payment_method, metadata,
        status, status_reason, version, created_at, updated_at, deadline_at
    FROM orders FORCE INDEX (orders_status_updated)
    WHERE status = 'timeout' AND updated_at >= %(updated_at)s
        AND (updated_at > %(updated_at)s OR order_id > %(order_id)s)
        AND (%(groups)s IS NULL OR SUBSTRING(%(groups)s, 1 + (
            CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & (SELECT group_count - 1 FROM deployment)
        ), 1) = '1')
    ORDER BY updated_at, order_id
    LIMIT %(count)s
)
ORDER BY updated_at, order_id
LIMIT %(count)s;

-- name: lock_removable
-- The versions and references of those orders that are final.
SELECT order_id, version, merchant_id, merchant_ref
FROM orders FORCE INDEX (PRIMARY)
WHERE order_id IN ([[%(order_id)s]], ...) AND status IN ('success', 'failed', 'cancelled', 'timeout')
ORDER BY order_id
FOR UPDATE;

-- name: remove_orders
-- Remove rows; that they may be removed was seen in the same transaction, under a lock.
DELETE o FROM orders AS o FORCE INDEX (PRIMARY) WHERE o.order_id IN ([[%(order_id)s]], ...);

-- name: mark_moved
-- From now on references stand for orders that are in the archive.
UPDATE (
    [[SELECT %(merchant_id)s AS merchant_id, %(merchant_ref)s AS merchant_ref, %(order_id)s AS order_id]] UNION ALL ...
) AS wanted
STRAIGHT_JOIN order_refs AS r ON r.merchant_id = wanted.merchant_id AND r.merchant_ref = wanted.merchant_ref
SET r.moved_at = %(now_us)s
WHERE r.order_id = wanted.order_id;

-- name: purge_references
-- Forget references whose orders moved before a moment, some at a time, the earliest first.
DELETE FROM order_refs WHERE moved_at < %(moved_before_us)s ORDER BY moved_at LIMIT %(count)s;

-- name: found_deployment
-- Write the deployment's constants, the first time; later it changes nothing.
INSERT INTO deployment (id, group_count, first_group, last_group, epoch_server)
VALUES (1, %(groups)s, %(first_group)s, %(last_group)s, @orderctl_server)
ON DUPLICATE KEY UPDATE id = deployment.id;

-- name: deployment
-- The deployment's constants, the number of the last migration that was applied, the database's clock, and the two servers.
SELECT
    group_count, (SELECT MAX(number) FROM schema_migrations), epoch, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
    epoch_settled, @orderctl_server, epoch_server, first_group, last_group
FROM deployment;

-- name: raise_epoch
-- Raise the epoch above the one that is in force, on this server.
UPDATE deployment SET epoch = epoch + 1, epoch_server = @orderctl_server WHERE epoch = %(above)s;

-- name: note_settled
-- The orders of all epochs before this one have been settled.
UPDATE deployment SET epoch_settled = epoch WHERE epoch = %(epoch)s;

-- name: api_keys
-- Every key, revoked ones too, oldest first.
SELECT key_id, digest, role, merchant_id, created_at, revoked_at FROM api_keys ORDER BY created_at, key_id;

-- name: add_key
-- Keep a key, unless its id or its digest is known.
INSERT INTO api_keys (key_id, digest, role, merchant_id, created_at, revoked_at)
VALUES (%(key_id)s, %(digest)s, %(role)s, %(merchant_id)s, %(created_at)s, %(revoked_at)s)
ON DUPLICATE KEY UPDATE key_id = api_keys.key_id;

-- name: revoke_key
-- Revoke a key; the first time counts.
UPDATE api_keys SET revoked_at = COALESCE(revoked_at, %(now_us)s) WHERE key_id = %(key_id)s;

-- name: api_key
-- One key, as it now is.
SELECT key_id, digest, role, merchant_id, created_at, revoked_at FROM api_keys WHERE key_id = %(key_id)s;

-- name: beat
-- Instances are alive, by the database's clock.
REPLACE INTO heartbeats (instance, daemon, state, address, last_error, beat_at)
VALUES [[(
    %(instance)s, %(daemon)s, %(state)s, %(address)s, %(last_error)s, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
)]], ...;

-- name: forget_silent
-- Instances that ended without a word, long ago.
DELETE FROM heartbeats WHERE beat_at < TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) - %(silence_us)s;

-- name: retire
-- Instances ended in good order.
DELETE FROM heartbeats WHERE instance IN ([[%(instance)s]], ...);

-- name: heartbeats
-- The last sign of life of every instance.
SELECT instance, daemon, state, address, last_error, beat_at FROM heartbeats ORDER BY daemon, instance;
