-- Run by the server at each of its starts. One statement a line, as an init file wants it.
SET sql_log_bin = 0;
CREATE USER IF NOT EXISTS '$user'@'$host' IDENTIFIED BY '$password';
GRANT ALL ON `orderctl%`.* TO '$user'@'$host';
GRANT RELOAD, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '$user'@'$host';
CREATE DATABASE IF NOT EXISTS `$database`;
