"""The cache's contract, third part: what readers do (get, lookup, fill, invalidate)."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.errors import TierRejected
from orderctl.stores.cache import ABSENT_TTL_MAX_MS, LEASE_TTL_MS, Applied, Busy, CacheStore, Granted
from orderctl.stores.record import NO_TOKEN, Entry, Kind
from orderctl.version import VERSION_MAX
from tests.contract.cache_harness import (
    TTL_MS,
    CacheHarness,
    CacheSuite,
    an_order,
    at_version,
    entry_of,
    filled,
    not_found,
    put,
    token,
)

MINE, OTHER = token(1), token(2)
LEASE_OVER_S = LEASE_TTL_MS / 1000 + 0.1
EVERY_STATE = ["nothing", "rubbish", "absent", "lease", "tentative", "record"]


class LoadingContract(CacheSuite):
    """The lease, from the miss that grants it to the fill that uses it up, and all that may come between."""

    # --- get ---------------------------------------------------------------------------------------------------------

    def test_get_shows_every_kind_as_it_is(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Leases and `absent` too: it is for those who inspect and for a reader's first, cheap look."""
        order = an_order(version=5)
        expected = {
            "nothing": None,
            "rubbish": None,
            "absent": Entry(Kind.ABSENT, 0),
            "lease": Entry(Kind.LEASE, 0, token=token(903)),
            "tentative": entry_of(order, Kind.TENTATIVE, creator=token(902)),
            "record": entry_of(order),
        }
        for state in EVERY_STATE:
            harness.evict(order.order_id)
            self.make(state, cache, harness, order)
            assert cache.get([order.order_id]) == [expected[state]], state

    @pytest.mark.parametrize("state", EVERY_STATE)
    def test_get_changes_nothing(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """It grants no lease and removes no rubbish."""
        order = an_order()
        self.make(state, cache, harness, order)
        before = harness.peek(order.order_id)
        cache.get([order.order_id])
        assert harness.peek(order.order_id) == before

    # --- lookup ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("state", ["nothing", "rubbish"])
    def test_a_miss_is_granted_a_lease(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """Under the token that was given, with no floor yet, for the lease's time."""
        order = an_order()
        self.make(state, cache, harness, order)
        before_us = harness.now_us()
        assert cache.lookup([order.order_id], tokens=[MINE]) == [Granted(MINE)]
        assert cache.get([order.order_id]) == [Entry(Kind.LEASE, 0, token=MINE)]
        self.assert_expires(harness, order.order_id, before_us, LEASE_TTL_MS)

    def test_a_second_reader_finds_the_lease_taken(self, cache: CacheStore, harness: CacheHarness) -> None:
        """One loads at a time: even the holder, asking again, is told so, and the lease is not prolonged."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        before = harness.peek(order.order_id)
        assert cache.lookup([order.order_id], tokens=[OTHER]) == [Busy()]
        assert cache.lookup([order.order_id], tokens=[MINE]) == [Busy()]
        assert harness.peek(order.order_id) == before

    @pytest.mark.parametrize("state", ["absent", "tentative", "record"])
    def test_a_hit_is_the_entry_and_changes_nothing(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """An order, tentative or not, and the knowledge that there is none: both are answers."""
        order = an_order()
        self.make(state, cache, harness, order)
        before = harness.peek(order.order_id)
        assert cache.lookup([order.order_id], tokens=[MINE]) == cache.get([order.order_id])
        assert harness.peek(order.order_id) == before

    def test_a_lease_that_expires_goes_to_the_next(self, cache: CacheStore, harness: CacheHarness) -> None:
        """A reader that died holds nobody up; if it was only slow, its fill comes too late."""
        slow, taken_over, vanished = an_order(), an_order(), an_order()
        ids = [slow.order_id, taken_over.order_id, vanished.order_id]
        assert cache.lookup(ids, tokens=[MINE] * 3) == [Granted(MINE)] * 3
        harness.pass_time(LEASE_OVER_S)
        assert cache.fill([filled(slow, MINE)]) == [False]
        assert cache.lookup(ids[1:], tokens=[OTHER] * 2) == [Granted(OTHER)] * 2
        assert cache.fill([filled(taken_over, MINE), filled(taken_over, OTHER)]) == [False, True]
        assert cache.apply([put(slow)]) == [Applied.NOTHING]

    @pytest.mark.parametrize("holder", [NO_TOKEN, b"", b"short", b"x" * 17])
    def test_a_lease_needs_a_token(self, cache: CacheStore, holder: bytes) -> None:
        """A token that an entry cannot hold is refused, and nobody is granted anything."""
        ids = [an_order().order_id, an_order().order_id]
        with pytest.raises(TierRejected):
            cache.lookup(ids, tokens=[MINE, holder])
        assert cache.get(ids) == [None, None]

    def test_a_lookup_needs_a_token_for_each_order(self, cache: CacheStore) -> None:
        """Too few is the caller's mistake."""
        with pytest.raises(ValueError, match="token"):
            cache.lookup([an_order().order_id, an_order().order_id], tokens=[MINE])

    # --- fill --------------------------------------------------------------------------------------------------------

    def test_a_fill_uses_the_lease_up(self, cache: CacheStore, harness: CacheHarness) -> None:
        """What was loaded is a record without a token; the same fill again finds no lease."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        before_us = harness.now_us()
        assert cache.fill([filled(order, MINE)]) == [True]
        assert cache.get([order.order_id]) == [entry_of(order)]
        self.assert_expires(harness, order.order_id, before_us, TTL_MS)
        assert cache.fill([filled(order, MINE)]) == [False]

    @pytest.mark.parametrize("state", EVERY_STATE)
    def test_a_fill_needs_the_lease_under_its_own_token(
        self, cache: CacheStore, harness: CacheHarness, state: str
    ) -> None:
        """Not another's lease, not an order that appeared meanwhile; and it frees nothing that is not its own."""
        order = an_order(version=5)
        self.make(state, cache, harness, order)
        before = harness.peek(order.order_id)
        newer = at_version(order, 9)
        assert cache.fill([filled(newer, MINE), filled(newer, NO_TOKEN), not_found(order, MINE)]) == [False] * 3
        assert harness.peek(order.order_id) == before

    def test_a_fill_does_not_take_a_tentative_for_its_lease(self, cache: CacheStore, harness: CacheHarness) -> None:
        """A tentative has a token too, and is nobody's to fill."""
        order = an_order()
        self.make_tentative(cache, harness, order, MINE)
        assert cache.fill([filled(at_version(order, 9), MINE)]) == [False]
        assert cache.get([order.order_id]) == [entry_of(order, Kind.TENTATIVE, creator=MINE)]

    @pytest.mark.parametrize("floor", [2, 2**32, VERSION_MAX])
    def test_a_fill_under_the_floor_frees_the_lease(self, cache: CacheStore, harness: CacheHarness, floor: int) -> None:
        """It was read before the change that raised the floor; the next reader may load at once."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        assert cache.apply([put(at_version(order, floor))]) == [Applied.FLOOR_RAISED]
        assert cache.fill([filled(at_version(order, floor - 1), MINE)]) == [False]
        assert harness.peek(order.order_id) is None
        assert cache.lookup([order.order_id], tokens=[OTHER]) == [Granted(OTHER)]

    @pytest.mark.parametrize("above", [0, 1])
    def test_a_fill_at_the_floor_or_above_goes_in(self, cache: CacheStore, above: int) -> None:
        """It was read after the change that raised the floor."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        assert cache.apply([put(at_version(order, 2**52))]) == [Applied.FLOOR_RAISED]
        assert cache.fill([filled(at_version(order, 2**52 + above), MINE)]) == [True]
        self.assert_holds(cache, at_version(order, 2**52 + above))

    @pytest.mark.parametrize(("asked_ms", "lives_ms"), [(TTL_MS, ABSENT_TTL_MAX_MS), (1_500, 1_500)])
    def test_not_found_is_kept_for_a_moment(
        self, cache: CacheStore, harness: CacheHarness, asked_ms: int, lives_ms: int
    ) -> None:
        """`absent`, at version 0, for what was asked but never for longer than the limit."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        before_us = harness.now_us()
        assert cache.fill([not_found(order, MINE, ttl_ms=asked_ms)]) == [True]
        assert cache.lookup([order.order_id], tokens=[OTHER]) == [Entry(Kind.ABSENT, 0)]
        self.assert_expires(harness, order.order_id, before_us, lives_ms)

    def test_not_found_is_refused_under_any_floor(self, cache: CacheStore, harness: CacheHarness) -> None:
        """The order was created while somebody looked for it: `absent` is version 0, under every floor."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        assert cache.apply([put(order)]) == [Applied.FLOOR_RAISED]
        assert cache.fill([not_found(order, MINE)]) == [False]
        assert harness.peek(order.order_id) is None

    @pytest.mark.parametrize("ttl_ms", [0, -1])
    def test_a_fill_whose_time_is_over_uses_the_lease_up(
        self, cache: CacheStore, harness: CacheHarness, ttl_ms: int
    ) -> None:
        """It is no error, and leaves nothing behind, not even the lease."""
        orders = [an_order(), an_order()]
        ids = [order.order_id for order in orders]
        assert cache.lookup(ids, tokens=[MINE, MINE]) == [Granted(MINE)] * 2
        fills = [filled(orders[0], MINE, ttl_ms=ttl_ms), not_found(orders[1], MINE, ttl_ms=ttl_ms)]
        assert cache.fill(fills) == [True, True]
        harness.pass_time(0.02)
        assert cache.get(ids) == [None, None]

    def test_a_fill_is_of_the_order_that_it_names(self, cache: CacheStore) -> None:
        """Another order's record is refused, for the whole call: nobody's answer may hold somebody else's order."""
        good, mixed_up = an_order(), an_order()
        ids = [good.order_id, mixed_up.order_id]
        assert cache.lookup(ids, tokens=[MINE, MINE]) == [Granted(MINE)] * 2
        wrong = structs.replace(filled(good, MINE), order_id=mixed_up.order_id)
        with pytest.raises(TierRejected):
            cache.fill([filled(good, MINE), wrong])
        assert cache.get(ids) == [Entry(Kind.LEASE, 0, token=MINE)] * 2

    # --- what may come between the lease and the fill ----------------------------------------------------------------

    def test_invalidation_fences_a_fill_in_flight(self, cache: CacheStore) -> None:
        """What was loaded before it is as suspect as what was cached; the next lease is another's."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        assert cache.invalidate([order.order_id]) == 1
        assert cache.fill([filled(order, MINE)]) == [False]
        self.make_lease(cache, order, OTHER)
        assert cache.fill([filled(order, MINE)]) == [False]
        assert cache.fill([filled(order, OTHER)]) == [True]

    def test_an_evicted_lease_loses_its_floor_and_its_holder(self, cache: CacheStore, harness: CacheHarness) -> None:
        """The floor goes with the token, so that nothing that was loaded under it can come in without it."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        assert cache.apply([put(at_version(order, 3))]) == [Applied.FLOOR_RAISED]
        harness.evict(order.order_id)
        self.make_lease(cache, order, OTHER)
        assert cache.fill([filled(at_version(order, 2), MINE)]) == [False]
        assert cache.get([order.order_id]) == [Entry(Kind.LEASE, 0, token=OTHER)]

    def test_a_redelivered_event_after_the_fill_changes_nothing(self, cache: CacheStore) -> None:
        """Lease, read, commit, event, refused fill; then again, and the old event once more."""
        order = an_order(version=2)
        self.make_lease(cache, order, MINE)
        assert cache.apply([put(at_version(order, 3))]) == [Applied.FLOOR_RAISED]
        assert cache.fill([filled(order, MINE)]) == [False]
        self.make_lease(cache, order, OTHER)
        assert cache.fill([filled(at_version(order, 3), OTHER)]) == [True]
        assert cache.apply([put(order)]) == [Applied.KEPT_NEWER]
        self.assert_holds(cache, at_version(order, 3))

    # --- invalidate --------------------------------------------------------------------------------------------------

    def test_invalidate_deletes_whatever_is_there(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Every kind, bytes that mean nothing included; it counts entries, each once."""
        orders = [an_order() for _ in EVERY_STATE]
        for state, order in zip(EVERY_STATE, orders, strict=True):
            self.make(state, cache, harness, order)
        ids = [order.order_id for order in orders]
        assert cache.invalidate([*ids, *ids]) == len(EVERY_STATE) - 1
        assert [harness.peek(order_id) for order_id in ids] == [None] * len(ids)
        assert cache.invalidate(ids) == 0

    @pytest.mark.parametrize("state", EVERY_STATE)
    def test_any_entry_may_vanish(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """After it has, the order is loaded like one that was never asked for."""
        order = an_order(version=5)
        self.make(state, cache, harness, order)
        harness.evict(order.order_id)
        assert cache.get([order.order_id]) == [None]
        assert cache.apply([put(at_version(order, 9))]) == [Applied.NOTHING]
        self.make_lease(cache, order, MINE)
        assert cache.fill([filled(order, MINE)]) == [True]
