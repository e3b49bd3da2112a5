"""Each check of `doctor`, broken once: it objects, and no other does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from orderctl.admin import checks_archive, checks_cache, checks_host, checks_hot, checks_log
from orderctl.admin.checks import Check, State, run
from orderctl.admin.checks_host import DatabaseFacts, EmbeddedFacts, FileFacts, HostFacts
from orderctl.admin.checks_log import FollowerLag
from orderctl.services.lag import Lag
from orderctl.stores.facts_cassandra import KEYSPACE_MISSING, PeerFacts, TableFacts
from orderctl.stores.log import CHANGES, EXPIRED
from orderctl.stores.registry import Deployment
from tests.admin import doctoring
from tests.admin.doctoring import (
    GRANTS,
    NODE,
    SETTINGS,
    SHARD,
    archive,
    cache,
    hot,
    log,
    objections,
    settings,
    topic,
    variables,
)

FINDING, NOTE, UNKNOWN = State.FINDING, State.NOTE, State.UNKNOWN
HOST = HostFacts(files_max=65_536, secrets=(FileFacts("key", 0o600),), binds=(("command", "127.0.0.1:8701"),))
EMBEDDED = EmbeddedFacts(
    databases=(DatabaseFacts("hot.db", 6, 6),),
    files=(FileFacts("data", 0o700),),
    free_bytes=1 << 40,
    file_system="ext4",
)
NODES = archive().archive.nodes


def mariadb(**changes: str) -> Any:
    """A sound MariaDB, whose GTIDs are always on and may only be strict."""
    kept = {name: value for name, value in doctoring.VARIABLES.items() if name != "gtid_mode"}
    return hot(is_mariadb=True, variables=kept | {"gtid_strict_mode": "ON"} | changes)


def lag(daemon: str, topic_name: str, age_s: float) -> Any:
    """A sound log that somebody is behind."""
    return structs.replace(log(), lags=(FollowerLag(daemon, topic_name, Lag(5, age_s)),))


def deployment(**changes: Any) -> Any:
    """A shard with other constants."""
    assert SHARD.deployment is not None
    return hot(deployment=structs.replace(SHARD.deployment, **changes))


BROKEN_HOT = [
    ("schema", FINDING, hot(schema_fault="lacks migration 0004_late", deployment=None)),
    ("groups", FINDING, deployment(groups=128)),
    ("binlog", FINDING, variables(log_bin="OFF")),
    ("binlog_format", FINDING, variables(binlog_format="MIXED")),
    ("binlog_row_image", FINDING, variables(binlog_row_image="MINIMAL")),
    ("binlog_row_metadata", FINDING, variables(binlog_row_metadata="MINIMAL")),
    ("binlog_compression", FINDING, variables(binlog_transaction_compression="ON")),
    ("binlog_compression", FINDING, mariadb(log_bin_compress="ON")),
    ("binlog_retention", FINDING, variables(binlog_expire_logs_seconds="3600")),
    ("binlog_retention", NOTE, variables(binlog_expire_logs_seconds="0")),
    ("binlog_retention", FINDING, structs.replace(hot(), cdc_lag=Lag(9, 400_000.0))),
    ("gtid", FINDING, variables(gtid_mode="OFF")),
    ("gtid", FINDING, mariadb(gtid_strict_mode="OFF")),
    ("server_id", FINDING, variables(server_id="0")),
    ("flush_at_commit", FINDING, variables(innodb_flush_log_at_trx_commit="2")),
    ("sync_binlog", FINDING, variables(sync_binlog="0")),
    ("doublewrite", FINDING, variables(innodb_doublewrite="OFF")),
    ("engine", FINDING, hot(engines={"orders": "MyISAM"})),
    ("writable", FINDING, variables(read_only="ON")),
    ("writable", FINDING, variables(super_read_only="ON")),
    ("single_writer", FINDING, hot(replicates=True)),
    ("single_writer", UNKNOWN, hot(replicates=None)),
    ("promoted", FINDING, deployment(server="b")),
    ("promotion_settled", FINDING, deployment(epoch_settled=2)),
    ("semi_sync", NOTE, variables(rpl_semi_sync_source_enabled="OFF")),
    ("semi_sync", NOTE, variables(rpl_semi_sync_source_wait_point="AFTER_COMMIT")),
    ("semi_sync", NOTE, hot(counters={"rpl_semi_sync_source_clients": "0"})),
    ("isolation", FINDING, hot(isolation="REPEATABLE-READ")),
    ("packet_size", FINDING, variables(max_allowed_packet="1048576")),
    ("connections", NOTE, variables(max_connections="100")),
    ("clock", FINDING, hot(skew_s=-1.5)),
    ("rights", NOTE, hot(grants=GRANTS[:1])),
    ("rights", NOTE, hot(grants=GRANTS[1:])),
    ("rights_beyond", NOTE, hot(grants=(*GRANTS, "GRANT RELOAD ON *.* TO `orderctl`@`%`"))),
    ("rights_beyond", FINDING, hot(grants=(*GRANTS, "GRANT SUPER ON *.* TO `orderctl`@`%`"))),
    ("rights_beyond", FINDING, hot(grants=("GRANT ALL PRIVILEGES ON *.* TO `root`@`%`",))),
    ("rights_beyond", FINDING, hot(grants=(*GRANTS[:1], f"{GRANTS[1]} WITH GRANT OPTION"))),
    ("tls", FINDING, hot(tls=False)),
]
BROKEN_CACHE = [
    ("nodes", FINDING, cache(failure="no answer")),
    ("cluster_state", FINDING, cache(cluster={"cluster_state": "fail"})),
    ("slots", FINDING, structs.replace(cache(), slots=16_383)),
    ("full_coverage", NOTE, settings("cluster-require-full-coverage", "yes")),
    ("replicas", NOTE, cache(info={**NODE.info, "connected_slaves": "0"})),
    ("keyspace_events", FINDING, settings("notify-keyspace-events", "Kx")),
    ("keyspace_events", FINDING, settings("notify-keyspace-events", "")),
    ("eviction", FINDING, settings("maxmemory-policy", "allkeys-lru")),
    ("memory_bound", FINDING, settings("maxmemory", "0")),
    ("memory_room", NOTE, cache(info={**NODE.info, "used_memory": "990000"})),
    ("snapshots", FINDING, settings("save", "3600 1")),
    ("append_only_file", FINDING, settings("appendonly", "yes")),
    ("clock", FINDING, cache(skew_s=2.0)),
    ("release", FINDING, cache(info={**NODE.info, "redis_version": "6.2.1"})),
    ("plain_text", NOTE, cache(address="cache1.example:6379")),
]
BROKEN_LOG = [
    (
        "topics",
        FINDING,
        structs.replace(log(), log=structs.replace(log().log, topics=dict(list(log().log.topics.items())[1:]))),
    ),
    ("partitions", FINDING, log(partitions=32)),
    ("copies", FINDING, log(copies=2, settings=doctoring.TOPIC | {"min.insync.replicas": "1"})),
    ("min_insync", FINDING, topic("min.insync.replicas", "1")),
    ("in_sync", FINDING, log(leaderless=1)),
    ("in_sync", FINDING, log(lagging=1)),
    ("unclean_election", FINDING, topic("unclean.leader.election.enable", "true")),
    ("cleanup", FINDING, topic("cleanup.policy", "compact")),
    ("retention", FINDING, topic("retention.ms", "3600000")),
    ("retention_bytes", FINDING, topic("retention.bytes", "1000000")),
    ("retention_against_lag", FINDING, lag("cache-sync", CHANGES, 400_000.0)),
    ("append_time", FINDING, topic("message.timestamp.type", "CreateTime")),
    ("message_size", FINDING, topic("max.message.bytes", "1048588")),
    ("session_timeout", FINDING, log(broker={"group.min.session.timeout.ms": "10000"})),
    ("offsets_kept", FINDING, log(broker={"offsets.retention.minutes": "60"})),
    ("offsets_copies", NOTE, log(broker={"offsets.topic.replication.factor": "1"})),
    ("auto_create", NOTE, log(broker={"auto.create.topics.enable": "true"})),
    ("plain_text", NOTE, log(address="kafka1.example:9092")),
]
PERIODIC = {"commitlog_sync": "periodic", "batch_size_fail_threshold": "50KiB"}
BROKEN_ARCHIVE = [
    ("schema", FINDING, archive(schema_fault=KEYSPACE_MISSING, replication={}, tables={})),
    ("replication", FINDING, archive(replication={"class": "SimpleStrategy", "replication_factor": "3"})),
    ("replication", FINDING, archive(replication={"class": "NetworkTopologyStrategy", "dc2": "3"})),
    ("replication", FINDING, archive(replication={"class": "NetworkTopologyStrategy", "dc1": "1"})),
    ("nodes", FINDING, archive(nodes=NODES[:2])),
    ("schema_agreement", FINDING, archive(nodes=(*NODES, PeerFacts("127.0.0.4", "dc1", "5.0.5", "s2")))),
    ("release", FINDING, archive(nodes=(*NODES, PeerFacts("127.0.0.4", "dc1", "4.0.9", "s1")))),
    ("durable_writes", FINDING, archive(durable_writes=False)),
    ("settling", FINDING, archive(settings=(SETTINGS, PERIODIC | {"commitlog_sync_period": "10000ms"}), settle_s=19.0)),
    ("settling", FINDING, archive(settings=(PERIODIC | {"commitlog_sync_period_in_ms": "10000"},), settle_s=19.0)),
    ("settling", FINDING, archive(settings=(PERIODIC,), settle_s=19.0)),
    ("compaction", FINDING, archive(tables={"orders": TableFacts("x.TimeWindowCompactionStrategy", 0)})),
    ("time_to_live", FINDING, archive(tables={"orders": TableFacts("x.UnifiedCompactionStrategy", 3_600)})),
    ("batch_size", FINDING, archive(settings=({**SETTINGS, "batch_size_fail_threshold": "16KiB"},))),
    ("plain_text", NOTE, archive(nodes=(*NODES[:2], PeerFacts("10.0.0.1", "dc1", "5.0.5", "s1")))),
]  # fmt: skip
BROKEN_HOST = [
    ("open_files", NOTE, structs.replace(HOST, files_max=1_024)),
    ("open_files", FINDING, structs.replace(HOST, files_max=256)),
    ("secret_files", FINDING, structs.replace(HOST, secrets=(FileFacts("key", 0o644),))),
    ("binds", NOTE, structs.replace(HOST, binds=(("command", "0.0.0.0:8701"),))),
]
BROKEN_EMBEDDED = [
    ("databases", FINDING, structs.replace(EMBEDDED, databases=(DatabaseFacts("hot.db", None, 6),))),
    ("databases", FINDING, structs.replace(EMBEDDED, databases=(DatabaseFacts("hot.db", 5, 6),))),
    ("permissions", FINDING, structs.replace(EMBEDDED, files=(FileFacts("data", 0o755),))),
    ("room", FINDING, structs.replace(EMBEDDED, free_bytes=1 << 20)),
    ("file_system", FINDING, structs.replace(EMBEDDED, file_system="nfs4")),
]
PASSWORDS = [
    (checks_cache.CHECKS, structs.replace(cache(address="cache1.example:6379"), has_password=False)),
    (checks_archive.CHECKS, archive(has_user=False, nodes=(*NODES, PeerFacts("10.0.0.1", "dc1", "5.0.5", "s1")))),
]
TIERS: list[tuple[str, Sequence[Check[Any]], Any, list[tuple[str, State, Any]]]] = [
    ("hot", checks_hot.CHECKS, hot(), BROKEN_HOT),
    ("cache", checks_cache.CHECKS, cache(), BROKEN_CACHE),
    ("log", checks_log.CHECKS, log(), BROKEN_LOG),
    ("archive", checks_archive.CHECKS, archive(), BROKEN_ARCHIVE),
    ("host", checks_host.CHECKS, HOST, BROKEN_HOST),
    ("embedded", checks_host.EMBEDDED_CHECKS, EMBEDDED, BROKEN_EMBEDDED),
]
CASES = [
    pytest.param(checks, name, state, facts, id=f"{tier}-{name}-{at}")
    for tier, checks, _, broken in TIERS
    for at, (name, state, facts) in enumerate(broken)
]


@pytest.mark.parametrize(("checks", "name", "state", "facts"), CASES)
def test_what_is_broken_is_found_and_nothing_else(
    checks: Sequence[Check[Any]], name: str, state: State, facts: Any
) -> None:
    """Each by its own check, and as badly as it is."""
    assert objections(checks, facts) == {name: state}


@pytest.mark.parametrize(("checks", "facts"), PASSWORDS)
def test_a_password_is_asked_for_off_this_machine(checks: Sequence[Check[Any]], facts: Any) -> None:
    """Plain text is only noted: there is nothing else yet."""
    assert objections(checks, facts) == {"password": FINDING, "plain_text": NOTE}


@pytest.mark.parametrize(("checks", "sound"), [(checks, sound) for _, checks, sound, _ in TIERS])
def test_what_is_sound_is_well(checks: Sequence[Check[Any]], sound: Any) -> None:
    """No check objects to servers that are set up as they should be."""
    assert objections(checks, sound) == {}


def test_every_check_is_broken_here() -> None:
    """None is kept that nobody has seen firing."""
    for tier, checks, _, broken in TIERS:
        tried = {name for name, _, _ in broken} | ({"password"} if tier in {"cache", "archive"} else set())
        assert {check.name for check in checks} == tried, tier
    assert sum(len(checks) for _, checks, _, _ in TIERS) >= 25


def test_a_tier_that_is_away_leaves_its_checks_open() -> None:
    """They are unknown, and not well."""
    assert {check.state for check in run("hot", checks_hot.CHECKS, None)} == {UNKNOWN}


@pytest.mark.parametrize("name", ["keyspace_events", "eviction", "snapshots"])
def test_what_may_not_be_seen_is_unknown(name: str) -> None:
    """A user who may not ask for settings is told so."""
    assert objections(checks_cache.CHECKS, cache(settings=None))[name] is UNKNOWN


def test_an_archive_may_settle_by_waiting() -> None:
    """Twice the period is enough."""
    facts = archive(settings=({**PERIODIC, "commitlog_sync_period": "10s"},), settle_s=20.0)
    assert objections(checks_archive.CHECKS, facts) == {}


def test_what_was_read_in_time_is_no_matter() -> None:
    """A lag far below the retention."""
    assert objections(checks_log.CHECKS, lag("timeouts", EXPIRED, 60.0)) == {}


def test_a_server_of_mariadb_is_sound_too() -> None:
    """Its variables have other names; and a deployment without an epoch's server is embedded."""
    assert objections(checks_hot.CHECKS, mariadb()) == {}
    assert Deployment(64, 1, 0, 0).is_promoted
