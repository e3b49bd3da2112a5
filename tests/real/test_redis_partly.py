"""The cache with one node of its cluster away: what the other nodes have is answered, and nobody waits for long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from time import monotonic
from typing import Any

import pytest

from orderctl.clock import SystemClock
from orderctl.errors import TierUnavailable
from orderctl.order import Order
from orderctl.stores.cache import Advance, Applied, CacheStore, Granted, NodesAway, Promotion, Tentative
from orderctl.stores.record import record_of
from orderctl.stores.redis import RedisCacheStore
from orderctl.stores.redis_nodes import SILENCE_S
from tests.contract.cache_harness import TTL_MS, at_version, entry_of, filled, orders_of, put, token
from tests.real.redis_servers import RedisServers, Server, wait_for
from tests.real.redis_suite import RedisSuite, group_on, is_answered
from tests.stack import needs

pytestmark = needs()

TIMEOUT_S = 5.0
"""Far more than a knock takes, and than a busy machine adds to it."""


def partly(call: Callable[[], Any]) -> Sequence[Any]:
    """Each item's outcome in a call that some nodes answered."""
    with pytest.raises(NodesAway, match="1 of 3 not answered") as caught:
        call()
    return caught.value.outcomes


def tentative(order: Order) -> Tentative:
    """A creation under way."""
    return Tentative(record_of(order), token(3), SystemClock().now_us() + 5_000_000)


def connections_to(server: Server) -> int:
    """How often somebody has connected to it."""
    return int(server.client.info("stats")["total_connections_received"])


class TestOneAway(RedisSuite):
    """The second of three servers is away; a batch begins and ends with orders of the others."""

    @pytest.fixture
    def orders(self, servers: RedisServers) -> list[Order]:
        """An order on each server."""
        return [orders_of(group_on(servers, server), 1)[0] for server in servers.servers]

    def test_every_call_answers_for_the_others(
        self, servers: RedisServers, cache: RedisCacheStore, orders: list[Order]
    ) -> None:
        """In the order asked, with the error of its node in the place of an order that cannot be asked for."""
        ids, later = [order.order_id for order in orders], [at_version(order, 2) for order in orders]
        promotions = [Promotion(order_id, token(3), TTL_MS) for order_id in ids]
        groups = [group_on(servers, server) for server in servers.servers]
        advances = [Advance(group, [put(order)], 0, 1) for group, order in zip(groups, later, strict=True)]
        calls: list[tuple[Callable[[CacheStore], Any], object]] = [
            (lambda cache: cache.lookup(ids, tokens=[token(1)] * 3), Granted(token(1))),
            (lambda cache: cache.fill([filled(order, token(1)) for order in orders]), True),
            (lambda cache: cache.apply([put(order) for order in later]), Applied.REPLACED),
            (lambda cache: cache.sync(advances), [Applied.REPLACED]),
            (lambda cache: cache.tentative([tentative(order) for order in orders]), False),
            (lambda cache: cache.promote(promotions), False),
            (lambda cache: cache.marks(groups), 1),
        ]
        for group in groups:
            cache.reset_group(group, mark=0)
        servers.servers[1].kill()
        try:
            for call, expected in calls:
                outcomes = partly(partial(call, cache))
                assert (outcomes[0], outcomes[2]) == (expected, expected)
                assert isinstance(outcomes[1], TierUnavailable)
            found = partly(lambda: cache.get(ids))
            assert (found[0], found[2]) == (entry_of(later[0]), entry_of(later[2]))
            with pytest.raises(TierUnavailable):
                cache.invalidate(ids)
            assert cache.get([ids[0], ids[2]]) == [None, None]
        finally:
            servers.servers[1].start()
        wait_for(partial(is_answered, cache, group_on(servers, servers.servers[1])), "it takes part again")

    def test_a_call_for_its_orders_alone(self, cache: RedisCacheStore, servers: RedisServers) -> None:
        """That fails, and says that it is nodes that are away, not the cache."""
        [order] = orders_of(group_on(servers, servers.servers[1]), 1)
        cache.ping()
        servers.servers[1].kill()
        try:
            with pytest.raises(NodesAway, match="3 of 3 not answered: ConnectionError") as caught:
                cache.get([order.order_id] * 3)
        finally:
            servers.servers[1].start()
        assert all(isinstance(outcome, TierUnavailable) for outcome in caught.value.outcomes)
        wait_for(partial(is_answered, cache, group_on(servers, servers.servers[1])), "it takes part again")

    def test_one_that_hangs_holds_nobody_up_for_long(self, servers: RedisServers, orders: list[Order]) -> None:
        """Its time-out is paid once; from then on somebody knocks now and then, until it answers."""
        ids = [order.order_id for order in orders]
        with closing(servers.open(timeout_s=TIMEOUT_S)) as cache:
            self.make_record(cache, *orders)
            before = connections_to(servers.servers[1])
            with servers.servers[1].hanging():
                partly(lambda: cache.get(ids))
                took: list[float] = []
                since_s = monotonic()
                while monotonic() < since_s + 2.5 * SILENCE_S:
                    began_s = monotonic()
                    found = partly(lambda: cache.get(ids))
                    took.append(monotonic() - began_s)
                    assert (found[0], found[2]) == (entry_of(orders[0]), entry_of(orders[2]))
                knocks_max = (monotonic() - since_s) / SILENCE_S + 1
            assert max(took) < TIMEOUT_S
            knocks = wait_for(lambda: connections_to(servers.servers[1]) - before, "the server has heard the knocks")
            assert knocks <= knocks_max
            wait_for(partial(is_answered, cache, group_on(servers, servers.servers[1])), "somebody has knocked")
            assert cache.get(ids) == [entry_of(order) for order in orders]
