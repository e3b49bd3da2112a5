"""The cache's contract, kept by the embedded store in memory; and what only a clock that stands still can show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderctl.stores.cache import LEASE_TTL_MS, TENTATIVE_TTL_MAX_MS, Busy, Granted, Tentative
from orderctl.stores.record import record_of
from tests.contract.cache_contract import CacheContract
from tests.contract.cache_harness import CacheSuite, an_order, filled, token
from tests.contract.cache_sqlite_harness import SqliteCacheHarness


@pytest.fixture
def harness() -> Iterator[SqliteCacheHarness]:
    harness = SqliteCacheHarness(None)
    yield harness
    harness.close()


class TestInMemory(CacheContract):
    """The whole suite."""


class TestToTheMicrosecond(CacheSuite):
    """Where exactly a time is over."""

    @pytest.mark.parametrize(
        ("ahead_us", "stands"),
        [(0, False), (1, True), (TENTATIVE_TTL_MAX_MS * 1000, True), (TENTATIVE_TTL_MAX_MS * 1000 + 1, False)],
    )
    def test_the_limits_of_a_tentatives_expiry(self, harness: SqliteCacheHarness, ahead_us: int, stands: bool) -> None:
        """Now is past already; the longest life that is allowed is allowed."""
        tentative = Tentative(record_of(an_order()), token(1), harness.now_us() + ahead_us)
        assert harness.open().tentative([tentative]) == [stands]

    def test_a_lease_ends_at_its_last_microsecond(self, harness: SqliteCacheHarness) -> None:
        """The entry is gone at the very moment at which it expires, for reading and for writing."""
        cache, order = harness.open(), an_order()
        self.make_lease(cache, order, token(1))
        harness.clock.set_wall(harness.now_us() + LEASE_TTL_MS * 1000 - 1)
        assert cache.lookup([order.order_id], tokens=[token(2)]) == [Busy()]
        harness.clock.set_wall(harness.now_us() + 1)
        assert cache.get([order.order_id]) == [None]
        assert cache.fill([filled(order, token(1))]) == [False]
        assert cache.lookup([order.order_id], tokens=[token(2)]) == [Granted(token(2))]
