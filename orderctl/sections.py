"""What can be configured: a frozen, typed section each, every key with its default and, in its annotation, its meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from orderctl.duration import Duration
from orderctl.secret import Secret

YEAR_S = 366 * 86_400.0


def _key(meaning: str, **constraints: Any) -> Meta:
    return Meta(description=meaning, **constraints)


def _duration(meaning: str, *, above_zero: bool = False, max_s: float = YEAR_S) -> Meta:
    return Meta(description=meaning, extra={"above_zero": above_zero, "max_s": max_s})


def _bind(meaning: str) -> Meta:
    expected = "HOST:PORT with a port from 0 to 65535"
    return Meta(description=f"{meaning}; port 0 takes a free one", extra={"bind": True, "expected": expected})


def _text(meaning: str) -> Meta:
    return Meta(description=meaning, extra={"not_empty": True})


def _spelt(meaning: str, pattern: str, expected: str) -> Meta:
    return Meta(description=meaning, extra={"pattern": pattern, "expected": expected})


def _texts(meaning: str, *, binds: bool = False) -> Meta:
    return Meta(description=meaning, extra={"items": "HOST:PORT" if binds else "HOST"})


class LogSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What daemons write to stderr."""

    format: Annotated[
        Literal["auto", "logfmt", "json"], _key("How a line is written; auto is logfmt on a terminal, JSON otherwise")
    ] = "auto"
    level: Annotated[Literal["debug", "info", "warning", "error"], _key("The least that is worth a line")] = "info"


class DaemonSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all daemons share."""

    instance: Annotated[
        str, _key("A name of this instance that outlives it, such as systemd's %i", max_length=64, pattern=r"^[!-~]*\Z")
    ] = ""
    drain_delay: Annotated[
        Duration, _duration("How long /readyz says 503 before the listener closes, so that load balancers look away")
    ] = Duration(0)
    stop_timeout: Annotated[
        Duration, _duration("How long requests that were taken may need to finish when the daemon stops")
    ] = Duration(20)


class HttpSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All HTTP servers."""

    server: Annotated[
        Literal["hypercorn", "granian"], _key("What serves HTTP; granian takes less CPU and needs the extra `fast`")
    ] = "hypercorn"
    event_loop: Annotated[
        Literal["asyncio", "uvloop"], _key("What runs the servers; uvloop takes less CPU and needs the extra `fast`")
    ] = "asyncio"
    body_timeout: Annotated[Duration, _duration("How long a request's body may take to arrive", above_zero=True)] = (
        Duration(10)
    )
    backlog: Annotated[int, _key("Connections that may wait to be accepted", ge=16, le=65_535)] = 1024
    queue_max: Annotated[int, _key("Orders that may wait for a batch; beyond it 503", ge=500, le=10_000_000)] = 20_000
    linger: Annotated[
        Duration,
        _duration("How long a batch may wait while requests keep coming; a lone request does not wait", max_s=1),
    ] = Duration(0.02)


class CommandSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The command server."""

    bind: Annotated[str, _bind("Where it listens")] = "127.0.0.1:8701"
    clock_skew_max: Annotated[
        Duration,
        _duration(
            "How far this host's clock may be off the database's; beyond it the server is not ready", above_zero=True
        ),
    ] = Duration(1)
    tentative_ttl: Annotated[
        Duration,
        _duration("How long the cache keeps a record whose transaction is under way", above_zero=True, max_s=10),
    ] = Duration(5)
    tentative_wait: Annotated[
        Duration,
        _duration("How long COMMIT may wait for the cache's answer, so that the record can be promoted", max_s=10),
    ] = Duration(0.01)


class QuerySection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The query server."""

    bind: Annotated[str, _bind("Where it listens")] = "127.0.0.1:8702"
    wait_max: Annotated[Duration, _duration("The longest that `Prefer: wait=` makes a look-up wait", max_s=300)] = (
        Duration(10)
    )
    mysql_first_s: Annotated[
        Duration, _duration("Orders younger than this are looked for in the hot store first, older ones in the archive")
    ] = Duration(960)
    loads_max: Annotated[
        int, _key("Orders that a process may be loading from each database; beyond it 202", ge=1, le=1_000_000)
    ] = 1_000
    loads_per_s: Annotated[
        int, _key("Orders that a process asks each database for in a second; beyond it 202", ge=1, le=10_000_000)
    ] = 10_000
    near_ttl_ms: Annotated[
        int,
        _key("How long process memory answers for an open order, in milliseconds; 0 is not at all", ge=0, le=60_000),
    ] = 50
    near_orders_max: Annotated[
        int, _key("Orders that process memory holds, and as many versions of others", ge=0, le=100_000_000)
    ] = 100_000
    near_bytes_max: Annotated[int, _key("Bytes that the orders in process memory may take", ge=0, le=1 << 40)] = 1 << 26


class AdminSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """/livez, /readyz, /metrics and /status."""

    bind: Annotated[
        str | None, _bind("Where it listens; without it the daemon's own port, or 127.0.0.1:8700 for several")
    ] = None


class CacheSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Records in the cache."""

    record_ttl: Annotated[
        Duration,
        _duration(
            "How long a record outlives its order's deadline; for a final order, how long it lives", above_zero=True
        ),
    ] = Duration(3600)


class DeploymentSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Constants: written into the database once, and checked against it at every start."""

    groups: Annotated[
        int,
        Meta(description="Slices of the keyspace", ge=1, le=4096, extra={"power_of_two": True}),
    ] = 64


class ArchiverSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The move of final orders to the archive."""

    settle_s: Annotated[
        Duration,
        _duration(
            "How long a write to the archive must have stood before the original is removed: twice its sync period"
        ),
    ] = Duration(0)
    idempotency_window: Annotated[
        Duration, _duration("How long a reference stands for its order after that has moved", above_zero=True)
    ] = Duration(86_400)
    lag_max: Annotated[
        int, _key("Events that cache-sync may be behind; beyond it the archiver holds back", ge=1, le=1_000_000_000)
    ] = 100_000


class TimeoutsSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The time-out of orders that are past their deadline."""

    sweep_interval: Annotated[
        Duration, _duration("How often overdue orders are looked for, at the least", above_zero=True, max_s=60)
    ] = Duration(1)
    sweep_grace: Annotated[
        Duration, _duration("How long an order is overdue before it is swept, so that events come first", max_s=60)
    ] = Duration(1)
    sweep_rate_max: Annotated[
        int, _key("Orders a second that a process times out by sweeping", ge=100, le=10_000_000)
    ] = 10_000


class AuditSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The record of what operators did."""

    path: Annotated[
        str | None, _text("Where audit lines are appended; without it audit.jsonl in the data directory")
    ] = None


class ShardSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One shard of the hot store, MySQL or MariaDB. The order of shards is part of the deployment: append, never sort."""

    name: Annotated[str, _spelt("What events and commands call it", r"[a-z][a-z0-9_-]{0,31}", "a name such as main")]
    host: Annotated[str, _text("Where its primary runs")]
    port: Annotated[int, _key("The primary's port", ge=1, le=65_535)] = 3306
    user: Annotated[str, _text("Whom the daemons log in as")] = "orderctl"
    password: Annotated[Secret | None, _text("The user's password")] = None
    password_file: Annotated[str | None, _text("A file that holds it, instead")] = None
    database: Annotated[str, _spelt("The schema", r"[A-Za-z][A-Za-z0-9_]{0,63}", "a name such as orderctl")] = (
        "orderctl"
    )
    groups: Annotated[
        str | None,
        _spelt("The groups that it holds, where there are several", r"[0-9]{1,4}-[0-9]{1,4}", "a range such as 0-31"),
    ] = None
    tls_ca: Annotated[
        str | None, _text("Who must have signed the server's certificate, which must name the host; without it no TLS")
    ] = None
    tls_cert: Annotated[str | None, _text("Our own certificate, where the server asks for one")] = None
    tls_key: Annotated[str | None, _text("Its key")] = None


class MysqlSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The hot store. Without shards, and the other tiers' servers, all is embedded in the data directory."""

    shards: Annotated[
        tuple[ShardSection, ...], Meta(description="Its shards, a table each", extra={"tables": ShardSection})
    ] = ()


class RedisSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cache: a Redis Cluster."""

    nodes: Annotated[tuple[str, ...], _texts("Some of its nodes; the others are found from them", binds=True)] = ()
    username: Annotated[str | None, _text("Whom to log in as, where it is not the default user")] = None
    password: Annotated[Secret | None, _text("The password")] = None
    password_file: Annotated[str | None, _text("A file that holds it, instead")] = None


class KafkaSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The log."""

    brokers: Annotated[tuple[str, ...], _texts("Some of its brokers; the others are found from them", binds=True)] = ()
    replication: Annotated[int, _key("Copies of each topic, when `migrate` makes it", ge=1, le=9)] = 3


class CassandraSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The archive."""

    hosts: Annotated[tuple[str, ...], _texts("Some of its nodes; the others are found from them")] = ()
    port: Annotated[int, _key("The port of every node", ge=1, le=65_535)] = 9042
    keyspace: Annotated[str, _spelt("The keyspace", r"[a-z][a-z0-9_]{0,47}", "a name such as orderctl")] = "orderctl"
    datacenter: Annotated[str, _text("The data centre that is ours")] = "datacenter1"
    replication: Annotated[int, _key("Copies in that data centre, when `migrate` makes the keyspace", ge=1, le=9)] = 3
    user: Annotated[str | None, _text("Whom to log in as, where it asks")] = None
    password: Annotated[Secret | None, _text("The password")] = None
    password_file: Annotated[str | None, _text("A file that holds it, instead")] = None


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration. Where the data directory is is no part of it: see `data_dir`."""

    log: LogSection = field(default_factory=LogSection)
    daemon: DaemonSection = field(default_factory=DaemonSection)
    http: HttpSection = field(default_factory=HttpSection)
    command: CommandSection = field(default_factory=CommandSection)
    query: QuerySection = field(default_factory=QuerySection)
    admin: AdminSection = field(default_factory=AdminSection)
    cache: CacheSection = field(default_factory=CacheSection)
    deployment: DeploymentSection = field(default_factory=DeploymentSection)
    archiver: ArchiverSection = field(default_factory=ArchiverSection)
    timeouts: TimeoutsSection = field(default_factory=TimeoutsSection)
    audit: AuditSection = field(default_factory=AuditSection)
    mysql: MysqlSection = field(default_factory=MysqlSection)
    redis: RedisSection = field(default_factory=RedisSection)
    kafka: KafkaSection = field(default_factory=KafkaSection)
    cassandra: CassandraSection = field(default_factory=CassandraSection)
