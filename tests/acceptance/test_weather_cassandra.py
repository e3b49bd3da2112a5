"""Cassandra away for twenty seconds, frozen or stopped: final orders stay in MySQL, readable, and move after."""

from __future__ import annotations

import pytest

from orderctl.order import Order
from orderctl.stores.tiers import Tiers
from tests.acceptance.deployment import Deployment
from tests.acceptance.fleet import Fleet
from tests.acceptance.quiet import Record, hold_to_account, opened
from tests.acceptance.server import PATIENCE_S, until
from tests.acceptance.weather import WITHOUT_NEAR, Load, Weather, all_ready, is_read_from, lasting, says, under_load
from tests.stack import needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

AWAY_S = 20.0
PILED_UP = 50
"""Final orders that wait in MySQL, before we believe that they stay there."""


def finals(tiers: Tiers) -> list[Order]:
    """Final orders that are in MySQL."""
    return tiers.hot.finals(None, after=None, limit=PILED_UP)


def go_on_without(fleet: Fleet, load: Load, tiers: Tiers) -> None:
    """While Cassandra is away: the archiver says so, all else goes on and starts, and final orders stay readable."""
    until(lambda: len(finals(tiers)) == PILED_UP, seconds=PATIENCE_S, what="final orders pile up in MySQL")
    says(fleet.servers["archiver"], 503, "archive", seconds=PATIENCE_S)
    load.wait_for_orders(50, seconds=PATIENCE_S)
    load.wait_for_lookups(50, seconds=PATIENCE_S)
    order = finals(tiers)[-1]
    until(lambda: is_read_from(fleet, tiers, order.order_id, "mysql"), seconds=PATIENCE_S, what="a final order is read")
    fleet.servers["query"].kill()
    fleet.servers["query"].start()
    for name in ("command", "query", "cdc", "cache-sync"):
        says(fleet.servers[name], 200, "ok", seconds=PATIENCE_S)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["freeze", "stop"])
def test_cassandra_away(deployment: Deployment, weather: Weather, record_property: Record, how: str) -> None:
    """No order is lost or twice there; what had to wait in MySQL is in the archive afterwards."""
    with Fleet(deployment.data_dir, deployment.settings | WITHOUT_NEAR) as fleet:
        with under_load(fleet, seed=62) as load:
            load.wait_for_orders(50, seconds=PATIENCE_S)
            with opened(deployment.data_dir, deployment.config) as tiers:
                weather.freeze("cassandra") if how == "freeze" else weather.stop("cassandra")
                with lasting(AWAY_S):
                    go_on_without(fleet, load, tiers)
            weather.clear()
            all_ready(fleet, record_property)
            load.wait_for_orders(50, seconds=PATIENCE_S)
        assert load.ledger.unknown == 0
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() == {0}
