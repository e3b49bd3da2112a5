-- The change feed: what a binlog is on MySQL. Whatever writes `orders` is in it, in the order of the commits, and nothing that was
-- rolled back: triggers write it, within the same transaction.

-- Positions have no gaps (a roll-back undoes their counter as well) and are never used again, so a gap is what was purged.
CREATE TABLE changes (
    position           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    transaction_number INTEGER NOT NULL,
    ts_us              INTEGER NOT NULL,  -- when it was written, Unix microseconds
    op                 TEXT    NOT NULL CHECK (op IN ('c', 'u', 'd')),
    before             TEXT,              -- the row as JSON
    after              TEXT
) STRICT;

-- One row. A trigger cannot see in which transaction it runs, so whoever writes orders counts this up first, once a transaction.
-- Should somebody not do so, their rows count as the last transaction's: it then ends later, and still at an end.
CREATE TABLE current_transaction (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL,
    ts_us  INTEGER NOT NULL
) STRICT;

INSERT INTO current_transaction (id, number, ts_us) VALUES (1, 0, 0);

-- The row as it is in an event: the table's column names, and the id as the canonical text of a UUID. It is not stored.
ALTER TABLE orders ADD COLUMN row_json TEXT GENERATED ALWAYS AS (
    json_object(
        'order_id', lower(
            substr(hex(order_id), 1, 8) || '-' || substr(hex(order_id), 9, 4) || '-' || substr(hex(order_id), 13, 4)
            || '-' || substr(hex(order_id), 17, 4) || '-' || substr(hex(order_id), 21)
        ),
        'merchant_id', merchant_id,
        'merchant_ref', merchant_ref,
        'amount', amount,
        'currency', currency,
        'payment_method', payment_method,
        'metadata', metadata,
        'status', status,
        'status_reason', status_reason,
        'version', version,
        'created_at', created_at,
        'updated_at', updated_at,
        'deadline_at', deadline_at
    )
) VIRTUAL;

CREATE TRIGGER orders_inserted AFTER INSERT ON orders
BEGIN
    INSERT INTO changes (transaction_number, ts_us, op, before, after)
    SELECT number, ts_us, 'c', NULL, NEW.row_json FROM current_transaction;
END;

CREATE TRIGGER orders_updated AFTER UPDATE ON orders
BEGIN
    INSERT INTO changes (transaction_number, ts_us, op, before, after)
    SELECT number, ts_us, 'u', OLD.row_json, NEW.row_json FROM current_transaction;
END;

CREATE TRIGGER orders_deleted AFTER DELETE ON orders
BEGIN
    INSERT INTO changes (transaction_number, ts_us, op, before, after)
    SELECT number, ts_us, 'd', OLD.row_json, NULL FROM current_transaction;
END;
