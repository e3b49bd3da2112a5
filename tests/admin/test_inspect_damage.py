"""What `inspect` says of each damage that `reconcile` finds: its verdict names it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from orderctl.admin.inspection import InspectSettings, inspect
from orderctl.admin.verdict import Finding
from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.order import Order, Status
from orderctl.services.pump import Pump
from orderctl.stores.sqlite.cache_rules import Shelf
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.schema import CACHE
from orderctl.stores.tiers import Tiers, open_tiers
from tests.admin.many_orders import ManyOrders

GROUPS = 64


@pytest.fixture
def many(tiers: Tiers, clock: ManualClock) -> ManyOrders:
    """Orders that are as they should be, and whose creations the log knows."""
    many = ManyOrders(tiers, clock).fill_up(20)
    pump(tiers, clock)
    return many


def pump(tiers: Tiers, clock: ManualClock) -> None:
    """What was committed goes to the log."""
    pump = Pump(tiers.feeds[0], tiers.log, partition=0, groups=GROUPS, clock=clock)
    while pump.step(0):
        pass
    pump.close()


def verdict(many: ManyOrders, order: Order) -> str:
    """What is said of an order that is not as it should be."""
    assert isinstance(many.clock, ManualClock)
    many.clock.advance(60)
    inspection, finding = inspect(many.tiers, many.clock, order.order_id, InspectSettings(groups=GROUPS))
    assert finding is Finding.DIFFERENT, inspection.verdict
    return inspection.verdict


def test_an_older_version_in_the_cache(many: ManyOrders) -> None:
    """It is behind."""
    [order] = many.finish(many.open_cached[:1])
    assert verdict(many, order).startswith("The cache is behind its source: it holds version 1 (pending)")


def test_a_newer_version_in_the_cache(many: ManyOrders) -> None:
    """It is newer than its source."""
    [order] = many.cache(many.open_cached[:1], version=7)
    assert verdict(many, order).startswith("The cache is newer than its source: it holds version 7 (pending)")


def test_changed_bytes_in_the_cache(many: ManyOrders) -> None:
    """One version, two contents."""
    [order] = many.cache(many.open_cached[:1], amount=2000)
    assert verdict(many, order) == "The cache and hot hold version 1 with different contents."


def test_a_row_that_is_missing(many: ManyOrders) -> None:
    """The order is lost, and who still knows it is said."""
    [order] = many.remove(many.finish(many.open_cached[:1]))
    assert verdict(many, order) == (
        "The order is lost: the cache knows version 1 (pending) and the log knows version 1 (pending),"
        " and no database holds it."
    )


def test_an_order_in_neither_database_that_only_the_log_knows(many: ManyOrders) -> None:
    """The same, without a record."""
    [order] = many.remove(many.finish(many.open_bare[:1]))
    assert verdict(many, order) == "The order is lost: the log knows version 1 (pending), and no database holds it."


def test_an_order_in_both_databases_for_too_long(many: ManyOrders) -> None:
    """With how long, and how long the archiver needs."""
    [order] = many.copy(many.finish(many.open_bare[:1]))
    assert verdict(many, order) == (
        "Hot and archive both hold version 2 (success), 61.0 s after the order became final:"
        " the archiver needs no more than 5 s."
    )


def test_an_archived_order_that_is_open(many: ManyOrders) -> None:
    """Both states are said."""
    [order] = many.copy(many.open_bare[:1], status=Status.SUCCESS, version=9)
    assert verdict(many, order).startswith(
        "The archive holds version 9 (success), and in hot the order is still open, at version 1 (pending)"
    )


def test_two_final_states(many: ManyOrders) -> None:
    """Both are said."""
    final = many.finish(many.open_bare[:1])
    many.copy(final, status=Status.FAILED)
    said = "Hot and archive hold different final states: version 2 (success) and version 2 (failed)"
    assert verdict(many, final[0]).startswith(said)


def test_two_copies(many: ManyOrders) -> None:
    """Of one final state, and of different contents."""
    final = many.finish(many.open_bare[:1])
    many.copy(final, amount=2000)
    assert verdict(many, final[0]).startswith("Hot and archive hold different copies")


def test_a_missing_record_is_no_damage(many: ManyOrders, clock: ManualClock) -> None:
    """The cache may forget at any moment."""
    order = many.open_bare[0]
    inspection, finding = inspect(many.tiers, clock, order.order_id, InspectSettings(groups=GROUPS))
    assert finding is Finding.CONSISTENT
    assert inspection.verdict.startswith("Hot and log agree on version 1 (pending)")


def test_bytes_that_mean_nothing(tmp_path: Path) -> None:
    """They are said, though readers are served all the same."""
    clock = ManualClock()
    with closing(open_tiers(Config(), tmp_path, clock)) as tiers:
        many = ManyOrders(tiers, clock)
        [order] = many.cache(many.create(1))
        with closing(Database(tmp_path / "cache.db", CACHE)) as database, database.transaction() as transaction:
            Shelf(transaction, clock.now_us(), groups=GROUPS).put(order.order_id, b"?", ttl_ms=600_000)
        assert verdict(many, order) == "The cache's bytes mean nothing: readers load the order as if there were none."
