-- Outcomes that came after their order was final. They are kept here first, and moved to the archive by a loop of their own.
--
-- The same words again are the same row: the reason is in the key by its SHA-256, or 32 zero bytes where there is none. The status is
-- bytes, as all keys' texts are. The second index is in the order in which the rows are moved; InnoDB adds the key to it.
CREATE TABLE IF NOT EXISTS late_results (
    order_id      BINARY(16)    NOT NULL,
    status        VARBINARY(16) NOT NULL,
    reason_digest BINARY(32)    NOT NULL,
    status_reason VARCHAR(256)  NULL,
    received_at   BIGINT        NOT NULL,
    PRIMARY KEY (order_id, status, reason_digest),
    KEY late_results_received (received_at),
    CONSTRAINT late_results_status CHECK (status IN ('success', 'failed', 'cancelled', 'timeout'))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
