"""The cache's contract, second part: what commits bring (apply)."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.stores.cache import Applied, CacheStore, Promotion, Put
from orderctl.stores.record import Entry, Kind, merchant_digest, record_of
from orderctl.version import VERSION_MAX
from tests.contract.cache_harness import (
    TTL_MS,
    CacheHarness,
    CacheSuite,
    an_order,
    at_version,
    entry_of,
    put,
    token,
)

MINE = token(1)
VERSIONS = [1, 2**32, VERSION_MAX - 1]
"""Places where a version's neighbours must be told apart, up to where a double ends."""
ORDERS = ["record", "tentative"]
"""The states that hold an order."""


class ApplyingContract(CacheSuite):
    """apply, on every state that an entry can be in, with lower, equal and higher versions."""

    def test_apply_on_nothing_does_nothing(self, cache: CacheStore, harness: CacheHarness) -> None:
        """An order that nobody asks for is not cached because it changed."""
        order = an_order()
        assert cache.apply([put(order)]) == [Applied.NOTHING]
        assert harness.peek(order.order_id) is None

    @pytest.mark.parametrize("state", ["absent", "rubbish"])
    def test_apply_deletes_what_is_certainly_wrong(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """`absent` of an order that exists, and bytes that mean nothing here and may mean an old state elsewhere."""
        order = an_order()
        self.make(state, cache, harness, order)
        assert cache.apply([put(order)]) == [Applied.DELETED]
        assert harness.peek(order.order_id) is None

    def test_apply_raises_the_floor_of_a_lease(self, cache: CacheStore, harness: CacheHarness) -> None:
        """It never lowers it; the lease keeps its token and its expiry."""
        order = an_order(version=5)
        self.make_lease(cache, order, MINE)
        leased = harness.peek(order.order_id)
        assert leased is not None
        for version, floor in [(5, 5), (3, 5), (5, 5), (VERSION_MAX, VERSION_MAX), (6, VERSION_MAX)]:
            assert cache.apply([put(at_version(order, version))]) == [Applied.FLOOR_RAISED]
            assert cache.get([order.order_id]) == [Entry(Kind.LEASE, floor, token=MINE)]
        kept = harness.peek(order.order_id)
        assert kept is not None
        assert kept[1] == leased[1]

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("state", ORDERS)
    def test_apply_replaces_an_older_version(
        self, cache: CacheStore, harness: CacheHarness, state: str, version: int
    ) -> None:
        """The next version takes the place of the one before it, however large the numbers."""
        order = an_order(version=version)
        newer = at_version(order, version + 1)
        self.make(state, cache, harness, order)
        assert cache.apply([put(newer)]) == [Applied.REPLACED]
        self.assert_holds(cache, newer)

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("state", ORDERS)
    def test_apply_keeps_a_newer_version(
        self, cache: CacheStore, harness: CacheHarness, state: str, version: int
    ) -> None:
        """An event that was late or came again changes nothing, not even the time to live."""
        order = an_order(version=version + 1)
        self.make(state, cache, harness, order)
        before = harness.peek(order.order_id)
        assert cache.apply([put(at_version(order, version))]) == [Applied.KEPT_NEWER]
        assert harness.peek(order.order_id) == before

    @pytest.mark.parametrize("state", ORDERS)
    def test_apply_of_the_same_again_is_no_conflict(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """The version's own bytes replace themselves; a tentative's header differs and means no difference."""
        order = an_order(version=5)
        self.make(state, cache, harness, order)
        assert cache.apply([put(order)]) == [Applied.REPLACED]
        self.assert_holds(cache, order)

    @pytest.mark.parametrize("state", ORDERS)
    def test_apply_repairs_a_version_with_other_bytes(
        self, cache: CacheStore, harness: CacheHarness, state: str
    ) -> None:
        """One version has one content: the one that was committed stands, and the conflict is told, once."""
        order = an_order(version=5)
        committed = structs.replace(order, status_reason="as the database says")
        self.make(state, cache, harness, order)
        assert cache.apply([put(committed)]) == [Applied.CONFLICT]
        self.assert_holds(cache, committed)
        assert cache.apply([put(committed)]) == [Applied.REPLACED]

    @pytest.mark.parametrize("state", ORDERS)
    def test_apply_sees_a_difference_in_the_header_alone(
        self, cache: CacheStore, harness: CacheHarness, state: str
    ) -> None:
        """The owner's digest decides who may read the order: a wrong one is as bad as a wrong body."""
        order = an_order(version=5)
        self.make(state, cache, harness, order)
        stranger = structs.replace(record_of(order), merchant=merchant_digest("someone else"))
        assert cache.apply([Put(stranger, TTL_MS)]) == [Applied.CONFLICT]
        [entry] = cache.get([order.order_id])
        assert entry is not None
        assert entry.merchant == stranger.merchant

    @pytest.mark.parametrize("version", [5, 6])
    def test_apply_gives_a_record_a_new_time_to_live(
        self, cache: CacheStore, harness: CacheHarness, version: int
    ) -> None:
        """What replaces a record lives as long as it is told, longer or shorter than before."""
        order = an_order(version=5)
        self.make_record(cache, order, ttl_ms=5_000)
        for ttl_ms in (TTL_MS, 1_000):
            before_us = harness.now_us()
            assert cache.apply([put(at_version(order, version, status=order.status), ttl_ms=ttl_ms)]) == [
                Applied.REPLACED
            ]
            self.assert_expires(harness, order.order_id, before_us, ttl_ms)

    @pytest.mark.parametrize("ttl_ms", [0, -5_000])
    def test_a_time_to_live_that_is_over_takes_the_record_away(
        self, cache: CacheStore, harness: CacheHarness, ttl_ms: int
    ) -> None:
        """It is no error, which would stop a whole batch, and the older version does not stay either."""
        order = an_order()
        self.make_record(cache, order)
        assert cache.apply([put(at_version(order, 2), ttl_ms=ttl_ms)]) == [Applied.REPLACED]
        harness.pass_time(0.02)
        assert cache.get([order.order_id]) == [None]

    @pytest.mark.parametrize("version", [5, 6])
    def test_apply_leaves_a_tentative_its_token_and_its_expiry(
        self, cache: CacheStore, harness: CacheHarness, version: int
    ) -> None:
        """A tentative that landed late, after newer events, must not be given a record's life by an older one."""
        order = an_order(version=5)
        newer = at_version(order, version, status=order.status)
        self.make_tentative(cache, harness, order, MINE)
        before = harness.peek(order.order_id)
        assert cache.apply([put(newer)]) == [Applied.REPLACED]
        assert cache.get([order.order_id]) == [entry_of(newer, Kind.TENTATIVE, creator=MINE)]
        after = harness.peek(order.order_id)
        assert before is not None
        assert after is not None
        assert after[1] == before[1]

    def test_a_late_tentative_never_outlives_its_expiry_through_apply(
        self, cache: CacheStore, harness: CacheHarness
    ) -> None:
        """v1 lands when v3 has long gone by, v2 is delivered again: what is left is stale, and expires."""
        order = an_order()
        self.make_tentative(cache, harness, order, MINE, ttl_ms=2_000)
        assert cache.apply([put(at_version(order, 2))]) == [Applied.REPLACED]
        harness.pass_time(2.05)
        assert cache.get([order.order_id]) == [None]
        assert cache.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [False]
