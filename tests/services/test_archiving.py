"""The move of final orders to the archive: its stages, its clock, what it passes over, and what it survives."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from msgspec import structs

from orderctl.clock import US_PER_S
from orderctl.errors import OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.services.archiving import RESCAN_S, Mover
from orderctl.stores.hot import Removal
from tests.contract.hot_harness import GROUPS
from tests.services.moving import Killed, OrderLost, Stage, Watched, open_stage

HOUR_US = 3600 * US_PER_S
BACKLOG = 50_000
MEMORY_MAX = 8 << 20
"""The backlog itself is some 50 MB as orders."""


@pytest.fixture
def stage() -> Iterator[Stage]:
    with open_stage() as opened:
        yield opened


def calls(stage: Stage) -> list[str]:
    """What was asked of the stores, in order."""
    return [moment.removeprefix("after ") for moment in stage.moments if moment.startswith("after")]


def is_hot(stage: Stage, order: Order) -> bool:
    return stage.hot.load([order.order_id]) != [None]


def moments_of(run: Callable[[Stage], None]) -> int:
    """How many moments a run has to which nothing happens."""
    with open_stage() as stage:
        run(stage)
        return len(stage.moments)


def move_five(stage: Stage) -> None:
    """Five orders, two at a time, by one mover after the other if they die."""
    stage.finish(5)
    stage.run(lambda: stage.mover(batch=2))


def test_an_order_is_written_and_settles_and_is_compared_and_only_then_removed(stage: Stage) -> None:
    """In this order, and in every table."""
    stage.finish()
    mover = stage.mover(settle_s=10)
    assert mover.step(None) == 1
    assert calls(stage) == ["finals", "load", "write"]
    assert mover.step(None) == 0
    assert mover.settling == 1
    stage.clock.advance(10)
    stage.moments.clear()
    assert mover.step(None) == 1
    assert calls(stage)[:3] == ["load", "resolve", "remove"]
    stage.check_archived()
    assert (mover.settling, stage.counted("archived_total")) == (0, 1)


def test_open_orders_stay(stage: Stage) -> None:
    """However long they are open."""
    (order,) = stage.end(stage.create(), Status.PROCESSING)
    mover = stage.mover()
    stage.clock.advance(100_000)
    assert [mover.step(None) for _ in range(3)] == [0, 0, 0]
    assert is_hot(stage, order)


def test_at_no_instant_is_an_order_in_neither_database(stage: Stage) -> None:
    """The stage looks after every single call of a store, and each order is in the archive in the end."""
    move_five(stage)
    stage.check_archived()
    assert calls(stage).count("remove") == 3


@pytest.mark.parametrize("jumps", [(0, -HOUR_US), (0, HOUR_US), (-HOUR_US, 0), (HOUR_US, 0)], ids=str)
def test_the_wait_is_measured_by_the_monotonic_clock(stage: Stage, jumps: tuple[int, int]) -> None:
    """A wall clock that is set an hour wrong, before the write or after it, makes it neither shorter nor longer."""
    (order,) = stage.finish()
    mover = stage.mover(settle_s=10)
    stage.clock.set_wall(stage.clock.now_us() + jumps[0])
    mover.step(None)
    stage.clock.set_wall(stage.clock.now_us() + jumps[1])
    stage.clock.advance(9.9)
    mover.step(None)
    assert is_hot(stage, order)
    stage.clock.advance(0.1)
    mover.step(None)
    assert not is_hot(stage, order)


def test_the_wait_begins_with_the_acknowledgement(stage: Stage) -> None:
    """Not when the write was sent: it may have been under way for seconds."""
    (order,) = stage.finish()
    mover = stage.mover(settle_s=10)
    write = 4  # finals and load have a moment before and one after, and so it is the fifth
    stage.actions[write] = lambda: stage.clock.advance(8)
    mover.step(None)
    assert stage.moments[write] == "before write"
    stage.clock.advance(9)
    mover.step(None)
    assert is_hot(stage, order)
    stage.clock.advance(1)
    mover.step(None)
    assert not is_hot(stage, order)


def test_a_restarted_mover_begins_anew(stage: Stage) -> None:
    """What another one wrote may have been lost since, so it counts from its own write."""
    (order,) = stage.finish()
    stage.mover(settle_s=10).step(None)
    stage.clock.advance(100)
    mover = stage.mover(settle_s=10)
    assert [mover.step(None) for _ in range(2)] == [1, 0]
    stage.clock.advance(9.9)
    mover.step(None)
    assert is_hot(stage, order)
    stage.clock.advance(0.1)
    mover.step(None)
    stage.check_archived()


@pytest.mark.parametrize(
    "there", [{"status": Status.FAILED}, {"status": Status.FAILED, "version": 9}, {"version": 9}], ids=str
)
def test_an_order_that_ended_otherwise_in_the_archive_is_not_written(stage: Stage, there: dict[str, Any]) -> None:
    """Nor removed: it stays in both, counted, and keeps nobody else back."""
    one, two = stage.finish(2)
    archived = structs.replace(one, **there)
    stage.archive.write([archived])
    mover = stage.mover()
    for _ in range(4):
        mover.step(None)
        stage.clock.advance(RESCAN_S)
    assert stage.archive.load([one.order_id, two.order_id]) == [archived, two]
    assert (is_hot(stage, one), is_hot(stage, two)) == (True, False)
    assert stage.counted("archive_conflicts_total") >= 1
    assert stage.counted("archive_read_back_differs_total") == 0


@pytest.mark.parametrize("table", ["orders", "orders_by_ref"])
def test_what_does_not_read_back_is_written_again(table: str) -> None:
    """From each of the tables; the order stays in the hot store until all of them have it."""
    with open_stage(sync_period_s=10) as stage:
        (order,) = stage.finish()
        mover = stage.mover(settle_s=20)
        mover.step(None)
        stage.lose_power(lambda lost, _: lost == table)
        stage.clock.advance(20)
        mover.step(None)
        assert is_hot(stage, order)
        assert stage.counted("archive_read_back_differs_total") == 1
        stage.run(lambda: mover)
        stage.check_archived()


def test_a_reference_used_again_leads_to_the_newer_order(stage: Stage) -> None:
    """The older one's own entry is there as well, and is not what look-ups by reference get: both orders move."""
    older, newer = stage.finish(2)
    again = structs.replace(newer, merchant_id=older.merchant_id, merchant_ref=older.merchant_ref)
    stage.archive.write([again])
    mover = stage.mover()
    for _ in range(2):
        mover.step(None)
    assert not is_hot(stage, older)
    assert stage.archive.load([older.order_id]) == [older]


def test_two_movers_at_once_move_each_order_once(stage: Stage) -> None:
    """They take turns in every stage, and neither takes the other's removal for its own."""
    stage.finish(20)
    movers = [stage.mover(batch=3), stage.mover(batch=4)]
    stage.run(stage.mover, movers=movers)
    stage.check_archived()
    assert stage.counted("archived_total") == 20


def test_a_mover_may_die_at_any_moment() -> None:
    """Before and after every call of a store; the next one brings it to an end, and nothing is lost meanwhile."""

    def die() -> None:
        raise Killed

    for moment in range(moments_of(move_five)):
        with open_stage() as stage:
            stage.actions[moment] = die
            move_five(stage)
            stage.check_archived()
            assert not stage.actions


@pytest.mark.parametrize(
    "error", [TierUnavailable("cassandra"), OutcomeUnknown("mysql")], ids=lambda e: type(e).__name__
)
def test_a_tier_may_fail_at_any_moment(error: TierError) -> None:
    """It was not asked, or its reply was lost; the same mover goes on, without waiting for a look at all rows."""

    def fail() -> None:
        raise error

    for moment in range(moments_of(move_five)):
        with open_stage() as stage:
            stage.actions[moment] = fail
            stage.finish(5)
            mover = stage.mover(batch=2)
            for _ in range(12):
                with suppress(type(error)):
                    mover.step(None)
            stage.check_archived()


def test_rows_that_turn_up_behind_the_cursor_are_found(stage: Stage) -> None:
    """Their time is another clock's, or their transaction took long."""
    mover = stage.mover(settle_s=60)
    slow = stage.create(2)
    stage.finish(3)
    mover.step(None)
    mover.step(None)
    stage.end(slow)
    assert mover.step(None) == 0
    stage.clock.advance(RESCAN_S)
    mover.step(None)
    assert mover.settling == 5


def test_a_long_scan_comes_to_its_end(stage: Stage) -> None:
    """Were it begun anew by time alone, rows far behind would never be reached while those in front settle."""
    stage.finish(10)
    mover = stage.mover(settle_s=600, batch=2)
    for _ in range(8):
        mover.step(None)
        stage.clock.advance(RESCAN_S)
    assert mover.settling == 10


def test_no_more_than_settling_max_are_in_hand(stage: Stage) -> None:
    """What is beyond stays in the hot store until there is room."""
    stage.finish(25)
    mover = stage.mover(settle_s=30, batch=4, settling_max=10)
    in_hand = []
    for _ in range(200):
        if not mover.step(None):
            stage.clock.advance(5)
        in_hand.append(mover.settling)
    assert max(in_hand) == 10
    stage.check_archived()


def test_only_the_groups_given_are_looked_after(stage: Stage) -> None:
    """None is all of them, and an empty set is none."""
    orders = stage.finish(12)
    mine = frozenset(group_of(order.order_id, GROUPS) for order in orders[:3])
    mover = stage.mover()
    assert mover.step(frozenset()) == 0
    for _ in range(3):
        mover.step(mine)
    assert [is_hot(stage, o) for o in orders] == [group_of(o.order_id, GROUPS) not in mine for o in orders]


def test_a_group_that_was_taken_away_is_begun_anew(stage: Stage) -> None:
    """What is settling may be another mover's write by now; groups that only come change nothing."""
    orders = stage.finish(6)
    groups = {group_of(order.order_id, GROUPS) for order in orders}
    mover = stage.mover(settle_s=10)
    mover.step(frozenset(list(groups)[:1]))
    before = mover.settling
    assert 0 < before < 6
    mover.step(frozenset(groups))
    assert mover.settling == 6
    stage.clock.advance(10)
    mover.step(frozenset(list(groups)[1:]))
    assert all(is_hot(stage, order) for order in orders)
    assert mover.settling == 6 - before


class Picky:
    """An archive that cannot hold one of the orders."""

    def __init__(self, store: Any, refused: Order) -> None:
        self._store = store
        self._refused = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, orders: Sequence[Order]) -> None:
        if self._refused in orders:
            raise TierRejected("cassandra", "too large")
        self._store.write(orders)


def test_an_order_that_the_archive_cannot_hold_keeps_nobody_back(stage: Stage) -> None:
    """It stays in the hot store, where readers find it, and is counted."""
    orders = stage.finish(7)
    mover = stage.mover(archive=Picky(stage.archive, orders[4]))
    for _ in range(3):
        mover.step(None)
    assert [is_hot(stage, order) for order in orders] == [order is orders[4] for order in orders]
    assert stage.counted("tier_errors_total", tier="cassandra", kind="TierRejected") > 0


def test_a_mover_that_has_something_left_says_so(stage: Stage) -> None:
    """Also where it removed nothing: another one was faster, and more is due."""
    stage.finish(6)
    mover = stage.mover(batch=2, settle_s=1)
    for _ in range(4):
        mover.step(None)
    other = stage.mover(batch=6)
    other.step(None)
    other.step(None)
    stage.clock.advance(1)
    assert [mover.step(None) for _ in range(4)] == [2, 2, 2, 0]


class Largest:
    """Remembers the largest batch that went through a store."""

    def __init__(self) -> None:
        self.size = 0

    def over(self, store: object) -> Any:
        """The store, looked at."""
        largest = self

        class Measured:
            def __getattr__(self, name: str) -> Any:
                def call(*args: Any, **kwargs: Any) -> Any:
                    result = getattr(store, name)(*args, **kwargs)
                    largest.size = max([largest.size, *(len(a) for a in (*args, result) if isinstance(a, list))])
                    return result

                return call

        return Measured()


def test_a_backlog_is_moved_in_batches_and_in_bounded_memory(stage: Stage) -> None:
    """What is in hand does not grow with it."""
    for _ in range(BACKLOG // 5_000):
        stage.finish(5_000)
        stage.orders.clear()
    largest = Largest()
    mover = stage.mover(hot=largest.over(stage.hot), archive=largest.over(stage.archive), batch=500)
    moved = drain(mover, steps=40)
    tracemalloc.start()
    try:
        moved += drain(mover, steps=10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    moved += drain(mover, steps=BACKLOG)
    assert moved == stage.counted("archived_total") * 2 == BACKLOG * 2
    assert largest.size == 500
    assert peak < MEMORY_MAX
    assert stage.hot.finals(None, after=None, limit=1) == []


def drain(mover: Mover, *, steps: int) -> int:
    """Step until there is nothing to do; returns how many orders were looked at, once written and once settled."""
    total = 0
    for _ in range(steps):
        looked_at = mover.step(None)
        total += looked_at
        if not looked_at:
            break
    return total


def test_the_stage_sees_an_order_that_is_lost(stage: Stage) -> None:
    """A mover that removed before it wrote would be found out."""
    (order,) = stage.finish()
    watched = Watched(stage.hot, lambda _: stage.look())
    with pytest.raises(OrderLost, match=order.order_id):
        watched.remove([Removal(order.order_id, order.version)], now_us=0)
