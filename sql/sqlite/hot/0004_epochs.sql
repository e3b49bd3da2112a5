-- How far the orders of older epochs were settled: behind `epoch` while a promotion is under way. A file has no server to be told
-- from another one, so whoever puts a backup in its place promotes it by hand.
ALTER TABLE deployment ADD COLUMN epoch_settled INTEGER NOT NULL DEFAULT 0;
