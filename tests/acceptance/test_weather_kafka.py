"""Kafka away for twenty seconds, frozen or stopped: orders go on without it, and what waited in the binlog comes after."""

from __future__ import annotations

import pytest

from orderctl.stores.tiers import Tiers
from tests.acceptance.deployment import Deployment
from tests.acceptance.fleet import Fleet
from tests.acceptance.quiet import Record, hold_to_account, opened
from tests.acceptance.server import PATIENCE_S, until
from tests.acceptance.weather import Load, Weather, all_ready, archived_of, lasting, says, under_load
from tests.stack import needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

AWAY_S = 20.0
FOLLOWERS = ("cdc", "cache-sync")
"""Those that are of no use without the log. The archiver goes on: it works from the rows in MySQL."""


def go_on_without(fleet: Fleet, load: Load, tiers: Tiers) -> None:
    """While Kafka is away: the followers say so, orders are created, changed, read and archived, and the servers are ready.

    Whoever is restarted meanwhile is no worse off, but for the followers: they begin when Kafka is there.
    """
    for name in FOLLOWERS:
        says(fleet.servers[name], 503, "log", seconds=PATIENCE_S)
    for name in ("cdc", "archiver", "query"):
        fleet.servers[name].kill()
        fleet.servers[name].spawn()
    for name in ("archiver", "query"):
        fleet.servers[name].wait_ready()
    known = len(load.ledger.lines)
    load.wait_for_orders(50, seconds=PATIENCE_S)
    load.wait_for_lookups(50, seconds=PATIENCE_S)
    for name in ("command", "query"):
        says(fleet.servers[name], 200, "ok", seconds=PATIENCE_S)
    until(
        lambda: bool(archived_of(load.ledger.lines[known:], tiers)), seconds=PATIENCE_S, what="new orders are archived"
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["freeze", "stop"])
def test_kafka_away(deployment: Deployment, weather: Weather, record_property: Record, how: str) -> None:
    """Nothing is refused meanwhile, and afterwards the topic holds every change."""
    with Fleet(deployment.data_dir, deployment.settings) as fleet:
        with under_load(fleet, seed=61) as load:
            load.wait_for_orders(50, seconds=PATIENCE_S)
            weather.freeze("kafka") if how == "freeze" else weather.stop("kafka")
            with opened(deployment.data_dir, deployment.config) as tiers, lasting(AWAY_S):
                go_on_without(fleet, load, tiers)
            weather.clear()
            all_ready(fleet, record_property)
            load.wait_for_orders(50, seconds=PATIENCE_S)
        assert (load.ledger.refused, load.ledger.unknown) == (0, 0)
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() == {0}
