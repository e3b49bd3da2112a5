"""Time-outs on real servers: never early, never late, also while those that bring the events about are hurt."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from orderctl.stack.probes import redis
from orderctl.stores.redis_nodes import Address
from tests.acceptance.deployment import Deployment
from tests.acceptance.overdue import account, create_due, wait_until_due
from tests.acceptance.quiet import Record, opened
from tests.acceptance.server import Server
from tests.acceptance.weather import Weather, lasting
from tests.stack import RunningStack, needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

ALL_AT_ONCE = 10_000
SOME = 2_000
IN_S, SOON_S = 40.0, 12.5
KAFKA_AWAY_S = 20.0
OTHERS = ("command", "query", "cdc", "cache-sync", "archiver", "timeouts")


def unique(name: str) -> str:
    """A prefix of references that no other test has used: the servers are shared."""
    return f"{name}-{uuid4().hex[:8]}"


def due_soon(api: Server, name: str) -> list[str]:
    """Some orders whose first deadline is to come in a few seconds."""
    return create_due(api, SOME, in_s=SOON_S, prefix=unique(name))


def hurt_when_due(deployment: Deployment, order_ids: list[str], hurt: Callable[[], object]) -> None:
    """Wait until the first deadline has come, and do harm."""
    with opened(deployment.data_dir, deployment.config) as tiers:
        wait_until_due(order_ids, tiers)
    hurt()


def test_ten_thousand_orders_due_in_the_same_second(deployment: Deployment, record_property: Record) -> None:
    """With the time-outs in a process of their own, as systemd runs them, beside one that serves and archives them."""
    with (
        Server(deployment.data_dir, *OTHERS[:-1], settings=deployment.settings) as server,
        Server(deployment.data_dir, "expiry", "timeouts", settings=deployment.settings) as timeouts,
    ):
        order_ids = create_due(server, ALL_AT_ONCE, in_s=IN_S, prefix=unique("all"))
        account(order_ids, server, deployment.data_dir, record_property, config=deployment.config, daemons=[timeouts])
        assert {timeouts.stop(), server.stop()} == {0}


def test_without_the_expiry_daemon_the_sweep_finds_all(deployment: Deployment, record_property: Record) -> None:
    """Within its bound, and it says so."""
    with Server(deployment.data_dir, *OTHERS, settings=deployment.settings) as server:
        order_ids = due_soon(server, "swept")
        found = account(
            order_ids, server, deployment.data_dir, record_property, config=deployment.config, daemons=[server]
        )
        assert found["sweep"] >= SOME
        assert found["expiry"] == 0


def test_expiry_is_killed_in_the_middle(deployment: Deployment, record_property: Record) -> None:
    """What it has told is timed out by that, and the rest by the sweep."""
    with (
        Server(deployment.data_dir, *OTHERS, settings=deployment.settings) as server,
        Server(deployment.data_dir, "expiry", settings=deployment.settings) as expiry,
    ):
        order_ids = due_soon(server, "killed")
        hurt_when_due(deployment, order_ids, expiry.kill)
        account(order_ids, server, deployment.data_dir, record_property, config=deployment.config, daemons=[server])


@pytest.mark.parametrize("how", ["flushed", "one primary restarted empty"])
def test_the_timers_are_lost(
    deployment: Deployment, stack: RunningStack, weather: Weather, record_property: Record, how: str
) -> None:
    """Some or all of them, as the first fall due: nobody tells of them any more."""

    def flush() -> None:
        for node in map(Address.parse, stack.config.redis.nodes):
            redis((node.host, node.port), "FLUSHALL")

    def restart() -> None:
        weather.kill("redis-1")
        weather.clear()

    with Server(deployment.data_dir, *OTHERS, "expiry", settings=deployment.settings) as server:
        order_ids = due_soon(server, "timers")
        hurt_when_due(deployment, order_ids, flush if how == "flushed" else restart)
        account(order_ids, server, deployment.data_dir, record_property, config=deployment.config, daemons=[server])


@pytest.mark.parametrize("how", ["freeze", "stop"])
def test_kafka_is_away(deployment: Deployment, weather: Weather, record_property: Record, how: str) -> None:
    """For twenty seconds, in which the orders fall due: the sweep needs no log."""
    with Server(deployment.data_dir, *OTHERS, "expiry", settings=deployment.settings) as server:
        order_ids = due_soon(server, "kafka")
        with lasting(KAFKA_AWAY_S):
            weather.freeze("kafka") if how == "freeze" else weather.stop("kafka")
            found = account(
                order_ids, server, deployment.data_dir, record_property, config=deployment.config, daemons=[server]
            )
        weather.clear()
        assert found["sweep"] >= SOME
