-- Outcomes that came after their order was final. They are kept here first, and moved to the archive by a loop of their own.
--
-- The same words again are the same row: the reason is in the key by its SHA-256, or 32 zero bytes where there is none. An index of
-- such a table holds the key as well, so the second one is in the order in which the rows are moved.
CREATE TABLE late_results (
    order_id      BLOB    NOT NULL CHECK (length(order_id) = 16),
    status        TEXT    NOT NULL CHECK (status IN ('success', 'failed', 'cancelled', 'timeout')),
    reason_digest BLOB    NOT NULL CHECK (length(reason_digest) = 32),
    status_reason TEXT,
    received_at   INTEGER NOT NULL,
    PRIMARY KEY (order_id, status, reason_digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX late_results_received ON late_results (received_at);
