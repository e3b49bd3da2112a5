-- Which server a shard's epoch was raised on, and how far the orders of older epochs were settled.
--
-- MySQL has no ADD COLUMN IF NOT EXISTS, and this must be harmless when it comes again.
SET @orderctl_statement = IF(
    (
        SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'deployment' AND column_name = 'epoch_server'
    ) = 0,
    'ALTER TABLE deployment
        ADD COLUMN epoch_server VARBINARY(255) NULL,
        ADD COLUMN epoch_settled BIGINT UNSIGNED NOT NULL DEFAULT 0',
    'DO 0'
);

PREPARE orderctl_statement FROM @orderctl_statement;

EXECUTE orderctl_statement;

DEALLOCATE PREPARE orderctl_statement;

-- The epoch so far is that of the server which is migrated. A replica gets this row by replication and so knows that it is another.
UPDATE deployment SET epoch_server = @orderctl_server WHERE epoch_server IS NULL;
