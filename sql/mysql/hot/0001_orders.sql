-- Orders, the references that merchants know them by, and what the daemons of a deployment share. For MySQL 8.0 and MariaDB 10.11.
--
-- MySQL commits every statement of a migration by itself, so each must be harmless when it comes again: whoever was killed in
-- the middle leaves a migration half applied, and the next one applies all of it. Statements end in a semicolon, which stands
-- nowhere else; the same goes for the two dashes of a comment.
--
-- Times are Unix microseconds, UTC. An order id is the 16 bytes of its UUID, so ids sort by time of creation. Keys are bytes
-- (the UTF-8 of their texts), because every text collation makes some texts equal that are not: 'a' = 'A', or 'a' = 'a '.

-- The columns stand in the order of the code's fields; the binlog's reader relies on their names.
CREATE TABLE IF NOT EXISTS orders (
    order_id       BINARY(16)      NOT NULL,
    merchant_id    VARBINARY(255)  NOT NULL,
    merchant_ref   VARBINARY(255)  NOT NULL,
    amount         BIGINT UNSIGNED NOT NULL,  -- minor units
    currency       VARCHAR(8)      NOT NULL,
    payment_method VARCHAR(255)    NOT NULL,
    metadata       VARCHAR(1024)   NOT NULL,  -- canonical JSON; the JSON type is binary in MySQL's binlog and text in MariaDB's
    status         ENUM ('pending', 'processing', 'success', 'failed', 'cancelled', 'timeout') NOT NULL,
    status_reason  VARCHAR(256)    NULL,
    version        BIGINT UNSIGNED NOT NULL,
    created_at     BIGINT          NOT NULL,
    updated_at     BIGINT          NOT NULL,
    deadline_at    BIGINT          NOT NULL,
    PRIMARY KEY (order_id),
    KEY orders_status_updated (status, updated_at),
    CONSTRAINT orders_version_exact CHECK (version BETWEEN 1 AND 9007199254740991)  -- in a double
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The idempotency key. An entry outlives its order's row: `moved_at` is when that row went to the archive.
CREATE TABLE IF NOT EXISTS order_refs (
    merchant_id  VARBINARY(255) NOT NULL,
    merchant_ref VARBINARY(255) NOT NULL,
    order_id     BINARY(16)     NOT NULL,
    digest       BINARY(32)     NOT NULL,  -- of the body that was asked for
    moved_at     BIGINT         NULL,
    PRIMARY KEY (merchant_id, merchant_ref),
    KEY order_refs_moved (moved_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row: the deployment's constants, and which of its groups this shard has. All but the epoch are written once; the epoch is
-- the upper part of every new version.
CREATE TABLE IF NOT EXISTS deployment (
    id          TINYINT UNSIGNED  NOT NULL,
    group_count SMALLINT UNSIGNED NOT NULL,
    first_group SMALLINT UNSIGNED NOT NULL,
    last_group  SMALLINT UNSIGNED NOT NULL,
    epoch       BIGINT UNSIGNED   NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    CONSTRAINT deployment_one_row CHECK (id = 1),
    CONSTRAINT deployment_groups CHECK (
        group_count BETWEEN 1 AND 4096 AND first_group <= last_group AND last_group < group_count
    ),
    CONSTRAINT deployment_epoch CHECK (epoch BETWEEN 0 AND 2097151)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS api_keys (
    key_id      VARBINARY(64)               NOT NULL,
    digest      BINARY(32)                  NOT NULL,  -- SHA-256 of the key, which is kept nowhere
    role        ENUM ('merchant', 'gateway') NOT NULL,
    merchant_id VARBINARY(255)              NULL,
    created_at  BIGINT                      NOT NULL,
    revoked_at  BIGINT                      NULL,
    PRIMARY KEY (key_id),
    UNIQUE KEY api_keys_digest (digest),
    CONSTRAINT api_keys_merchant CHECK ((role = 'merchant') = (merchant_id IS NOT NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS heartbeats (
    instance   VARBINARY(255) NOT NULL,
    daemon     VARBINARY(64)  NOT NULL,
    state      VARCHAR(64)    NOT NULL,
    address    VARCHAR(255)   NULL,
    last_error TEXT           NULL,
    beat_at    BIGINT         NOT NULL,
    PRIMARY KEY (instance)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
