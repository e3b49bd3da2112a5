-- What the embedded log asks of log.db. A message's id is (partition_id << 40) + offset; see the first migration.

-- name: topic
-- How many partitions a topic has.
SELECT partition_count FROM topics WHERE name = :name;

-- name: make_topic
-- Make a topic, without its partitions.
INSERT INTO topics (name, partition_count, compacted, retention_s) VALUES (:name, :partitions, :compacted, :retention_s);

-- name: make_partition
-- Make one partition of a topic.
INSERT INTO partitions (topic, number) VALUES (:topic, :number);

-- name: partition
-- One partition's id, and the offset that its next message gets.
SELECT partition_id, next_offset FROM partitions WHERE topic = :topic AND number = :number;

-- name: partitions_of_topic
-- A topic's partitions.
SELECT partition_id FROM partitions WHERE topic = :topic ORDER BY number;

-- name: partition_ends
-- A topic's partitions, where each ends, and whether the topic is compacted.
SELECT p.partition_id, p.number, p.next_offset, t.compacted
FROM partitions AS p
JOIN topics AS t ON t.name = p.topic
WHERE p.topic = :topic
ORDER BY p.number;

-- name: published
-- How many messages were ever published in a topic.
SELECT published FROM topics WHERE name = :topic;

-- name: claim_offsets
-- Take the next offsets of a partition, and say where they end, their time, how its topic is kept, and its oldest message's time.
UPDATE partitions
SET next_offset = next_offset + :count, last_ms = max(last_ms, :now_ms)
WHERE topic = :topic AND number = :number
RETURNING
    partition_id, next_offset, last_ms,
    (SELECT t.compacted FROM topics AS t WHERE t.name = topic),
    (SELECT t.retention_s FROM topics AS t WHERE t.name = topic),
    (
        SELECT m.ts_ms FROM messages AS m
        WHERE m.message_id >= partition_id << 40 AND m.message_id < (partition_id + 1) << 40
        ORDER BY m.message_id LIMIT 1
    );

-- name: insert_message
-- Write a message at an offset that was claimed for it.
INSERT INTO messages (message_id, ts_ms, headers, key, value)
VALUES ((:partition_id << 40) + :offset, :ts_ms, :headers, :key, :value);

-- name: drop_superseded
-- Of a compacted topic: remove the message that a newer one of its key replaces.
DELETE FROM messages WHERE message_id = (SELECT message_id FROM latest WHERE partition_id = :partition_id AND key = :key);

-- name: keep_latest
-- Of a compacted topic: note the one message that is kept of a key.
INSERT INTO latest (partition_id, key, message_id) VALUES (:partition_id, :key, (:partition_id << 40) + :offset)
ON CONFLICT (partition_id, key) DO UPDATE SET message_id = excluded.message_id;

-- name: count_published
-- Let those who wait for news of a topic see that there is some.
UPDATE topics SET published = published + :count WHERE name = :topic;

-- name: purge
-- Remove some of a partition's oldest messages that were published before a time and that no group has still to read.
DELETE FROM messages WHERE message_id IN (
    SELECT message_id FROM (
        SELECT message_id, ts_ms FROM messages
        WHERE message_id >= :partition_id << 40
            AND message_id < (:partition_id << 40) + (
                SELECT coalesce(min(coalesce(c.next_offset, 0)), 1 << 40)
                FROM (
                    SELECT DISTINCT a.group_id
                    FROM partitions AS p JOIN commits AS a ON a.partition_id = p.partition_id
                    WHERE p.topic = :topic
                ) AS g
                LEFT JOIN commits AS c ON c.group_id = g.group_id AND c.partition_id = :partition_id
            )
        ORDER BY message_id LIMIT :count
    ) WHERE ts_ms < :before_ms
);

-- name: messages
-- A partition's messages from an offset on.
SELECT message_id & 1099511627775, key, value, headers, ts_ms FROM messages
WHERE message_id >= (:partition_id << 40) + :offset AND message_id < (:partition_id + 1) << 40
ORDER BY message_id LIMIT :count;

-- name: message_time
-- The first message from an offset on, by its offset and time.
SELECT message_id & 1099511627775, ts_ms FROM messages
WHERE message_id >= (:partition_id << 40) + :offset AND message_id < (:partition_id + 1) << 40
ORDER BY message_id LIMIT 1;

-- name: ends
-- Of each partition of a topic: the first offset that is kept, and the one that the next message gets.
SELECT
    coalesce(
        (
            SELECT m.message_id & 1099511627775 FROM messages AS m
            WHERE m.message_id >= p.partition_id << 40 AND m.message_id < (p.partition_id + 1) << 40
            ORDER BY m.message_id LIMIT 1
        ),
        p.next_offset
    ),
    p.next_offset
FROM partitions AS p
WHERE p.topic = :topic
ORDER BY p.number;

-- name: committed
-- Of each partition of a topic: where a group goes on.
SELECT c.next_offset
FROM partitions AS p
LEFT JOIN consumer_groups AS g ON g.name = :group
LEFT JOIN commits AS c ON c.group_id = g.group_id AND c.partition_id = p.partition_id
WHERE p.topic = :topic
ORDER BY p.number;

-- name: group_state
-- A group's id and generation, and how much was ever published in some topics: when none of it changed, there is no news.
SELECT
    g.group_id, g.generation,
    (SELECT sum(t.published) FROM json_each(:topics) AS j JOIN topics AS t ON t.name = j.value)
FROM consumer_groups AS g
WHERE g.name = :group;

-- name: make_group
-- Make a group, unless it is there.
INSERT INTO consumer_groups (name) VALUES (:group) ON CONFLICT (name) DO NOTHING;

-- name: raise_generation
-- Tell every member of a group to look again at what is its own.
UPDATE consumer_groups SET generation = generation + 1 WHERE group_id = :group_id;

-- name: members
-- A group's members, those that joined first first.
SELECT member_id, instance, topics, process, renewed_us, session_us FROM members WHERE group_id = :group_id ORDER BY member_id;

-- name: add_member
-- Let a member in, and say its id.
INSERT INTO members (group_id, instance, topics, process, renewed_us, session_us)
VALUES (:group_id, :instance, :topics, :process, :renewed_us, :session_us)
RETURNING member_id;

-- name: renew_member
-- Prolong a member's session.
UPDATE members SET renewed_us = :now_us WHERE member_id = :member_id;

-- name: remove_member
-- Take a member out.
DELETE FROM members WHERE member_id = :member_id;

-- name: hand_over
-- Give one member's partitions to another.
UPDATE assignments SET member_id = :heir_id WHERE group_id = :group_id AND member_id = :member_id;

-- name: assignments
-- Whose each partition of a group is.
SELECT partition_id, member_id FROM assignments WHERE group_id = :group_id;

-- name: clear_assignments
-- Take every partition back.
DELETE FROM assignments WHERE group_id = :group_id;

-- name: assign
-- Give a member a partition.
INSERT INTO assignments (group_id, partition_id, member_id) VALUES (:group_id, :partition_id, :member_id);

-- name: shares
-- A member's partitions, where its group goes on in each, and where each ends.
SELECT a.partition_id, p.topic, p.number, coalesce(c.next_offset, 0), p.next_offset
FROM assignments AS a
JOIN partitions AS p ON p.partition_id = a.partition_id
LEFT JOIN commits AS c ON c.group_id = a.group_id AND c.partition_id = a.partition_id
WHERE a.group_id = :group_id AND a.member_id = :member_id
ORDER BY a.partition_id;

-- name: commit_offset
-- Keep where a group goes on in a partition, and say so; nothing where the partition does not reach so far.
INSERT INTO commits (group_id, partition_id, next_offset)
SELECT :group_id, p.partition_id, :next_offset FROM partitions AS p
WHERE p.partition_id = :partition_id AND :next_offset BETWEEN 0 AND p.next_offset
ON CONFLICT (partition_id, group_id) DO UPDATE SET next_offset = excluded.next_offset
RETURNING 1;
