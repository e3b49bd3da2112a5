"""What `DeadlineStore` promises to the sweep: the earliest deadlines first, groups apart, and how late the oldest is."""

from __future__ import annotations

from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.stores.deadlines import DeadlineStore, TimedOut
from orderctl.stores.hot import HotStore, OldEpoch
from tests.contract.deadline_harness import HOUR_US, US_PER_MS, DeadlineHarness, all_due, due
from tests.contract.hot_harness import GROUPS, refs_of_one_group, to


def swept(deadlines: DeadlineStore, groups: frozenset[int] | None = None, **how: int) -> list[Order]:
    """What one call times out."""
    outcomes = deadlines.time_out_overdue(groups, **{"limit": 100, **how})
    return [outcome.order for outcome in outcomes if isinstance(outcome, TimedOut)]


def ids_of(orders: list[Order]) -> list[str]:
    """Which orders these are."""
    return [order.order_id for order in orders]


class SweepingContract:
    """Timing out whatever is overdue."""

    def test_what_is_overdue_is_timed_out_and_nothing_else(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """Pending or processing; what is not due stays, and a second sweep finds nothing."""
        now_us = harness.now_us()
        orders = all_due(hot, [now_us - US_PER_MS, now_us, now_us + HOUR_US])
        hot.change([to(orders[1], Status.PROCESSING)], now_us=now_us)
        found = swept(deadlines)
        assert sorted(ids_of(found)) == sorted(ids_of(orders[:2]))
        assert hot.load(ids_of(found)) == found
        assert {order.status for order in found} == {Status.TIMEOUT}
        assert hot.load([orders[2].order_id]) == [orders[2]]
        assert swept(deadlines) == []

    def test_the_earliest_deadlines_come_first(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """Some at a time, pending and processing alike. Shards are each swept by themselves, so these are of one."""
        now_us = harness.now_us()
        refs = refs_of_one_group(6)
        orders = [due(hot, now_us - number * US_PER_MS, merchant_ref=ref) for number, ref in enumerate(refs)]
        hot.change([to(order, Status.PROCESSING) for order in orders[::2]], now_us=now_us)
        groups = frozenset({group_of(orders[0].order_id, GROUPS)})
        assert ids_of(swept(deadlines, groups, limit=4)) == ids_of(orders[:1:-1])
        assert ids_of(swept(deadlines, groups, limit=4)) == ids_of(orders[1::-1])
        assert swept(deadlines, groups, limit=4) == []

    def test_a_batch_is_bounded(self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore) -> None:
        """And sweeping until nothing is found times everything out."""
        orders = all_due(hot, [harness.now_us()] * 40)
        assert deadlines.time_out_overdue(None, limit=0) == []
        done: list[str] = []
        for _ in range(40):
            found = swept(deadlines, limit=7)
            assert len(found) <= 7
            done += ids_of(found)
        assert sorted(done) == sorted(ids_of(orders))

    def test_groups_share_the_orders(self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore) -> None:
        """Each order belongs to whoever has its group; no groups, no orders."""
        orders = all_due(hot, [harness.now_us()] * 40)
        mine = frozenset(range(0, GROUPS, 3))
        assert swept(deadlines, frozenset()) == []
        found = swept(deadlines, mine)
        own = [order.order_id for order in orders if group_of(order.order_id, GROUPS) in mine]
        assert sorted(ids_of(found)) == sorted(own)
        assert len(swept(deadlines, frozenset(range(GROUPS)) - mine)) == len(orders) - len(own)

    def test_events_are_left_their_time(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """With `late_by_us` only what has been due for that long is swept."""
        now_us = harness.now_us()
        late, fresh = all_due(hot, [now_us - HOUR_US, now_us])
        assert ids_of(swept(deadlines, late_by_us=HOUR_US)) == [late.order_id]
        assert hot.load([fresh.order_id]) == [fresh]

    def test_rows_of_an_older_epoch_come_back(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """As they are, beside those that were timed out."""
        old = due(hot, harness.now_us())
        harness.set_epoch(2)
        new = due(hot, harness.now_us())
        outcomes = deadlines.time_out_overdue(None, limit=9)
        assert OldEpoch(old) in outcomes
        assert [o.order.order_id for o in outcomes if isinstance(o, TimedOut)] == [new.order_id]
        assert hot.load([old.order_id]) == [old]

    def test_how_late_the_oldest_is(self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore) -> None:
        """Of all open orders of all shards; 0 where none is overdue, whatever final orders there are."""
        assert deadlines.oldest_overdue_us() == 0
        now_us = harness.now_us()
        orders = all_due(hot, [now_us - HOUR_US, *[now_us - 60_000 * US_PER_MS] * 20, now_us + HOUR_US])
        before_us = harness.now_us()
        assert before_us - (now_us - HOUR_US) <= deadlines.oldest_overdue_us() <= harness.now_us() - now_us + HOUR_US
        hot.change([to(orders[0], Status.PROCESSING)], now_us=now_us)
        assert deadlines.oldest_overdue_us() >= HOUR_US
        hot.change([to(orders[0], Status.SUCCESS)], now_us=now_us)
        assert 60_000 * US_PER_MS <= deadlines.oldest_overdue_us() < HOUR_US
        while swept(deadlines):
            pass
        assert deadlines.oldest_overdue_us() == 0
