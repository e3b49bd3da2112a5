-- What `orderctl doctor` asks of MySQL 8.0 and MariaDB 10.11. Nothing is written, and no order is read.

-- name: variables
-- How the server is set up, each variable by its name.
SHOW GLOBAL VARIABLES;

-- name: counters
-- What the server counts, of that what concerns replication.
SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Rpl_semi_sync%%' OR Variable_name = 'Slaves_running';

-- name: sources
-- MySQL: the servers that this one copies from; MariaDB counts them in Slaves_running.
SHOW REPLICA STATUS;

-- name: session
-- Under which isolation our transactions run, and the server's clock (Unix microseconds).
SELECT @@SESSION.tx_isolation, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6));

-- name: mysql_session
-- The same in MySQL's words.
SELECT @@SESSION.transaction_isolation, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6));

-- name: engines
-- What keeps each table of the database.
SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE();

-- name: grants
-- What the configured user may do.
SHOW GRANTS;
