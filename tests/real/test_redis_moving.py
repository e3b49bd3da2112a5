"""The cache on a Redis Cluster while a slot moves from one node to another: MOVED, ASK, TRYAGAIN, and whoever must wait."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.errors import TierUnavailable
from orderctl.order import Order
from orderctl.stores.cache import Applied, Busy, CacheStore, Granted, Promotion, Tentative
from orderctl.stores.record import Kind, record_of
from orderctl.stores.redis import RedisCacheStore, entry_key, mark_key
from tests.contract.cache_harness import GROUPS, TTL_MS, at_version, entry_of, filled, orders_of, put, sync, token
from tests.real.redis_servers import DEADLINE_S, Move, RedisServers, Server, redis_servers, wait_for
from tests.real.redis_suite import RedisSuite
from tests.stack import needs

pytestmark = needs()

GROUP = 11
MARK = 10
MINE, OTHER = token(1), token(2)


def key(order: Order) -> str:
    """Where the order's entry is."""
    return entry_key(order.order_id, GROUPS)


class TestMoving(RedisSuite):
    """Every method, at every stage of a move."""

    @pytest.fixture
    def move(self, servers: RedisServers) -> Iterator[Move]:
        """The group's slot, which is at another server in the end at the latest."""
        source = servers.owner(GROUP)
        target = next(server for server in servers.servers if server is not source)
        for server in (source, target):
            server.ask("CONFIG", "RESETSTAT")
        move = Move(GROUP, source, target)
        yield move
        move.end()
        wait_for(lambda: all(server.owns(move.slot, target) for server in servers.servers), "all know of the move")

    def test_a_slot_has_moved(self, cache: RedisCacheStore, move: Move) -> None:
        """MOVED: the store learns it at the first call, and the entries have come along."""
        orders = orders_of(GROUP, 5)
        self.make_record(cache, *orders)
        move.begin()
        move.end()
        assert cache.get([order.order_id for order in orders]) == [entry_of(order) for order in orders]
        assert cache.apply([put(at_version(order, 2)) for order in orders]) == [Applied.REPLACED] * 5
        assert move.source.client.info("errorstats")["errorstat_MOVED"]["count"] == 1

    def test_all_keys_are_at_the_other_end(self, cache: RedisCacheStore, move: Move) -> None:
        """ASK: each call goes there, though the slot is still at this end; a script that is not known there, too."""
        orders = orders_of(GROUP, 5)
        ids = [order.order_id for order in orders]
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, *orders)
        move.begin()
        move.carry()
        move.target.ask("SCRIPT", "FLUSH")
        assert cache.get(ids) == [entry_of(order) for order in orders]
        assert cache.apply([put(at_version(order, 2)) for order in orders]) == [Applied.REPLACED] * 5
        assert cache.marks([GROUP]) == [MARK]
        news = [put(at_version(order, 3)) for order in orders]
        assert sync(cache, GROUP, news, expected=MARK, reached=MARK + 1) == [Applied.REPLACED] * 5
        assert cache.invalidate(ids) == 5

    def test_keys_are_at_both_ends(self, cache: RedisCacheStore, move: Move) -> None:
        """TRYAGAIN: no reader and no writer waits for the end of the move, since each key is at one end."""
        orders = orders_of(GROUP, 8)
        ids = [order.order_id for order in orders]
        self.make_record(cache, *orders[:6])
        move.begin()
        move.carry(*map(key, orders[:3]))
        expected = [entry_of(order) for order in orders[:6]]
        assert cache.get(ids) == [*expected, None, None]
        assert cache.lookup(ids, tokens=[MINE] * 8) == [*expected, Granted(MINE), Granted(MINE)]
        assert cache.lookup(ids[6:], tokens=[OTHER] * 2) == [Busy()] * 2
        newer = [at_version(order, 2) for order in orders]
        assert cache.apply([put(order) for order in newer]) == [Applied.REPLACED] * 6 + [Applied.FLOOR_RAISED] * 2
        assert cache.fill([filled(order, MINE) for order in newer]) == [False] * 6 + [True] * 2
        assert cache.apply([put(at_version(newer[0], 3)), put(newer[0])]) == [Applied.REPLACED, Applied.KEPT_NEWER]
        move.end()
        assert cache.get(ids) == [entry_of(at_version(newer[0], 3)), *map(entry_of, newer[1:])]

    def test_creations_and_deletions_at_both_ends(self, cache: RedisCacheStore, move: Move) -> None:
        """Tentatives of orders that neither end knows go to the new one; what is deleted is deleted at both."""
        known, new = orders_of(GROUP, 4), orders_of(GROUP, 3)
        self.make_record(cache, *known)
        move.begin()
        move.carry(*map(key, known[:2]))
        expires_us = self.expiry_us(move.source)
        wanted = [Tentative(record_of(order), MINE, expires_us) for order in [*new, *known]]
        assert cache.tentative(wanted) == [True] * 3 + [False] * 4
        promotions = [Promotion(order.order_id, MINE, TTL_MS) for order in [*known, *new]]
        assert cache.promote(promotions) == [False] * 4 + [True] * 3
        kinds = [entry and entry.kind for entry in cache.get([order.order_id for order in new])]
        assert kinds == [Kind.RECORD] * 3
        assert all(left is not None for left in cache.ttl_ms([order.order_id for order in [*known, *new]]))
        assert cache.invalidate([order.order_id for order in [*known, *new, *new]]) == 7
        assert move.source.ask("DBSIZE") == 0

    def test_following_the_log_waits_for_the_end(self, cache: RedisCacheStore, move: Move) -> None:
        """Mark and entries are changed in one step or not at all: not while they are at both ends."""
        one, two = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, one, two)
        move.begin()
        move.carry(key(one))
        news = [put(at_version(order, 2)) for order in (one, two)]
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(sync, cache, GROUP, news, expected=MARK, reached=MARK + 2)
            wait_for(lambda: "errorstat_TRYAGAIN" in move.source.client.info("errorstats"), "it was told to try again")
            assert cache.marks([GROUP]) == [MARK]
            assert cache.get([one.order_id, two.order_id]) == [entry_of(one), entry_of(two)]
            move.end()
            assert following.result(DEADLINE_S) == [Applied.REPLACED] * 2
        assert cache.marks([GROUP]) == [MARK + 2]

    def test_a_move_that_does_not_end(self, cache: RedisCacheStore, move: Move) -> None:
        """The wait is bounded; nothing was done, and it is the tier that is said to be in the way."""
        one, two = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, one, two)
        move.begin()
        move.carry(key(one))
        with pytest.raises(TierUnavailable, match="TryAgain"):
            sync(cache, GROUP, [put(at_version(one, 2)), put(at_version(two, 2))], expected=MARK, reached=MARK + 2)
        assert cache.get([one.order_id, two.order_id]) == [entry_of(one), entry_of(two)]
        assert cache.marks([GROUP]) == [MARK]

    @pytest.mark.parametrize("carried", ["nothing", "the mark", "an entry", "all"])
    def test_a_reset_spares_neither_end(self, cache: RedisCacheStore, move: Move, carried: str) -> None:
        """It waits wherever the keys are: each end sees only its own, and what came after the reset would be old."""
        one, two = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, one, two)
        move.begin()
        if carried != "nothing":
            move.carry(*{"the mark": [mark_key(GROUP)], "an entry": [key(one)], "all": []}[carried])
        with ThreadPoolExecutor(1) as pool:
            dropping = pool.submit(cache.reset_group, GROUP, mark=3)
            ends = (move.source, move.target)
            wait_for(lambda: any("errorstat_TRYAGAIN" in end.client.info("errorstats") for end in ends), "it waits")
            assert cache.marks([GROUP]) == [MARK]
            move.end()
            assert dropping.result(DEADLINE_S) == 2
        assert cache.marks([GROUP]) == [3]
        assert cache.get([one.order_id, two.order_id]) == [None, None]

    def expiry_us(self, server: Server) -> int:
        """A moment that the server's clock will come to in 5 seconds."""
        seconds, us = server.ask("TIME")
        return (int(seconds) + 5) * 1_000_000 + int(us)


class TestGrowing(RedisSuite):
    """A server that joins owns nothing at first, so that no map of slots names it."""

    def test_a_slot_moves_to_a_server_that_nobody_knew(self, tmp_path: Path) -> None:
        """ASK and MOVED are believed, whoever they name."""
        with redis_servers(tmp_path) as servers, closing(servers.open()) as cache:
            self.follow_a_slot(servers, cache)

    def follow_a_slot(self, servers: RedisServers, cache: CacheStore) -> None:
        orders = orders_of(GROUP, 4)
        self.make_record(cache, *orders)
        newcomer = servers.add_server()
        servers.meet()
        move = Move(GROUP, servers.owner(GROUP), newcomer)
        move.begin()
        move.carry(*map(key, orders[:2]))
        ids = [order.order_id for order in orders]
        assert cache.get(ids) == [entry_of(order) for order in orders]
        move.end()
        assert cache.get(ids) == [entry_of(order) for order in orders]
        cache.ping()
