"""The cache's contract, seventh part: timers, which go off at the deadlines of open orders."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.order import Order, Status
from orderctl.stores.cache import TIMER_LATE_MAX_MS, Applied, CacheStore, Promotion
from tests.contract.cache_harness import (
    SLACK_US,
    TTL_MS,
    CacheHarness,
    CacheSuite,
    an_order,
    at_version,
    filled,
    not_found,
    orders_of,
    put,
    sync,
    token,
)

GROUP, MARK = 5, 10
MINE = token(1)
STATES = ["nothing", "absent", "rubbish", "lease", "tentative", "record"]
WAYS = ["apply", "sync"]
AHEAD_MS = 30_000


def due_in(harness: CacheHarness, order: Order, ms: int = AHEAD_MS) -> Order:
    """The order, with a deadline so far ahead by the node's clock."""
    return structs.replace(order, deadline_at=harness.now_us() + ms * 1000)


class TimerContract(CacheSuite):
    """Who sets a timer, who takes it away, and who leaves it alone."""

    def bring(self, cache: CacheStore, way: str, *orders: Order, ttl_ms: int = TTL_MS) -> list[Applied] | None:
        """Committed versions of orders of GROUP, by *apply* or by *sync*."""
        puts = [put(order, ttl_ms=ttl_ms) for order in orders]
        if way == "apply":
            return cache.apply(puts)
        return sync(cache, GROUP, puts, expected=0, reached=MARK)

    def assert_timer(self, cache: CacheStore, harness: CacheHarness, order: Order) -> None:
        """The order has a timer that goes off at its deadline."""
        before_us = harness.now_us()
        [left_ms] = cache.timer_ttl_ms([order.order_id])
        assert left_ms is not None
        asked_us = order.deadline_at - left_ms * 1000
        assert before_us - SLACK_US <= asked_us <= harness.now_us() + SLACK_US

    def has_timer(self, cache: CacheStore, order: Order) -> bool:
        return cache.timer_ttl_ms([order.order_id]) != [None]

    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("way", WAYS)
    def test_a_committed_version_sets_the_timer(
        self, cache: CacheStore, harness: CacheHarness, way: str, state: str
    ) -> None:
        """Whatever the entry is, and where there is none too: after a cache was emptied the log makes timers again."""
        cache.reset_group(GROUP, mark=0)
        order = due_in(harness, orders_of(GROUP, 1)[0])
        self.make(state, cache, harness, structs.replace(order, deadline_at=0))
        assert not self.has_timer(cache, order)
        self.bring(cache, way, at_version(order, 2))
        self.assert_timer(cache, harness, order)

    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("status", [status for status in Status if status.is_final])
    def test_a_final_version_takes_the_timer_away(
        self, cache: CacheStore, harness: CacheHarness, way: str, state: str, status: Status
    ) -> None:
        """Nobody waits for its deadline any more."""
        cache.reset_group(GROUP, mark=0)
        order = due_in(harness, orders_of(GROUP, 1)[0])
        self.make(state, cache, harness, order)
        self.bring(cache, way, order)
        assert self.has_timer(cache, order)
        self.bring(cache, way, at_version(order, 2, status=status))
        assert not self.has_timer(cache, order)

    @pytest.mark.parametrize("state", ["lease", "tentative", "record"])
    @pytest.mark.parametrize("way", WAYS)
    def test_a_late_version_changes_no_timer(
        self, cache: CacheStore, harness: CacheHarness, way: str, state: str
    ) -> None:
        """The entry knows that the order is final; a repeated event of when it was open does not make it wait again."""
        cache.reset_group(GROUP, mark=0)
        order = due_in(harness, orders_of(GROUP, 1)[0])
        self.make(state, cache, harness, order)
        self.bring(cache, way, at_version(order, 3, status=Status.SUCCESS))
        self.bring(cache, way, at_version(order, 2))
        assert not self.has_timer(cache, order)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_version_from_before_takes_no_timer_away(
        self, cache: CacheStore, harness: CacheHarness, way: str
    ) -> None:
        """Nor does what is older and wrong."""
        cache.reset_group(GROUP, mark=0)
        order = due_in(harness, orders_of(GROUP, 1)[0])
        self.make_record(cache, at_version(order, 3))
        self.bring(cache, way, at_version(order, 2, status=Status.SUCCESS))
        self.assert_timer(cache, harness, order)

    @pytest.mark.parametrize("state", STATES)
    def test_a_tentative_that_stands_sets_the_timer(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """With the first write: the deadline is known before anything else is. One that is refused sets none."""
        order = due_in(harness, an_order())
        self.make(state, cache, harness, structs.replace(order, deadline_at=0))
        [stands] = cache.tentative(self.tentatives(harness, [order], MINE))
        assert stands == (state in {"nothing", "absent", "rubbish"})
        assert self.has_timer(cache, order) == stands
        if stands:
            self.assert_timer(cache, harness, order)

    def test_a_tentative_of_which_the_expiry_is_refused_sets_none(
        self, cache: CacheStore, harness: CacheHarness
    ) -> None:
        """It came too late: nothing of it is to be seen."""
        order = due_in(harness, an_order())
        assert cache.tentative(self.tentatives(harness, [order], MINE, ttl_ms=-1)) == [False]
        assert not self.has_timer(cache, order)

    def test_a_fill_sets_the_timer(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Of an open order; what a reader loads has lost its timer with its record, more often than not."""
        order = due_in(harness, an_order())
        self.make_record(cache, order)
        self.assert_timer(cache, harness, order)

    def test_a_fill_of_a_final_order_takes_it_away(self, cache: CacheStore, harness: CacheHarness) -> None:
        """As every final version does."""
        order = due_in(harness, an_order())
        cache.apply([put(order)])
        self.make_record(cache, at_version(order, 2, status=Status.FAILED))
        assert not self.has_timer(cache, order)

    def test_a_fill_that_is_refused_changes_no_timer(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Neither under another's token, nor under a floor; and `absent` says nothing of deadlines."""
        order, other = due_in(harness, an_order()), due_in(harness, an_order())
        self.make_lease(cache, order, MINE)
        assert cache.fill([filled(order, token(2))]) == [False]
        assert not self.has_timer(cache, order)
        cache.apply([put(at_version(order, 3, status=Status.SUCCESS))])
        assert cache.fill([filled(order, MINE)]) == [False]
        assert not self.has_timer(cache, order)
        cache.apply([put(other)])
        self.make_lease(cache, other, MINE)
        assert cache.fill([not_found(other, MINE)]) == [True]
        self.assert_timer(cache, harness, other)

    def test_what_leaves_timers_alone(self, cache: CacheStore, harness: CacheHarness) -> None:
        """A promotion, a look-up, an invalidation, a drop and a reset: the order is as open as it was."""
        order = due_in(harness, orders_of(GROUP, 1)[0])
        ids = [order.order_id]
        cache.tentative(self.tentatives(harness, [order], MINE))
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [True]
        cache.lookup(ids, tokens=[MINE])
        self.assert_timer(cache, harness, order)
        assert cache.invalidate(ids) == 1
        self.assert_timer(cache, harness, order)
        cache.reset_group(GROUP, mark=MARK)
        sync(cache, GROUP, [], expected=MARK, reached=MARK, drops=ids)
        assert cache.reset_group(GROUP, mark=MARK) == 0
        self.assert_timer(cache, harness, order)

    def test_a_reset_finds_every_entry_among_the_timers(self, cache: CacheStore, harness: CacheHarness) -> None:
        """However many of those stay, and whether the entries came before them or after."""
        orders = [due_in(harness, order) for order in orders_of(GROUP, 1_500)]
        self.make_record(cache, *orders[:700])
        cache.apply([put(order) for order in orders[700:]])
        self.make_record(cache, *orders[1_400:])
        assert cache.reset_group(GROUP, mark=MARK) == 800
        ids = [order.order_id for order in orders]
        assert cache.get(ids) == [None] * 1_500
        assert None not in cache.timer_ttl_ms(ids)

    def test_at_the_deadline_the_timer_goes_and_the_record_stays(
        self, cache: CacheStore, harness: CacheHarness
    ) -> None:
        """Those who poll get their answer from the cache when the order times out, too."""
        order = due_in(harness, an_order(), 300)
        self.make_record(cache, order)
        harness.pass_time(0.35)
        assert not self.has_timer(cache, order)
        self.assert_holds(cache, order)

    @pytest.mark.parametrize("late_ms", [500, TIMER_LATE_MAX_MS + 1_000, 86_400_000])
    @pytest.mark.parametrize("way", WAYS)
    def test_a_deadline_that_has_passed_leaves_no_timer(
        self, cache: CacheStore, harness: CacheHarness, way: str, late_ms: int
    ) -> None:
        """Not one that waits: whether it is told of at once is for those who listen to see."""
        cache.reset_group(GROUP, mark=0)
        order = due_in(harness, orders_of(GROUP, 1)[0], -late_ms)
        assert self.bring(cache, way, order) == [Applied.NOTHING]
        assert not self.has_timer(cache, order)

    def test_a_timer_goes_by_the_last_word(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Deadlines do not move; but a timer that was wrong is put right by whatever comes next."""
        order = due_in(harness, an_order())
        assert cache.apply([put(order)]) == [Applied.NOTHING]
        later = due_in(harness, at_version(order, 2), 2 * AHEAD_MS)
        assert cache.apply([put(later)]) == [Applied.NOTHING]
        self.assert_timer(cache, harness, later)

    def test_a_batch_of_many_groups(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Each order gets its own; they are told in the order asked, unknown ones and duplicates too."""
        orders = [due_in(harness, an_order(), AHEAD_MS + 1_000 * number) for number in range(100)]
        final = [structs.replace(order, status=Status.CANCELLED) for order in orders[::2]]
        cache.apply([put(order) for order in orders])
        cache.apply([put(order) for order in final])
        for order in orders[1::2]:
            self.assert_timer(cache, harness, order)
        ids = [order.order_id for order in orders[:4]]
        left = cache.timer_ttl_ms([*ids, an_order().order_id, ids[1]])
        assert [one is None for one in left] == [True, False, True, False, True, False]
        assert cache.timer_ttl_ms([]) == []

    def test_the_last_version_of_a_batch_decides(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Items act one after another."""
        cache.reset_group(GROUP, mark=0)
        one, two = (due_in(harness, order) for order in orders_of(GROUP, 2))
        ends = [at_version(order, 2, status=Status.SUCCESS) for order in (one, two)]
        self.bring(cache, "sync", one, ends[0], ends[1])
        assert cache.timer_ttl_ms([one.order_id, two.order_id]) == [None, None]

    def test_a_deadline_at_the_end_of_time(self, cache: CacheStore, harness: CacheHarness) -> None:
        """A record whose deadline no clock will reach, or from before all clocks, is no error of its batch."""
        strange = [structs.replace(an_order(), deadline_at=at) for at in (253_402_300_799_999_999, 0, -1, -(10**15))]
        assert cache.apply([put(order) for order in strange]) == [Applied.NOTHING] * 4
        assert [self.has_timer(cache, order) for order in strange] == [True, False, False, False]
