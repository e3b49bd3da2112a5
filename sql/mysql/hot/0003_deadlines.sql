-- Orders are timed out by their deadlines. Without partial indexes the status comes first, and each open one is looked at by itself;
-- the id, which every index holds as well, tells the group, so rows of other groups are passed over without being looked at.
--
-- MySQL has no ADD INDEX IF NOT EXISTS, and this must be harmless when it comes again.
SET @orderctl_statement = IF(
    (
        SELECT COUNT(*) FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'orders' AND index_name = 'orders_status_deadline'
    ) = 0,
    'ALTER TABLE orders ADD INDEX orders_status_deadline (status, deadline_at)',
    'DO 0'
);

PREPARE orderctl_statement FROM @orderctl_statement;

EXECUTE orderctl_statement;

DEALLOCATE PREPARE orderctl_statement;
