"""The cache's contract, eighth part: listing the orders of a group that have an entry."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec import structs

from orderctl.errors import TierRejected
from orderctl.stores.cache import CacheStore
from tests.contract.cache_harness import GROUPS, RUBBISH, CacheHarness, CacheSuite, orders_of, put, sync, token

GROUP, OTHER = 5, 6


def listed(cache: CacheStore, group: int, *, limit: int = 1_000) -> Counter[str]:
    """How often each order is listed, from the beginning to the end."""
    found: Counter[str] = Counter()
    page = cache.scan_group(group, limit=limit)
    found.update(page.order_ids)
    while page.cursor is not None:
        page = cache.scan_group(group, cursor=page.cursor, limit=limit)
        found.update(page.order_ids)
    return found


class ScanningContract(CacheSuite):
    """scan_group: whatever has an entry, and nothing else."""

    def test_every_kind_of_entry_is_listed(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Bytes that mean nothing, too: somebody has to find them. Another group's are not, nor marks and timers."""
        rubbish, lease, absent, tentative, record, bare = orders_of(GROUP, 6)
        (other,) = orders_of(OTHER, 1)
        harness.put_bytes(rubbish.order_id, RUBBISH)
        self.make_lease(cache, lease, token(1))
        self.make_absent(cache, absent)
        self.make_tentative(cache, harness, tentative, token(2))
        self.make_record(cache, record, other)
        cache.apply([put(structs.replace(bare, deadline_at=harness.now_us() + 60_000_000))])
        assert cache.timer_ttl_ms([bare.order_id]) != [None]
        assert sync(cache, GROUP, [], expected=0, reached=7) is None
        assert set(listed(cache, GROUP)) == {one.order_id for one in (rubbish, lease, absent, tentative, record)}
        assert set(listed(cache, OTHER)) == {other.order_id}
        assert not listed(cache, GROUP + 2)

    def test_what_has_expired_or_was_deleted_is_not_listed(self, cache: CacheStore, harness: CacheHarness) -> None:
        """It is no entry any more."""
        gone, deleted, there = orders_of(GROUP, 3)
        self.make_record(cache, gone, ttl_ms=50)
        self.make_record(cache, deleted, there)
        cache.invalidate([deleted.order_id])
        harness.pass_time(0.1)
        found = set(listed(cache, GROUP))
        assert there.order_id in found
        assert deleted.order_id not in found
        # A node lists what has expired until it notices: whoever asks for it is told that there is none.
        assert cache.get([gone.order_id]) == [None]

    @pytest.mark.parametrize("limit", [1, 7, 1_000, 0])
    def test_a_small_group_is_listed_by_any_step(self, cache: CacheStore, limit: int) -> None:
        """Each of a group's entries once or more often, and no other's."""
        orders = orders_of(GROUP, 30)
        self.make_record(cache, *orders, *orders_of(OTHER, 5))
        assert set(listed(cache, GROUP, limit=limit)) == {order.order_id for order in orders}

    def test_a_large_group_is_listed_in_pages(self, cache: CacheStore) -> None:
        """Whatever else the same node holds; no page is much larger than asked for."""
        orders = orders_of(GROUP, 2_500)
        self.make_record(cache, *orders, *orders_of(OTHER, 500))
        page = cache.scan_group(GROUP, limit=300)
        pages, deleted = [page.order_ids], set[str]()
        while page.cursor is not None:
            # What goes between two pages takes nothing away from what stays.
            cache.invalidate(page.order_ids[:1])
            deleted.update(page.order_ids[:1])
            page = cache.scan_group(GROUP, cursor=page.cursor, limit=300)
            pages.append(page.order_ids)
        assert len(pages) > 2
        assert max(map(len, pages)) <= 1_500
        assert {order.order_id for order in orders} - deleted <= {one for found in pages for one in found}

    def test_a_cursor_is_good_for_any_process(self, cache: CacheStore, harness: CacheHarness) -> None:
        """It holds all there is to know."""
        orders = orders_of(GROUP, 2_500)
        self.make_record(cache, *orders)
        page = cache.scan_group(GROUP, limit=500)
        found = set(page.order_ids)
        while page.cursor is not None:
            page = harness.open().scan_group(GROUP, cursor=page.cursor, limit=2_000)
            found |= set(page.order_ids)
        assert found == {order.order_id for order in orders}

    @pytest.mark.parametrize("group", [-1, GROUPS])
    def test_a_group_that_is_not_there_is_refused(self, cache: CacheStore, group: int) -> None:
        """Rather than found empty."""
        with pytest.raises(TierRejected):
            cache.scan_group(group)
