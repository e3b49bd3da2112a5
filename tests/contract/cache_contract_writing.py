"""The cache's contract, first part: what a creation writes (tentative, promote)."""

from __future__ import annotations

import pytest

from orderctl.errors import TierRejected
from orderctl.stores.cache import TENTATIVE_TTL_MAX_MS, Applied, CacheStore, Promotion
from orderctl.stores.record import NO_TOKEN, Entry, Kind
from tests.contract.cache_harness import (
    RUBBISH,
    SLACK_US,
    TTL_MS,
    CacheHarness,
    CacheSuite,
    an_order,
    at_version,
    entry_of,
    put,
    token,
)

MINE, OTHER = token(1), token(2)


class WritingContract(CacheSuite):
    """tentative and promote, on every state that an entry can be in."""

    # --- tentative -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("state", ["nothing", "absent", "rubbish"])
    def test_a_tentative_stands_where_there_is_no_order(
        self, cache: CacheStore, harness: CacheHarness, state: str
    ) -> None:
        """It is written over nothing, over `absent` and over bytes that mean nothing, with its creator's expiry."""
        order = an_order()
        self.make(state, cache, harness, order)
        [wanted] = self.tentatives(harness, [order], MINE)
        assert cache.tentative([wanted]) == [True]
        assert cache.get([order.order_id]) == [entry_of(order, Kind.TENTATIVE, creator=MINE)]
        kept = harness.peek(order.order_id)
        assert kept is not None
        assert wanted.expires_at_us - 1_000 < kept[1] <= wanted.expires_at_us

    @pytest.mark.parametrize("state", ["tentative", "record", "lease"])
    def test_a_tentative_gives_way_to_what_is_there(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """A creator never writes over an order or over a reader's lease."""
        order = an_order(version=5)
        self.make(state, cache, harness, order)
        before = harness.peek(order.order_id)
        assert cache.tentative(self.tentatives(harness, [at_version(order, 9)], MINE)) == [False]
        assert harness.peek(order.order_id) == before

    @pytest.mark.parametrize("ahead_ms", [-3_600_000, -100, TENTATIVE_TTL_MAX_MS + 10_000, 3_600_000])
    def test_a_tentative_is_refused_by_the_nodes_clock(
        self, cache: CacheStore, harness: CacheHarness, ahead_ms: int
    ) -> None:
        """A creation that comes late, or from a host whose clock is wrong, is not stored, not even for a moment."""
        order = an_order()
        assert cache.tentative(self.tentatives(harness, [order], MINE, ttl_ms=ahead_ms)) == [False]
        assert harness.peek(order.order_id) is None

    def test_a_tentative_may_live_up_to_the_limit(self, cache: CacheStore, harness: CacheHarness) -> None:
        """An expiry just inside the limit is accepted."""
        order = an_order()
        self.make_tentative(cache, harness, order, MINE, ttl_ms=TENTATIVE_TTL_MAX_MS - 500)

    def test_a_tentative_expires_by_itself(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Nobody has to clean up after a creation that failed; a late word from its creator finds nothing."""
        order = an_order()
        self.make_tentative(cache, harness, order, MINE, ttl_ms=2_000)
        harness.pass_time(2.05)
        assert cache.get([order.order_id]) == [None]
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [False]
        assert cache.apply([put(order)]) == [Applied.NOTHING]
        assert cache.invalidate([order.order_id]) == 0

    @pytest.mark.parametrize("creator", [NO_TOKEN, b"", b"short", b"x" * 17])
    def test_a_tentative_needs_a_token(self, cache: CacheStore, harness: CacheHarness, creator: bytes) -> None:
        """A token that an entry cannot hold is refused before anything is written, for the whole call."""
        orders = [an_order(), an_order()]
        wanted = self.tentatives(harness, orders[:1], MINE) + self.tentatives(harness, orders[1:], creator)
        with pytest.raises(TierRejected):
            cache.tentative(wanted)
        assert cache.get([o.order_id for o in orders]) == [None, None]

    # --- promote -------------------------------------------------------------------------------------------------

    def test_promotion_makes_a_record_of_a_tentative(self, cache: CacheStore, harness: CacheHarness) -> None:
        """The same order, no token any more, and the record's time to live from now on."""
        order = an_order()
        self.make_tentative(cache, harness, order, MINE)
        before_us = harness.now_us()
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [True]
        assert cache.get([order.order_id]) == [entry_of(order)]
        self.assert_expires(harness, order.order_id, before_us, TTL_MS)

    def test_promotion_needs_the_creators_own_token(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Another creator's word leaves the tentative as it is; the true one can still come."""
        order = an_order()
        self.make_tentative(cache, harness, order, MINE)
        before = harness.peek(order.order_id)
        assert cache.promote([Promotion(order.order_id, OTHER, TTL_MS)]) == [False]
        assert cache.promote([Promotion(order.order_id, NO_TOKEN, TTL_MS)]) == [False]
        assert harness.peek(order.order_id) == before
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [True]

    @pytest.mark.parametrize("state", ["nothing", "absent", "record", "rubbish"])
    def test_promotion_needs_a_tentative(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """Anything else is left as it is, whatever its token field says."""
        order = an_order()
        self.make(state, cache, harness, order)
        before = harness.peek(order.order_id)
        promotions = [Promotion(order.order_id, creator, TTL_MS) for creator in (MINE, NO_TOKEN)]
        assert cache.promote(promotions) == [False, False]
        assert harness.peek(order.order_id) == before

    def test_promotion_does_not_take_a_lease_for_a_tentative(self, cache: CacheStore, harness: CacheHarness) -> None:
        """A lease has a token too, and holds no order."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [False]
        assert cache.get([order.order_id]) == [Entry(Kind.LEASE, 0, token=MINE)]

    def test_promotion_happens_once(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Its repetition, after a lost answer, finds a record and says False."""
        order = an_order()
        self.make_tentative(cache, harness, order, MINE)
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [True]
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [False]
        assert cache.get([order.order_id]) == [entry_of(order)]

    def test_promotion_keeps_what_apply_brought_before_it(self, cache: CacheStore, harness: CacheHarness) -> None:
        """A change overtook the creator's word: the token still fits, and the newer bytes stand."""
        order = an_order()
        newer = at_version(order, 7)
        self.make_tentative(cache, harness, order, MINE)
        assert cache.apply([put(newer)]) == [Applied.REPLACED]
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [True]
        assert cache.get([order.order_id]) == [entry_of(newer)]

    # --- ttl_ms --------------------------------------------------------------------------------------------------

    def test_how_long_an_entry_is_there_still(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Whatever it is, also bytes that mean nothing; None where there is nothing, or nothing any more."""
        record, tentative, rubbish, gone, nothing = (an_order() for _ in range(5))
        began_us = harness.now_us()
        self.make_record(cache, record, ttl_ms=TTL_MS)
        self.make_tentative(cache, harness, tentative, MINE, ttl_ms=9_000)
        harness.put_bytes(rubbish.order_id, RUBBISH)
        self.make_record(cache, gone, ttl_ms=200)
        harness.pass_time(0.25)
        left = cache.ttl_ms([order.order_id for order in (record, tentative, rubbish, gone, nothing)])
        assert left[0] is not None
        assert left[1] is not None
        gone_by_ms = (harness.now_us() - began_us + SLACK_US) / 1000
        assert TTL_MS - gone_by_ms <= left[0] <= TTL_MS - 250
        assert 9_000 - gone_by_ms <= left[1] <= 8_750
        assert left[2] is not None
        assert left[3:] == [None, None]
        assert cache.ttl_ms([]) == []
