"""`doctor` on real servers: the stack is sound, and settings that are changed are found by what the servers say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from orderctl.admin import checks_cache, checks_hot
from orderctl.admin.checks import State
from orderctl.admin.checks_hot import HotFacts
from orderctl.admin.doctor import Diagnosis, doctor
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.sections import ShardSection
from orderctl.stores.facts_mysql import shard_facts
from orderctl.stores.facts_redis import cluster_facts
from orderctl.stores.mysql_hot import migrate_shard, server_of
from orderctl.stores.redis_expirations import open_redis_expirations
from orderctl.stores.redis_nodes import Access
from orderctl.stores.servers import migrate_servers
from tests.admin.doctoring import objections
from tests.real.mariadb_server import PASSWORD, MariadbServer, mariadb_server
from tests.real.redis_servers import RedisServers, redis_servers
from tests.stack import RunningStack, needs

GROUPS = 64
FOLLOWERS = {"cache-sync": "cache-sync", "archiver": "archiver", "timeouts": "timeouts"}
DATABASE = "doctored"
NOBODY = 1
"""A port that nobody listens at."""


@pytest.fixture(scope="module")
def broken_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    """A server whose settings may be changed, with a shard in it."""
    with mariadb_server(tmp_path_factory.mktemp("mariadb")) as server:
        with server.session() as run:
            run(f"CREATE DATABASE {DATABASE}")
        migrate_shard(server_of(section(server)), groups=GROUPS)
        yield server


@pytest.fixture(scope="module")
def broken_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    """A cluster whose settings may be changed."""
    with redis_servers(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


def section(server: MariadbServer, **changes: object) -> ShardSection:
    """The server as a configuration names it."""
    plain = ShardSection(
        name="main", host="127.0.0.1", port=server.server.port, password=server.server.password, database=DATABASE
    )
    return structs.replace(plain, **changes)


def look_at_shard(server: MariadbServer) -> dict[str, State]:
    """What the checks object to."""
    facts = shard_facts(section(server), SystemClock())
    assert PASSWORD not in repr(facts)
    return objections(checks_hot.CHECKS, HotFacts(shards=(facts,), groups=GROUPS, clock_skew_max_s=1.0))


def look_at_cluster(servers: RedisServers) -> dict[str, State]:
    """What the checks object to."""
    return objections(checks_cache.CHECKS, cluster_facts(servers.addresses, Access(), SystemClock()))


def listen(config: Config) -> None:
    """As the expiry daemon does, which has Redis tell of what expires."""
    nodes, groups = config.redis.nodes, config.deployment.groups
    with closing(open_redis_expirations(nodes, groups=groups, access=Access(), clock=SystemClock())) as expirations:
        expirations.poll(0)


def diagnose(config: Config, tmp_path: Path) -> Diagnosis:
    """The whole deployment."""
    return doctor(config, tmp_path, SystemClock(), config_file=None, groups=FOLLOWERS)


@needs("sql", "redis", "kafka", "cassandra")
def test_the_stack_is_sound(stack: RunningStack, tmp_path: Path) -> None:
    """Every check can look at what it judges, and none finds anything: that a single machine has no copies is noted."""
    migrate_servers(stack.config, SystemClock(), dry_run=False)
    listen(stack.config)
    found = diagnose(stack.config, tmp_path)
    wrong = {
        f"{check.tier} {check.name}": check.seen for check in found.checks if check.state not in {State.OK, State.NOTE}
    }
    noted = {f"{check.tier} {check.name}" for check in found.checks if check.state is State.NOTE}
    assert found.is_whole, found.tiers
    assert found.is_sound, wrong
    assert {"hot semi_sync", "cache replicas", "log copies", "archive replication"} <= noted
    assert len(found.checks) >= 60
    assert all(check.seen for check in found.checks if check.name not in {"secret_files", "binlog_compression"})


@needs("sql", "redis", "kafka", "cassandra")
def test_a_tier_that_is_away_hides_no_other(stack: RunningStack, tmp_path: Path) -> None:
    """Its checks are unknown, and it is named; the others are made."""
    migrate_servers(stack.config, SystemClock(), dry_run=False)
    shards = tuple(structs.replace(one, port=NOBODY) for one in stack.config.mysql.shards)
    config = structs.replace(stack.config, mysql=structs.replace(stack.config.mysql, shards=shards))
    found = diagnose(config, tmp_path)
    assert [tier.name for tier in found.tiers if tier.error] == ["hot"]
    assert {check.tier for check in found.checks if check.state is State.UNKNOWN} == {"hot"}
    assert not found.is_whole
    assert not found.is_sound


@needs("sql", "redis", "kafka", "cassandra")
def test_a_shard_that_is_away_hides_no_other(stack: RunningStack, tmp_path: Path) -> None:
    """It is named, and the others are judged."""
    migrate_servers(stack.config, SystemClock(), dry_run=False)
    [shard] = stack.config.mysql.shards
    both = (shard, structs.replace(shard, name="other", port=NOBODY))
    found = diagnose(structs.replace(stack.config, mysql=structs.replace(stack.config.mysql, shards=both)), tmp_path)
    [away] = [tier for tier in found.tiers if tier.error]
    assert away.name == "hot"
    assert f"127.0.0.1:{NOBODY}" in str(away.error)
    looked_at = {one.where for check in found.checks if check.tier == "hot" for one in check.seen}
    assert looked_at == {"main"}


@needs()
def test_settings_of_mysql_are_seen(broken_mariadb: MariadbServer) -> None:
    """Each that is changed on a server that runs is found, and mended it is not."""
    before = look_at_shard(broken_mariadb)
    broken = {
        "binlog_format": ("binlog_format", "MIXED", "ROW"),
        "binlog_row_image": ("binlog_row_image", "MINIMAL", "FULL"),
        "binlog_row_metadata": ("binlog_row_metadata", "NO_LOG", "FULL"),
        "binlog_compression": ("log_bin_compress", "ON", "OFF"),
        "gtid": ("gtid_strict_mode", "OFF", "ON"),
        "flush_at_commit": ("innodb_flush_log_at_trx_commit", "2", "1"),
        "sync_binlog": ("sync_binlog", "0", "1"),
        "writable": ("read_only", "ON", "OFF"),
        "packet_size": ("max_allowed_packet", "1048576", "16777216"),
    }
    with broken_mariadb.session() as run:
        for name, (variable, bad, good) in broken.items():
            run(f"SET GLOBAL {variable} = {bad}")
            assert look_at_shard(broken_mariadb)[name] is State.FINDING, name
            run(f"SET GLOBAL {variable} = {good}")
            assert name not in look_at_shard(broken_mariadb), name
    # The tests' own server logs no columns' names by default, and its user may do everything.
    assert before["binlog_row_metadata"] is before["rights_beyond"] is State.FINDING


@needs()
def test_a_promotion_that_is_due_is_seen(broken_mariadb: MariadbServer) -> None:
    """As after a restore on another server; and so is a table that no crash survives."""
    with broken_mariadb.session(database=DATABASE) as run:
        run("UPDATE deployment SET epoch_server = 'another'")
        run("CREATE TABLE fragile (a INT) ENGINE = MyISAM")
        found = look_at_shard(broken_mariadb)
        run("DROP TABLE fragile")
        run("UPDATE deployment SET epoch_server = NULL")
    assert found["promoted"] is found["engine"] is State.FINDING


@needs()
def test_a_shard_that_was_not_migrated_is_seen(broken_mariadb: MariadbServer) -> None:
    """It has no deployment to look at."""
    with broken_mariadb.session() as run:
        run("CREATE DATABASE IF NOT EXISTS bare")
    facts = shard_facts(section(broken_mariadb, database="bare"), SystemClock())
    assert facts.deployment is None
    seen = objections(checks_hot.CHECKS, HotFacts(shards=(facts,), groups=GROUPS, clock_skew_max_s=1.0))
    assert seen["schema"] is State.FINDING


@needs()
def test_settings_of_redis_are_seen_on_every_node(broken_redis: RedisServers) -> None:
    """A single primary that is set up otherwise is found."""
    node = broken_redis.servers[-1].client
    broken = {
        "keyspace_events": ("notify-keyspace-events", "", "Exe"),
        "eviction": ("maxmemory-policy", "allkeys-lru", "volatile-lru"),
        "memory_bound": ("maxmemory", "0", "128mb"),
        "snapshots": ("save", "3600 1", ""),
        "append_only_file": ("appendonly", "yes", "no"),
    }
    for name, (setting, bad, good) in broken.items():
        node.config_set(setting, bad)
        assert look_at_cluster(broken_redis)[name] is State.FINDING, name
        node.config_set(setting, good)
        for server in broken_redis.servers:
            server.client.config_set(setting, good)
        assert name not in look_at_cluster(broken_redis), name


@needs()
def test_a_node_that_is_gone_is_seen(broken_redis: RedisServers) -> None:
    """The others are looked at all the same."""
    gone = broken_redis.servers[-1]
    gone.kill()
    facts = cluster_facts(broken_redis.addresses, Access(), SystemClock())
    assert [node.failure is None for node in facts.nodes].count(False) == 1
    assert objections(checks_cache.CHECKS, facts)["nodes"] is State.FINDING


@needs("mysql")
def test_mysql_8_is_looked_at_too(mysql_stack: RunningStack) -> None:
    """Its variables, and what it says of replication, have other names than MariaDB's."""
    shard = mysql_stack.config.mysql.shards[0]
    migrate_shard(server_of(shard), groups=GROUPS)
    facts = shard_facts(shard, SystemClock())
    assert not facts.is_mariadb
    assert facts.replicates is False
    seen = objections(checks_hot.CHECKS, HotFacts(shards=(facts,), groups=GROUPS, clock_skew_max_s=1.0))
    assert {name for name, state in seen.items() if state is not State.NOTE} == set()
