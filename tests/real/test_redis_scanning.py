"""Listing a group's entries on a Redis Cluster while its slot moves: a cursor of one node means nothing on another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from orderctl.errors import TierUnavailable
from orderctl.stores.redis import RedisCacheStore
from tests.contract.cache_harness import orders_of
from tests.real.redis_servers import Move, RedisServers, wait_for
from tests.real.redis_suite import RedisSuite
from tests.stack import needs

pytestmark = needs()

GROUP = 11
MANY = 2_500
"""More than are listed at once."""


class TestScanning(RedisSuite):
    """Whatever stays is listed."""

    @pytest.fixture
    def move(self, servers: RedisServers) -> Move:
        """The group's slot, to be moved."""
        source = servers.owner(GROUP)
        return Move(GROUP, source, next(server for server in servers.servers if server is not source))

    def test_a_slot_that_moved_between_two_pages(
        self, cache: RedisCacheStore, servers: RedisServers, move: Move
    ) -> None:
        """The new owner is looked through from the beginning."""
        orders = orders_of(GROUP, MANY)
        self.make_record(cache, *orders)
        first = cache.scan_group(GROUP, limit=500)
        found, cursor = set(first.order_ids), first.cursor
        assert len(found) < MANY
        move.begin()
        move.end()
        wait_for(lambda: all(server.owns(move.slot, move.target) for server in servers.servers), "all know of the move")
        while cursor is not None:
            page = cache.scan_group(GROUP, cursor=cursor, limit=500)
            found, cursor = found | set(page.order_ids), page.cursor
        assert found == {order.order_id for order in orders}

    @pytest.mark.parametrize("has_mark", [False, True])
    def test_a_slot_that_is_on_the_move_is_waited_for(
        self, cache: RedisCacheStore, servers: RedisServers, move: Move, has_mark: bool
    ) -> None:
        """Neither end has all of its entries; one that stays between them is an error, and no short list."""
        if has_mark:
            cache.reset_group(GROUP, mark=1)
        orders = orders_of(GROUP, 30)
        self.make_record(cache, *orders)
        move.begin()
        try:
            with pytest.raises(TierUnavailable):
                cache.scan_group(GROUP)
            with ThreadPoolExecutor(1) as thread:
                later = thread.submit(cache.scan_group, GROUP)
                move.carry()
                move.end()
                assert set(later.result(30).order_ids) == {order.order_id for order in orders}
        finally:
            move.end()
