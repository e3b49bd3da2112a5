"""The embedded archive that acknowledges before it syncs: what a loss of power takes, and what it cannot take."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderctl.order import Order
from orderctl.stores.sqlite.archive import SqliteArchiveStore
from orderctl.stores.sqlite.archive_power import ORDERS, ORDERS_BY_REF
from tests.contract.archive_harness import a_final, at_version, finals, ref_of
from tests.contract.archive_sqlite_harness import SqliteArchiveHarness

PERIOD_S = 10.0

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 1), st.integers(1, 5)),
        st.tuples(st.just("pass"), st.sampled_from([1, 4, 10, 11]), st.just(0)),
    ),
    max_size=12,
)
"""What happens before the power fails: versions of two orders are written, and seconds pass."""


@pytest.fixture
def harness() -> Iterator[SqliteArchiveHarness]:
    harness = SqliteArchiveHarness(None, sync_period_s=PERIOD_S)
    yield harness
    harness.close()


@pytest.fixture
def store(harness: SqliteArchiveHarness) -> SqliteArchiveStore:
    return harness.open()


def load(store: SqliteArchiveStore, order: Order) -> Order | None:
    return store.load([order.order_id])[0]


def test_a_write_is_safe_after_the_period(store: SqliteArchiveStore, harness: SqliteArchiveHarness) -> None:
    """To the moment: what was written later is lost, what was written earlier is not."""
    early, late = finals(2)
    store.write([early])
    harness.clock.advance(1)
    store.write([late])
    harness.clock.advance(PERIOD_S - 1)
    assert store.lose_power() == 2
    assert (load(store, early), load(store, late)) == (early, None)
    assert store.resolve([ref_of(early), ref_of(late)]) == [early.order_id, None]


def test_rows_go_back_to_what_they_held(store: SqliteArchiveStore, harness: SqliteArchiveHarness) -> None:
    """To the version that was synced, however many were written since."""
    order = at_version(a_final(), 2)
    store.write([order])
    harness.clock.advance(PERIOD_S)
    for version in (3, 5, 4):
        store.write([at_version(order, version)])
    assert load(store, order) == at_version(order, 5)
    assert store.lose_power() == 2
    assert load(store, order) == order


def test_one_table_may_lose_its_row_and_another_not(store: SqliteArchiveStore) -> None:
    """Each table is kept by other nodes, whose disks are other disks."""
    one, two = finals(2)
    store.write([one, two])
    assert store.lose_power(lambda table, order_id: (table == ORDERS) == (order_id == one.order_id)) == 2
    assert (load(store, one), load(store, two)) == (None, two)
    assert store.resolve([ref_of(one), ref_of(two)]) == [one.order_id, None]
    store.write([one, two])
    assert store.lose_power(lambda table, _: table == ORDERS_BY_REF) == 2
    assert (load(store, one), load(store, two)) == (one, two)


def test_what_survived_is_safe_from_then_on(store: SqliteArchiveStore) -> None:
    """What the archive found when it came up again it found on the disk."""
    order = a_final()
    store.write([order])
    assert store.lose_power(lambda _table, _order_id: False) == 0
    assert store.lose_power() == 0
    assert load(store, order) == order


def test_the_power_is_everybodys(harness: SqliteArchiveHarness) -> None:
    """Also what another store object wrote, and one that was closed since, is lost."""
    gone, other, store = (harness.open() for _ in range(3))
    one, two = finals(2)
    gone.write([one])
    gone.close()
    other.write([two])
    assert store.lose_power() == 4
    assert (load(store, one), load(store, two)) == (None, None)


def test_setting_the_wall_clock_syncs_nothing(store: SqliteArchiveStore, harness: SqliteArchiveHarness) -> None:
    """The period is measured by the monotonic clock."""
    order = a_final()
    store.write([order])
    harness.clock.set_wall(harness.clock.now_us() + 3_600_000_000)
    store.lose_power()
    assert load(store, order) is None


def test_an_archive_that_syncs_at_once_loses_nothing() -> None:
    """With a period of 0, which is the default."""
    harness = SqliteArchiveHarness(None)
    store, order = harness.open(), a_final()
    store.write([order])
    assert store.lose_power() == 0
    assert load(store, order) == order
    harness.close()


@given(steps)
@settings(deadline=None, max_examples=80)
def test_a_loss_leaves_the_largest_version_that_was_synced(history: list[tuple[str, int, int]]) -> None:
    """Of each order, whatever was written and whenever: no more is lost, and no less."""
    harness = SqliteArchiveHarness(None, sync_period_s=PERIOD_S)
    store, orders = harness.open(), finals(2)
    written: list[tuple[float, int, int]] = []
    for what, first, version in history:
        if what == "write":
            store.write([at_version(orders[first], version)])
            written.append((harness.clock.monotonic_s(), first, version))
        else:
            harness.clock.advance(first)
    synced_s = harness.clock.monotonic_s() - PERIOD_S
    store.lose_power()
    for number, order in enumerate(orders):
        largest = max((v for at, n, v in written if n == number and at <= synced_s), default=0)
        assert load(store, order) == (at_version(order, largest) if largest else None)
        assert store.resolve([ref_of(order)]) == [order.order_id if largest else None]
    harness.close()
