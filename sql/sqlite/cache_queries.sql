-- What the embedded cache store asks of cache.db. Every statement on one entry finds it by its primary key.

-- name: entry
-- An entry's bytes, unless it has expired.
SELECT value FROM entries WHERE order_id = :order_id AND expires_at_us > :now_us;

-- name: put_entry
-- Write an entry, in the place of whatever was there.
INSERT INTO entries (order_id, value, expires_at_us)
VALUES (:order_id, :value, :expires_at_us)
ON CONFLICT (order_id) DO UPDATE SET value = excluded.value, expires_at_us = excluded.expires_at_us;

-- name: rewrite_entry
-- Give an entry other bytes, and leave it its expiry.
UPDATE entries SET value = :value WHERE order_id = :order_id;

-- name: delete_entry
-- Delete an entry, and say so if there was one.
DELETE FROM entries WHERE order_id = :order_id AND expires_at_us > :now_us RETURNING 1;

-- name: sweep
-- Remove some of what has expired.
DELETE FROM entries WHERE rowid IN (
    SELECT rowid FROM entries WHERE expires_at_us <= :now_us ORDER BY expires_at_us LIMIT :count
);

-- name: evict
-- Remove some of what would expire next after a moment.
DELETE FROM entries WHERE rowid IN (
    SELECT rowid FROM entries WHERE expires_at_us > :after_us ORDER BY expires_at_us LIMIT :count
);

-- name: used_bytes
-- How much of the database holds something.
SELECT (p.page_count - f.freelist_count) * s.page_size
FROM pragma_page_count AS p CROSS JOIN pragma_freelist_count AS f CROSS JOIN pragma_page_size AS s;

-- name: boot
-- In which run of the machine the entries were written.
SELECT boot FROM node;

-- name: set_boot
-- From now on they are of this run.
INSERT INTO node (id, boot) VALUES (1, :boot) ON CONFLICT (id) DO UPDATE SET boot = excluded.boot;

-- name: delete_all
-- Empty the cache.
DELETE FROM entries;
