"""The contract suite of expirations: what goes out of a cache is told, while somebody listens and nothing breaks."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.errors import TierUnavailable
from orderctl.order import Order, Status
from orderctl.stores.cache import TIMER_LATE_MAX_MS
from orderctl.stores.expirations import Expiration, Gone
from tests.contract.cache_harness import CacheSuite, an_order, at_version, put
from tests.contract.expirations_harness import PATIENCE_S, ExpirationsHarness, hear, hear_of


def timer(order: Order) -> Expiration:
    return Expiration(order.order_id, Gone.TIMER)


def due_in(harness: ExpirationsHarness, ms: int) -> Order:
    """A new order with a deadline so far ahead by the node's clock."""
    return structs.replace(an_order(), deadline_at=harness.now_us() + ms * 1000)


class ExpirationsContract(CacheSuite):
    """A backend's test class inherits this and gives a fixture named `harness`."""

    def test_a_timer_is_told_of_at_the_deadline(self, harness: ExpirationsHarness) -> None:
        """Not before; and at that moment the record is still there."""
        cache, listener = harness.open(), harness.listen()
        order = due_in(harness, 400)
        self.make_record(cache, order)
        early = listener.poll(0)
        assert not early or harness.now_us() >= order.deadline_at
        assert early + hear_of(listener, *{timer(order)}.difference(early)) == [timer(order)]
        assert harness.now_us() >= order.deadline_at
        self.assert_holds(cache, order)

    def test_timers_of_all_groups_are_told_of(self, harness: ExpirationsHarness) -> None:
        """Each of them, and of no other order anything."""
        cache, listener = harness.open(), harness.listen()
        orders = [due_in(harness, 300) for _ in range(500)]
        cache.apply([put(order) for order in orders])
        harness.pass_time(0.3)
        heard = hear_of(listener, *map(timer, orders))
        assert set(heard) == set(map(timer, orders))
        assert listener.poll(0) == []

    def test_a_timer_that_was_taken_away_is_not_told_of(self, harness: ExpirationsHarness) -> None:
        """The order was settled in time; one that is due later bounds the wait."""
        cache, listener = harness.open(), harness.listen()
        settled, late = due_in(harness, 3_000), due_in(harness, 3_200)
        cache.apply([put(order) for order in (settled, late)])
        cache.apply([put(at_version(settled, 2, status=Status.SUCCESS))])
        assert hear_of(listener, timer(late)) == [timer(late)]

    def test_what_is_deleted_is_not_told_of(self, harness: ExpirationsHarness) -> None:
        """An entry that somebody took away did not go by itself."""
        cache, listener = harness.open(), harness.listen()
        deleted, late = due_in(harness, 60_000), due_in(harness, 200)
        self.make_record(cache, deleted)
        assert cache.invalidate([deleted.order_id]) == 1
        cache.apply([put(late)])
        assert hear_of(listener, timer(late)) == [timer(late)]

    def test_a_deadline_that_has_just_passed_is_told_of_at_once(self, harness: ExpirationsHarness) -> None:
        """Whoever brings the order late loses no more time."""
        cache, listener = harness.open(), harness.listen()
        order = due_in(harness, -TIMER_LATE_MAX_MS // 2)
        cache.apply([put(order)])
        assert set(hear_of(listener, timer(order))) == {timer(order)}

    def test_a_deadline_that_passed_long_ago_is_not_told_of(self, harness: ExpirationsHarness) -> None:
        """Or a log that is read again would pour out an event for each order that was ever open."""
        cache, listener = harness.open(), harness.listen()
        old, late = due_in(harness, -TIMER_LATE_MAX_MS - 1_000), due_in(harness, -1)
        cache.apply([put(old), put(late)])
        assert set(hear_of(listener, timer(late))) == {timer(late)}

    def test_an_entry_whose_time_is_over_is_told_of(self, harness: ExpirationsHarness) -> None:
        """Also where others write, who tidy up on their way."""
        cache, listener = harness.open(), harness.listen()
        orders = [due_in(harness, 60_000) for _ in range(5)]
        self.make_record(cache, *orders, ttl_ms=100)
        harness.pass_time(0.12)
        self.make_record(cache, due_in(harness, 60_000))
        expected = {Expiration(order.order_id, Gone.RECORD_EXPIRED) for order in orders}
        assert set(hear_of(listener, *expected)) == expected

    def test_what_memory_had_no_room_for_is_told_of(self, harness: ExpirationsHarness) -> None:
        """Entries and timers; an order whose timer went is the sweep's."""
        cache, listener = harness.open(), harness.listen()
        orders = [due_in(harness, 60_000) for _ in range(20)]
        self.make_record(cache, *orders)
        harness.run_out_of_memory()
        evicted = {Expiration(o.order_id, what) for o in orders for what in (Gone.RECORD_EVICTED, Gone.TIMER_EVICTED)}
        assert set(hear_of(listener, *evicted)) >= evicted
        assert cache.timer_ttl_ms([order.order_id for order in orders]) == [None] * 20

    def test_of_several_listeners_one_is_told_at_least(self, harness: ExpirationsHarness) -> None:
        """Which does not matter: what they do about it may be done twice."""
        cache, listeners = harness.open(), [harness.listen(), harness.listen()]
        orders = [due_in(harness, 100) for _ in range(200)]
        cache.apply([put(order) for order in orders])
        harness.pass_time(0.1)
        told = list(map(timer, orders))
        seen: set[Expiration] = set()

        def all_told(heard: list[Expiration]) -> bool:
            seen.update(heard, listeners[1].poll(0))
            return seen >= set(told)

        hear(listeners[0], all_told)
        assert seen == set(told)

    def test_whoever_waits_in_vain_hears_nothing(self, harness: ExpirationsHarness) -> None:
        """For no longer than it wanted; and nobody is deaf."""
        cache, listener = harness.open(), harness.listen()
        self.make_record(cache, due_in(harness, 60_000))
        begin_us = harness.now_us()
        assert listener.poll(0.2) == []
        assert 200_000 <= harness.now_us() - begin_us < PATIENCE_S * 1_000_000
        assert listener.deaf() == []

    def test_a_closed_listener_is_unavailable(self, harness: ExpirationsHarness) -> None:
        """Closing twice is harmless."""
        listener = harness.listen()
        listener.close()
        listener.close()
        with pytest.raises(TierUnavailable, match="cache"):
            listener.poll(0)
