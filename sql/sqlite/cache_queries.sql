-- What the embedded cache store asks of cache.db. Every statement on one entry finds it by its primary key.

-- name: entry
-- An entry's bytes, unless it has expired.
SELECT value FROM entries WHERE group_no = :group_no AND order_id = :order_id AND expires_at_us > :now_us;

-- name: expiry
-- When an entry will be gone, unless it is.
SELECT expires_at_us FROM entries WHERE group_no = :group_no AND order_id = :order_id AND expires_at_us > :now_us;

-- name: put_entry
-- Write an entry, in the place of whatever was there.
INSERT INTO entries (group_no, order_id, value, expires_at_us)
VALUES (:group_no, :order_id, :value, :expires_at_us)
ON CONFLICT (group_no, order_id) DO UPDATE SET value = excluded.value, expires_at_us = excluded.expires_at_us;

-- name: rewrite_entry
-- Give an entry other bytes, and leave it its expiry.
UPDATE entries SET value = :value WHERE group_no = :group_no AND order_id = :order_id;

-- name: delete_entry
-- Delete an entry, and say so if there was one.
DELETE FROM entries WHERE group_no = :group_no AND order_id = :order_id AND expires_at_us > :now_us RETURNING 1;

-- name: delete_some_of_group
-- Delete some of a group's entries, and say of each whether it was still one or had expired.
DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries WHERE group_no = :group_no LIMIT :count)
RETURNING expires_at_us > :now_us;

-- name: entries_of_group
-- Whose entries a group has, by id, behind an id.
SELECT order_id FROM entries
WHERE group_no = :group_no AND order_id > :after AND expires_at_us > :now_us ORDER BY order_id LIMIT :count;

-- name: mark
-- How far a group's entries follow the log.
SELECT reached FROM marks WHERE group_no = :group_no;

-- name: set_mark
-- From now on they follow it so far.
INSERT INTO marks (group_no, reached) VALUES (:group_no, :reached)
ON CONFLICT (group_no) DO UPDATE SET reached = excluded.reached;

-- name: timer
-- When an order's timer goes off, unless its time has come.
SELECT at_us FROM timers WHERE group_no = :group_no AND order_id = :order_id AND at_us > :now_us;

-- name: set_timer
-- Let an order's timer go off at a time. One that does so already costs no write.
INSERT INTO timers (group_no, order_id, at_us) VALUES (:group_no, :order_id, :at_us)
ON CONFLICT (group_no, order_id) DO UPDATE SET at_us = excluded.at_us WHERE at_us <> excluded.at_us;

-- name: delete_timer
-- Take an order's timer away.
DELETE FROM timers WHERE group_no = :group_no AND order_id = :order_id;

-- name: has_gone
-- Whether there is anything to tell.
SELECT EXISTS (SELECT 1 FROM gone)
    OR EXISTS (SELECT 1 FROM timers WHERE at_us <= :now_us)
    OR EXISTS (SELECT 1 FROM entries WHERE expires_at_us <= :now_us);

-- name: take_due_timers
-- Some of the timers whose time has come, the earliest first: they are told of, and gone.
DELETE FROM timers WHERE rowid IN (SELECT rowid FROM timers WHERE at_us <= :now_us ORDER BY at_us LIMIT :count)
RETURNING order_id;

-- name: take_gone
-- Some of those who went: they are told of, once.
DELETE FROM gone WHERE place IN (SELECT place FROM gone ORDER BY place LIMIT :count) RETURNING order_id, what;

-- name: forget_timers
-- Remove some of the timers whose time came long ago: nobody follows.
DELETE FROM timers WHERE rowid IN (SELECT rowid FROM timers WHERE at_us <= :before_us ORDER BY at_us LIMIT :count);

-- name: note_expired
-- Keep which entries `sweep` is about to remove, as long as not too many wait to be told of.
INSERT INTO gone (order_id, what)
SELECT order_id, 'record_expired' FROM entries
WHERE expires_at_us <= :now_us
    AND coalesce((SELECT max(place) FROM gone) - (SELECT min(place) FROM gone), 0) < :waiting_max
ORDER BY expires_at_us LIMIT :count;

-- name: note_evicted
-- The same of those that `evict` is about to.
INSERT INTO gone (order_id, what)
SELECT order_id, 'record_evicted' FROM entries
WHERE expires_at_us > :after_us
    AND coalesce((SELECT max(place) FROM gone) - (SELECT min(place) FROM gone), 0) < :waiting_max
ORDER BY expires_at_us LIMIT :count;

-- name: note_evicted_timers
-- The same of those that `evict_timers` is about to.
INSERT INTO gone (order_id, what)
SELECT order_id, 'timer_evicted' FROM timers
WHERE coalesce((SELECT max(place) FROM gone) - (SELECT min(place) FROM gone), 0) < :waiting_max
ORDER BY at_us DESC LIMIT :count;

-- name: evict_timers
-- Remove some of the timers that would go off last.
DELETE FROM timers WHERE rowid IN (SELECT rowid FROM timers ORDER BY at_us DESC LIMIT :count);

-- name: sweep
-- Remove some of what has expired, and say whose it was.
DELETE FROM entries WHERE rowid IN (
    SELECT rowid FROM entries WHERE expires_at_us <= :now_us ORDER BY expires_at_us LIMIT :count
) RETURNING order_id;

-- name: evict
-- Remove some of what would expire next after a moment.
DELETE FROM entries WHERE rowid IN (
    SELECT rowid FROM entries WHERE expires_at_us > :after_us ORDER BY expires_at_us LIMIT :count
);

-- name: used_bytes
-- How much of the database holds something.
SELECT (p.page_count - f.freelist_count) * s.page_size
FROM pragma_page_count AS p CROSS JOIN pragma_freelist_count AS f CROSS JOIN pragma_page_size AS s;

-- name: node
-- In which run of the machine, and by how many groups, the entries were written.
SELECT boot, groups FROM node;

-- name: set_node
-- From now on they are written so.
INSERT INTO node (id, boot, groups) VALUES (1, :boot, :groups)
ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, groups = excluded.groups;

-- name: delete_entries
-- Empty the cache …
DELETE FROM entries;

-- name: delete_marks
-- … and with it what says how far it follows the log …
DELETE FROM marks;

-- name: delete_timers
-- … the timers …
DELETE FROM timers;

-- name: delete_gone
-- … and what was to be told.
DELETE FROM gone;
