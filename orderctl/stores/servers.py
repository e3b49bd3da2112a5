"""Opens the real tiers: MySQL, Redis Cluster, Kafka and Cassandra, by their sections of the configuration."""

from __future__ import annotations

from contextlib import ExitStack, closing
from types import MappingProxyType

from orderctl.clock import Clock
from orderctl.config import Config
from orderctl.secret import Secret, read_secret
from orderctl.stores.binlog import BinlogFeed
from orderctl.stores.cassandra import open_cassandra_archive
from orderctl.stores.cassandra_driver import CassandraAccess
from orderctl.stores.cassandra_schema import Keyspace, Layout, migrate_archive
from orderctl.stores.kafka import KafkaLogStore
from orderctl.stores.kafka_driver import KafkaCluster
from orderctl.stores.log import topics
from orderctl.stores.mysql_hot import groups_of, migrate_shard, open_mysql_shards, server_of
from orderctl.stores.redis import open_redis_cache
from orderctl.stores.redis_expirations import open_redis_expirations
from orderctl.stores.redis_nodes import Access
from orderctl.stores.tiers import Tiers

KINDS = MappingProxyType({"hot": "mysql", "cache": "redis", "log": "kafka", "archive": "cassandra"})


def open_servers(config: Config, clock: Clock) -> Tiers:
    """Open every tier by its servers. `migrate_servers` has made what is in them.

    Raises:
        ConfigError: a schema is not this program's, or a tier was made for another deployment.
        TierUnavailable: MySQL cannot be reached. The other tiers are connected to when they are first asked.

    """
    groups = config.deployment.groups
    with ExitStack() as stack:
        hot = stack.enter_context(closing(open_mysql_shards(config.mysql.shards, groups=groups)))
        cache = stack.enter_context(
            closing(open_redis_cache(config.redis.nodes, groups=groups, access=redis_access(config), clock=clock))
        )
        expirations = stack.enter_context(
            closing(open_redis_expirations(config.redis.nodes, groups=groups, access=redis_access(config), clock=clock))
        )
        archive = stack.enter_context(
            closing(open_cassandra_archive(cassandra_access(config), Layout(groups), clock=clock))
        )
        log = stack.enter_context(closing(KafkaLogStore(kafka_cluster(config), clock=clock)))
        feeds = tuple(BinlogFeed(server_of(shard), shard=shard.name, clock=clock) for shard in config.mysql.shards)
        stack.pop_all()
    return Tiers(
        hot.store,
        hot.registry,
        cache,
        archive,
        log,
        feeds,
        late=hot.late,
        late_archive=archive.late(),
        deadlines=hot.deadlines,
        expirations=expirations,
        shards=hot.shards,
        kinds=KINDS,
    )


def migrate_servers(config: Config, clock: Clock, *, dry_run: bool) -> list[str]:
    """Bring schemas, keyspace and topics to what this program needs; returns what was missing, a line each.

    Needs the rights of an owner, which daemons do not have.

    Raises:
        ConfigError: something is newer than this program, or was made for another deployment.
        TierError: a tier cannot be reached, or refuses.

    """
    groups = config.deployment.groups
    missing: list[str] = []
    for shard in config.mysql.shards:
        found = migrate_shard(server_of(shard), groups=groups, shard=groups_of(shard, groups), dry_run=dry_run)
        missing += [f"mysql {shard.name}: {one.name}" for one in found]
    keyspace = Keyspace(layout=Layout(groups), replication={config.cassandra.datacenter: config.cassandra.replication})
    applied = migrate_archive(cassandra_access(config), keyspace, clock=clock, dry_run=dry_run)
    missing += [f"cassandra {config.cassandra.keyspace}: {one.name}" for one in applied]
    return missing + [f"kafka: topic {name}" for name in _make_topics(config, clock, dry_run=dry_run)]


def _make_topics(config: Config, clock: Clock, *, dry_run: bool) -> list[str]:
    wanted = topics(groups=config.deployment.groups, shards=len(config.mysql.shards))
    with closing(KafkaLogStore(kafka_cluster(config), clock=clock)) as log:
        return log.missing_topics(wanted) if dry_run else log.ensure_topics(wanted)


def redis_access(config: Config) -> Access:
    """How to come to the cache's nodes."""
    password = read_secret(config.redis.password, config.redis.password_file)
    return Access(config.redis.username, None if password is None else Secret(password))


def kafka_cluster(config: Config) -> KafkaCluster:
    """How to come to the log's brokers."""
    return KafkaCluster(brokers=config.kafka.brokers, replicas=config.kafka.replication)


def cassandra_access(config: Config) -> CassandraAccess:
    """How to come to the archive's nodes."""
    section = config.cassandra
    return CassandraAccess(
        hosts=section.hosts,
        port=section.port,
        keyspace=section.keyspace,
        datacenter=section.datacenter,
        user=section.user,
        password=read_secret(section.password, section.password_file) or "",
    )
