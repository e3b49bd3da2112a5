-- The embedded archive: final orders, by id and by the merchant's reference.
--
-- Times are Unix microseconds, UTC. An order id is the 16 bytes of its UUID, so ids sort by time of creation.
-- Rows are only ever written over by a larger version, whichever comes last, as Cassandra's write timestamps do it.

CREATE TABLE orders (
    order_id       BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
    merchant_id    TEXT    NOT NULL,
    merchant_ref   TEXT    NOT NULL,
    amount         INTEGER NOT NULL,  -- minor units
    currency       TEXT    NOT NULL,
    payment_method TEXT    NOT NULL,
    metadata       TEXT    NOT NULL,  -- canonical JSON
    status         TEXT    NOT NULL,
    status_reason  TEXT,
    version        INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    deadline_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every order that a reference ever stood for, newest first: a reference may be used again after its window.
CREATE TABLE orders_by_ref (
    merchant_id  TEXT    NOT NULL,
    merchant_ref TEXT    NOT NULL,
    order_id     BLOB    NOT NULL CHECK (length(order_id) = 16),
    version      INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, merchant_ref, order_id DESC)
) STRICT, WITHOUT ROWID;

-- What rows held before writes that a loss of power would still undo. Empty unless a store plays an archive that acknowledges
-- before it syncs, see orderctl/stores/sqlite/archive_power.py.
CREATE TABLE unsynced (
    position     INTEGER NOT NULL PRIMARY KEY,
    table_name   TEXT    NOT NULL CHECK (table_name IN ('orders', 'orders_by_ref')),
    order_id     BLOB    NOT NULL,
    merchant_id  TEXT    NOT NULL,
    merchant_ref TEXT    NOT NULL,
    held         TEXT,              -- JSON: the order, or its version in orders_by_ref; NULL where there was no row
    written_us   INTEGER NOT NULL   -- by the machine's monotonic clock
) STRICT;
