-- Outcomes that came after their order was final, as Cassandra keeps them: of one key the earliest received stays.
--
-- The key holds the reason by its SHA-256, or 32 zero bytes where there is none.
CREATE TABLE late_results (
    order_id      BLOB    NOT NULL CHECK (length(order_id) = 16),
    status        TEXT    NOT NULL,
    reason_digest BLOB    NOT NULL CHECK (length(reason_digest) = 32),
    status_reason TEXT,
    received_at   INTEGER NOT NULL,
    PRIMARY KEY (order_id, status, reason_digest)
) STRICT, WITHOUT ROWID;
