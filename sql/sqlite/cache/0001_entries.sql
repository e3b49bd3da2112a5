-- The embedded cache: an entry an order, in the bytes that Redis would hold, and what Redis keeps of itself.
--
-- Times are Unix microseconds, UTC. An order id is the 16 bytes of its UUID, so that a group's new orders are written side by side.
-- Nothing here is the only copy of anything: every entry may be deleted at any moment.

CREATE TABLE entries (
    group_no      INTEGER NOT NULL,  -- the order's, by the id and the deployment's number of groups
    order_id      BLOB    NOT NULL CHECK (length(order_id) = 16),
    value         BLOB    NOT NULL,  -- header and body, see orderctl/stores/record.py
    expires_at_us INTEGER NOT NULL,  -- from this moment on the entry counts as gone
    PRIMARY KEY (group_no, order_id)
) STRICT;

-- For removing what has expired, and what would expire next.
CREATE INDEX entries_by_expiry ON entries (expires_at_us);

-- How far each group's entries follow the log: an offset. One that is missing or low shows a cache that went back in time.
CREATE TABLE marks (
    group_no INTEGER NOT NULL PRIMARY KEY,
    reached  INTEGER NOT NULL
) STRICT;

-- Whose the entries are. Of another run of the machine: a loss of power may have brought back older ones. Of another number of
-- groups: they are filed where nobody would look for them.
CREATE TABLE node (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    boot   TEXT    NOT NULL,
    groups INTEGER NOT NULL
) STRICT;
