-- The embedded log: topics, the messages of their partitions, and the groups that read them.
--
-- `ts_ms` is Unix milliseconds, UTC. `renewed_us` is the machine's monotonic clock, which all processes on this file share
-- and which no administrator sets; a time of another run of the machine is ahead of it or soon too old.

CREATE TABLE topics (
    name            TEXT    NOT NULL PRIMARY KEY,
    partition_count INTEGER NOT NULL CHECK (partition_count > 0),
    compacted       INTEGER NOT NULL CHECK (compacted IN (0, 1)),
    retention_s     INTEGER NOT NULL,
    published       INTEGER NOT NULL DEFAULT 0  -- how many ever were, so that whoever waits for news asks for one number
) STRICT, WITHOUT ROWID;

CREATE TABLE partitions (
    partition_id INTEGER NOT NULL PRIMARY KEY CHECK (partition_id < 4194304),
    topic        TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    next_offset  INTEGER NOT NULL DEFAULT 0 CHECK (next_offset < 1099511627776),
    last_ms      INTEGER NOT NULL DEFAULT 0,  -- the newest message's `ts_ms`: they never fall within a partition
    UNIQUE (topic, number)
) STRICT;

-- One tree keeps every partition's messages side by side in their order: the id is the partition's in the upper bits and the
-- offset in the lower 40. A second index, or a table without a rowid, whose leaves take no row above 1 KiB, would cost more.
CREATE TABLE messages (
    message_id INTEGER NOT NULL PRIMARY KEY,
    ts_ms      INTEGER NOT NULL,
    headers    BLOB    NOT NULL,  -- MessagePack: [[name, value], …]
    key        BLOB    NOT NULL,
    value      BLOB    NOT NULL
) STRICT;

-- Of compacted topics: the one message that is kept of each key.
CREATE TABLE latest (
    partition_id INTEGER NOT NULL,
    key          BLOB    NOT NULL,
    message_id   INTEGER NOT NULL,
    PRIMARY KEY (partition_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE consumer_groups (
    group_id   INTEGER NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    generation INTEGER NOT NULL DEFAULT 0  -- raised whenever partitions change hands
) STRICT;

-- An id is never given out twice: it is what tells a member from those before it.
CREATE TABLE members (
    member_id  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    group_id   INTEGER NOT NULL,
    instance   TEXT,
    topics     TEXT    NOT NULL,  -- JSON: [name, …]
    process    TEXT    NOT NULL,  -- see orderctl/stores/sqlite/processes.py
    renewed_us INTEGER NOT NULL,
    session_us INTEGER NOT NULL,
    UNIQUE (group_id, instance)
) STRICT;

CREATE TABLE assignments (
    group_id     INTEGER NOT NULL,
    partition_id INTEGER NOT NULL,
    member_id    INTEGER NOT NULL,
    PRIMARY KEY (group_id, partition_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE commits (
    group_id     INTEGER NOT NULL,
    partition_id INTEGER NOT NULL,
    next_offset  INTEGER NOT NULL,
    PRIMARY KEY (partition_id, group_id)  -- the partition first: a purge asks for all of its groups
) STRICT, WITHOUT ROWID;
