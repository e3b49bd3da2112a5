-- Timers, and what is told of those who went.

-- An open order's deadline, at which whoever follows what goes out of the cache is told.
CREATE TABLE timers (
    group_no  INTEGER NOT NULL,
    order_id  BLOB    NOT NULL CHECK (length(order_id) = 16),
    at_us     INTEGER NOT NULL,
    PRIMARY KEY (group_no, order_id)
) STRICT;

CREATE INDEX timers_by_time ON timers (at_us);

-- Entries and timers that went and that nobody was told of yet. A few only: nobody may ever ask.
CREATE TABLE gone (
    place    INTEGER NOT NULL PRIMARY KEY,
    order_id BLOB    NOT NULL,
    what     TEXT    NOT NULL  -- a value of `Gone` in orderctl/stores/expirations.py
) STRICT;
