"""The scenarios on real servers, small; what they made is gone afterwards."""

from __future__ import annotations

from contextlib import closing

import pytest
from confluent_kafka.admin import AdminClient

from orderctl.bench.ground import cassandra_access, ground_on
from orderctl.bench.own_log import cluster_of
from orderctl.config import Config
from orderctl.errors import UsageRefused
from orderctl.stores.cassandra_driver import connect as connect_cassandra
from orderctl.stores.kafka_driver import client_config
from orderctl.stores.mysql_driver import connect, drop, send
from orderctl.stores.mysql_hot import server_of
from orderctl.stores.registry import Heartbeat
from tests.bench.test_scenarios import check, smoke
from tests.stack import RunningStack, needs

pytestmark = [needs("sql", "redis", "kafka", "cassandra"), pytest.mark.timeout(300)]


def left_behind(config: Config) -> set[str]:
    """Whatever is the bench's in MySQL, Cassandra and Kafka."""
    connection = connect(server_of(config.mysql.shards[0]))
    try:
        names = {str(name) for (name,) in send(connection, "SHOW DATABASES")[1]}
    finally:
        drop(connection)
    with closing(connect_cassandra(cassandra_access(config.cassandra), {}, agreement_s=30)) as cassandra:
        names |= set(cassandra._cluster.metadata.keyspaces)
    with AdminClient(client_config(cluster_of(config))) as admin:
        names |= set(admin.list_topics(timeout=10).topics)
    return {name for name in names if name.startswith("orderctl_bench")}


def test_each_follower_beside_its_ceiling(stack: RunningStack) -> None:
    """cdc, cache-sync, the archiver and batches of creations, each with all of its work done, and nothing left."""
    before = left_behind(stack.config)
    names = ("batch-create", "cdc-backlog", "cdc-backlog-singles", "cache-sync-backlog", "archiver-backlog")
    report = smoke(stack.config, *names, is_real=True)
    check(report)
    assert report.stores == "real"
    assert {"MySQL", "Redis", "Kafka", "Cassandra", "hiredis"} <= set(report.versions)
    assert left_behind(stack.config) <= before


def test_batches_from_redis(stack: RunningStack) -> None:
    """Beside the driver's own MGETs; how many nodes they went to is noted, since a plan needs it."""
    [result] = smoke(stack.config, "batch-lookup-cache", is_real=True).scenarios
    assert result.ceiling.facts["nodes"] == 3


def test_beside_other_ways(stack: RunningStack) -> None:
    """Debezium reads the same changes, pt-archiver moves as many orders, one transaction each creates as many; all of it."""
    before = left_behind(stack.config)
    names = ("cdc-beside-debezium", "archiver-beside-pt-archiver", "single-creates-beside-one-each")
    report = smoke(stack.config, *names, is_real=True)
    check(report)
    assert left_behind(stack.config) <= before


def test_a_change_becomes_visible(stack: RunningStack) -> None:
    """Through cdc, Kafka and cache-sync in processes of their own; told directly it is visible sooner."""
    [result] = smoke(stack.config, "commit-to-visible", is_real=True).scenarios
    assert result.real.latency_ms is not None
    assert result.ceiling.latency_ms is not None
    assert result.real.latency_ms.p50 > result.ceiling.latency_ms.p50 > 0


def test_a_deployment_that_is_served_is_refused(stack: RunningStack) -> None:
    """A daemon's heartbeat is enough; once it has retired the same servers may be used."""
    with ground_on(stack.config) as ground, ground.opened() as tiers:
        tiers.registry.beat([Heartbeat("query@here", "query", "running", None, None)])
        with pytest.raises(UsageRefused, match="being served: query"), ground_on(ground.config):
            raise AssertionError("it was not refused")
        tiers.registry.retire(["query@here"])
        with ground_on(ground.config) as other:
            assert other.name != ground.name
