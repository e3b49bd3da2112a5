-- The embedded cache: an entry an order, in the bytes that Redis would hold, and what Redis keeps of itself.
--
-- Times are Unix microseconds, UTC. An order id is the 16 bytes of its UUID, so that new orders are written side by side.
-- Nothing here is the only copy of anything: every entry may be deleted at any moment.

CREATE TABLE entries (
    order_id      BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
    value         BLOB    NOT NULL,  -- header and body, see orderctl/stores/record.py
    expires_at_us INTEGER NOT NULL   -- from this moment on the entry counts as gone
) STRICT;

-- For removing what has expired, and what would expire next.
CREATE INDEX entries_by_expiry ON entries (expires_at_us);

-- In which run of the machine the entries were written: a loss of power may have brought back older ones.
CREATE TABLE node (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    boot TEXT    NOT NULL
) STRICT;
