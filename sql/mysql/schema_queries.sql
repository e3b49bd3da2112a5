-- What brings a MySQL schema up to date and looks at how far it is.

-- name: make_migrations_table
-- Where the migrations that were applied are noted; it is there before the first of them.
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     INT UNSIGNED NOT NULL PRIMARY KEY,
    name       VARCHAR(255) NOT NULL,
    checksum   BINARY(32)   NOT NULL,
    applied_at BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- name: has_migrations_table
-- Whether anything was ever applied to this database.
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_migrations';

-- name: applied_migrations
-- What was applied, in its order.
SELECT number, name, checksum FROM schema_migrations ORDER BY number;

-- name: note_migration
-- A migration was applied whole.
INSERT INTO schema_migrations (number, name, checksum, applied_at)
VALUES (%(number)s, %(name)s, %(checksum)s, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)));

-- name: lock_migrations
-- One at a time applies migrations to this database: 1 for whoever got the lock. It belongs to the connection.
SELECT GET_LOCK(CONCAT('orderctl:', MD5(DATABASE())), %(patience_s)s);

-- name: unlock_migrations
-- The next one may.
SELECT RELEASE_LOCK(CONCAT('orderctl:', MD5(DATABASE())));
