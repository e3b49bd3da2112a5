-- What each daemon may do, and nothing beyond it: for an administrator to run once in every shard, after `orderctl migrate`.
--
-- Make the users first, each with a password of its own or a certificate (CREATE USER 'orderctl_command'@'%' IDENTIFIED BY … REQUIRE
-- SSL), and put the name of the shard's database in the place of `orderctl`. `orderctl migrate` itself, and `orderctl shard
-- promote`, run as the owner of the database, as whom no daemon runs; to see whether cdc can go on, the latter asks for the rights
-- of cdc as well. One statement ends in a semicolon at the end of a line.

-- command: creates and changes orders, and keeps late results; reads the keys.
GRANT SELECT, INSERT, UPDATE ON `orderctl`.`orders` TO 'orderctl_command'@'%';
GRANT SELECT, INSERT, UPDATE ON `orderctl`.`order_refs` TO 'orderctl_command'@'%';
GRANT SELECT, INSERT, UPDATE ON `orderctl`.`late_results` TO 'orderctl_command'@'%';
GRANT SELECT ON `orderctl`.`deployment` TO 'orderctl_command'@'%';
GRANT SELECT ON `orderctl`.`schema_migrations` TO 'orderctl_command'@'%';
GRANT SELECT ON `orderctl`.`api_keys` TO 'orderctl_command'@'%';
GRANT SELECT, INSERT, DELETE ON `orderctl`.`heartbeats` TO 'orderctl_command'@'%';

-- query: reads orders, by a locking read, for which MySQL before 8.0.22 asks for LOCK TABLES as well.
GRANT SELECT ON `orderctl`.`orders` TO 'orderctl_query'@'%';
GRANT SELECT ON `orderctl`.`order_refs` TO 'orderctl_query'@'%';
GRANT SELECT ON `orderctl`.`late_results` TO 'orderctl_query'@'%';
GRANT SELECT ON `orderctl`.`deployment` TO 'orderctl_query'@'%';
GRANT SELECT ON `orderctl`.`schema_migrations` TO 'orderctl_query'@'%';
GRANT SELECT ON `orderctl`.`api_keys` TO 'orderctl_query'@'%';
GRANT SELECT, INSERT, DELETE ON `orderctl`.`heartbeats` TO 'orderctl_query'@'%';

-- archiver: removes final orders and late results, marks references and purges those; it cannot change an order.
GRANT SELECT, DELETE ON `orderctl`.`orders` TO 'orderctl_archiver'@'%';
GRANT SELECT, UPDATE (moved_at), DELETE ON `orderctl`.`order_refs` TO 'orderctl_archiver'@'%';
GRANT SELECT, DELETE ON `orderctl`.`late_results` TO 'orderctl_archiver'@'%';
GRANT SELECT ON `orderctl`.`deployment` TO 'orderctl_archiver'@'%';
GRANT SELECT ON `orderctl`.`schema_migrations` TO 'orderctl_archiver'@'%';
GRANT SELECT, INSERT, DELETE ON `orderctl`.`heartbeats` TO 'orderctl_archiver'@'%';

-- cache-sync and the auditor: read orders, to repair the cache.
GRANT SELECT ON `orderctl`.`orders` TO 'orderctl_reader'@'%';
GRANT SELECT ON `orderctl`.`order_refs` TO 'orderctl_reader'@'%';
GRANT SELECT ON `orderctl`.`late_results` TO 'orderctl_reader'@'%';
GRANT SELECT ON `orderctl`.`deployment` TO 'orderctl_reader'@'%';
GRANT SELECT ON `orderctl`.`schema_migrations` TO 'orderctl_reader'@'%';
GRANT SELECT, INSERT, DELETE ON `orderctl`.`heartbeats` TO 'orderctl_reader'@'%';

-- timeouts: changes orders, and creates none; removes rows of older epochs whose final state is in the archive.
GRANT SELECT, UPDATE (status, status_reason, updated_at, version), DELETE ON `orderctl`.`orders` TO 'orderctl_timeouts'@'%';
GRANT SELECT, UPDATE (moved_at) ON `orderctl`.`order_refs` TO 'orderctl_timeouts'@'%';
GRANT SELECT ON `orderctl`.`deployment` TO 'orderctl_timeouts'@'%';
GRANT SELECT ON `orderctl`.`schema_migrations` TO 'orderctl_timeouts'@'%';
GRANT SELECT, INSERT, DELETE ON `orderctl`.`heartbeats` TO 'orderctl_timeouts'@'%';

-- cdc: reads the binlog, which is the server's and not the database's.
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'orderctl_cdc'@'%';
GRANT SELECT ON `orderctl`.`deployment` TO 'orderctl_cdc'@'%';
GRANT SELECT ON `orderctl`.`schema_migrations` TO 'orderctl_cdc'@'%';
GRANT SELECT, INSERT, DELETE ON `orderctl`.`heartbeats` TO 'orderctl_cdc'@'%';
