-- What the binlog's reader asks of MySQL 8.0 and MariaDB 10.11 before the stream begins. Parameters are the driver's: %(name)s.

-- name: settings
-- What the server is, and how it writes its binlog. A setting that a server does not know is not in the answer.
SHOW GLOBAL VARIABLES WHERE Variable_name IN (
    'version', 'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', 'gtid_mode',
    'log_bin_compress', 'binlog_transaction_compression'
);

-- name: announce
-- What the server asks of whoever wants the stream: checksums as in the file, a sign of life in quiet times (nanoseconds), and how
-- long a reader may be busy with something else (seconds) until the server gives it up. Each server knows the names that are its own.
SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum,
    @master_heartbeat_period = %(heartbeat_ns)s, @source_heartbeat_period = %(heartbeat_ns)s,
    @mariadb_slave_capability = 4, SESSION net_write_timeout = %(write_timeout_s)s;

-- name: announce_position
-- MariaDB: where the stream is to begin. A position that the binlog does not hold is refused.
SET @slave_connect_state = %(position)s, @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0;

-- name: binlogs
-- The files that are kept, the oldest first.
SHOW BINARY LOGS;

-- name: position_before
-- MariaDB: the position at which a file begins; NULL where the file was purged meanwhile.
SELECT BINLOG_GTID_POS(%(file)s, 4);

-- name: kept
-- MySQL: what was purged, and all that was ever committed.
SELECT @@GLOBAL.gtid_purged, @@GLOBAL.gtid_executed;
