"""Servers that are set up as they should be, by what they say of themselves, and which checks object to what is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec import structs

from orderctl.admin.checks import Check, State, run
from orderctl.admin.checks_archive import ArchiveChecked
from orderctl.admin.checks_hot import HotFacts
from orderctl.admin.checks_log import LogChecked
from orderctl.stores.facts_cassandra import ArchiveFacts, PeerFacts, TableFacts
from orderctl.stores.facts_kafka import BrokerFacts, LogFacts, TopicFacts
from orderctl.stores.facts_mysql import ShardFacts
from orderctl.stores.facts_redis import SLOTS, ClusterFacts, NodeFacts
from orderctl.stores.log import topics
from orderctl.stores.registry import Deployment

F = TypeVar("F")

VARIABLES = {
    "version": "8.0.33",
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "binlog_transaction_compression": "OFF",
    "binlog_expire_logs_seconds": "604800",
    "gtid_mode": "ON",
    "server_id": "7",
    "innodb_flush_log_at_trx_commit": "1",
    "sync_binlog": "1",
    "innodb_doublewrite": "ON",
    "read_only": "OFF",
    "super_read_only": "OFF",
    "rpl_semi_sync_source_enabled": "ON",
    "rpl_semi_sync_source_wait_point": "AFTER_SYNC",
    "max_allowed_packet": "67108864",
    "max_connections": "500",
}
GRANTS = (
    "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `orderctl`@`%`",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON `orderctl`.* TO `orderctl`@`%`",
)
SHARD = ShardFacts(
    name="main",
    host="db1.example",
    tls=True,
    is_mariadb=False,
    variables=VARIABLES,
    counters={"rpl_semi_sync_source_clients": "1"},
    replicates=False,
    isolation="READ-COMMITTED",
    skew_s=0.02,
    engines={"orders": "InnoDB"},
    grants=GRANTS,
    deployment=Deployment(64, 4, 3, 0, epoch_settled=3, server="a", epoch_server="a"),
)
NODE = NodeFacts(
    address="127.0.0.1:6379",
    is_primary=True,
    settings={
        "cluster-require-full-coverage": "no",
        "notify-keyspace-events": "Exe",
        "maxmemory-policy": "volatile-lru",
        "maxmemory": "1000000",
        "save": "",
        "appendonly": "no",
    },
    info={"redis_version": "7.0.15", "connected_slaves": "1", "maxmemory": "1000000", "used_memory": "500000"},
    cluster={"cluster_state": "ok"},
)
TOPIC = {
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": "2097152",
}
BROKER = {
    "group.min.session.timeout.ms": "6000",
    "offsets.retention.minutes": "10080",
    "offsets.topic.replication.factor": "3",
    "auto.create.topics.enable": "false",
}
WANTED = topics(groups=64, shards=1)
SETTINGS = {"commitlog_sync": "group", "batch_size_fail_threshold": "50KiB"}
UNIFIED = TableFacts("org.apache.cassandra.db.compaction.UnifiedCompactionStrategy", 0)


def hot(**changes: object) -> HotFacts:
    """One sound shard, changed."""
    return HotFacts(shards=(structs.replace(SHARD, **changes),), groups=64, clock_skew_max_s=1.0)


def variables(**changes: str) -> HotFacts:
    """One sound shard, with other variables."""
    return hot(variables=VARIABLES | changes)


def cache(**changes: object) -> ClusterFacts:
    """One sound node, changed."""
    return ClusterFacts(slots=SLOTS, has_password=True, nodes=(structs.replace(NODE, **changes),))


def settings(name: str, value: str) -> ClusterFacts:
    """One sound node, with another setting."""
    return cache(settings={**(NODE.settings or {}), name: value})


def log(*, broker: dict[str, str] | None = None, address: str = "127.0.0.1:9092", **changes: object) -> LogChecked:
    """A sound log, the first topic and the only broker changed."""
    found = {
        topic.name: TopicFacts(
            name=topic.name,
            partitions=topic.partitions,
            copies=3,
            lagging=0,
            leaderless=0,
            settings=TOPIC | ({"cleanup.policy": "compact"} if topic.compacted else {}),
        )
        for topic in WANTED
    }
    first = WANTED[0].name
    found[first] = structs.replace(found[first], **changes)
    brokers = (BrokerFacts(address=address, settings=BROKER | (broker or {})),)
    return LogChecked(log=LogFacts(brokers=brokers, topics=found), topics=WANTED, replication=3)


def topic(name: str, value: str) -> LogChecked:
    """A sound log, the first topic with another setting."""
    return log(settings=TOPIC | {name: value})


def archive(*, settle_s: float = 0.0, has_user: bool = True, **changes: object) -> ArchiveChecked:
    """A sound archive, changed."""
    facts = ArchiveFacts(
        nodes=tuple(PeerFacts(f"127.0.0.{at}", "dc1", "5.0.5", "s1") for at in (1, 2, 3)),
        settings=(SETTINGS,),
        replication={"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc1": "3"},
        durable_writes=True,
        tables={"orders": UNIFIED},
    )
    return ArchiveChecked(
        archive=structs.replace(facts, **changes), datacenter="dc1", replication=3, settle_s=settle_s, has_user=has_user
    )


def objections(checks: Sequence[Check[F]], facts: F) -> dict[str, State]:
    """The checks that are not content, and how much they mind."""
    return {check.name: check.state for check in run("x", checks, facts) if check.state is not State.OK}
