-- Orders, the references that merchants know them by, and what the daemons of a deployment share.
--
-- Times are Unix microseconds, UTC. An order id is the 16 bytes of its UUID, so ids sort by time of creation.
-- Texts compare byte by byte: 'a' is not 'A', and 'a' is not 'a '.

CREATE TABLE orders (
    order_id       BLOB    NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
    merchant_id    TEXT    NOT NULL,
    merchant_ref   TEXT    NOT NULL,
    amount         INTEGER NOT NULL,  -- minor units
    currency       TEXT    NOT NULL,
    payment_method TEXT    NOT NULL,
    metadata       TEXT    NOT NULL,  -- canonical JSON
    status         TEXT    NOT NULL CHECK (
        status IN ('pending', 'processing', 'success', 'failed', 'cancelled', 'timeout')
    ),
    status_reason  TEXT,
    version        INTEGER NOT NULL CHECK (version BETWEEN 1 AND 9007199254740991),  -- exact in a double
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    deadline_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The idempotency key. An entry outlives its order's row: `moved_at` is when that row went to the archive.
CREATE TABLE order_refs (
    merchant_id  TEXT    NOT NULL,
    merchant_ref TEXT    NOT NULL,
    order_id     BLOB    NOT NULL CHECK (length(order_id) = 16),
    digest       BLOB    NOT NULL,  -- of the body that was asked for
    moved_at     INTEGER,
    PRIMARY KEY (merchant_id, merchant_ref)
) STRICT, WITHOUT ROWID;

-- One row: the deployment's constants. `group_count` is written once; `epoch` is the upper part of every new version.
CREATE TABLE deployment (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    group_count INTEGER NOT NULL CHECK (group_count BETWEEN 1 AND 4096),
    epoch       INTEGER NOT NULL DEFAULT 0 CHECK (epoch BETWEEN 0 AND 2097151)
) STRICT;

CREATE TABLE api_keys (
    key_id      TEXT    NOT NULL PRIMARY KEY,
    digest      BLOB    NOT NULL UNIQUE,  -- SHA-256 of the key, which is kept nowhere
    role        TEXT    NOT NULL CHECK (role IN ('merchant', 'gateway')),
    merchant_id TEXT    CHECK ((role = 'merchant') = (merchant_id IS NOT NULL)),
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;

CREATE TABLE heartbeats (
    instance   TEXT    NOT NULL PRIMARY KEY,
    daemon     TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    address    TEXT,
    last_error TEXT,
    beat_at    INTEGER NOT NULL
) STRICT;
