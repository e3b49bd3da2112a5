"""The cache on a Redis Cluster in bad weather: servers that die, hang, forget, or have no room."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import FrameType

import pytest
from msgspec import structs
from redis.crc import key_slot

from orderctl.clock import SystemClock
from orderctl.errors import TierUnavailable
from orderctl.ids import PARTITIONS, group_of, new_order_id
from orderctl.order import Order
from orderctl.secret import Secret
from orderctl.stores.cache import Applied, Busy, Granted, Tentative
from orderctl.stores.record import record_of
from orderctl.stores.redis import RedisCacheStore, entry_key, mark_key, open_redis_cache
from orderctl.stores.redis_nodes import SILENCE_S, Access, Conversation
from tests.contract.cache_harness import (
    GROUPS,
    an_order,
    at_version,
    entry_of,
    filled,
    orders_of,
    put,
    sync,
    token,
)
from tests.real.redis_servers import DEADLINE_S, TIMEOUT_S, RedisServers, redis_servers, wait_for
from tests.real.redis_suite import RedisSuite, group_on, is_answered, took_s
from tests.stack import needs

pytestmark = needs()

CONNECTING, READING = Conversation.begin.__name__, Conversation.replies.__name__
SHORT_S = 4.0
"""What a store waits where servers hang. One time-out is told from two or none, however busy the machine is."""


def groups_that_share_a_slot() -> tuple[int, int]:
    """Two groups, of as many as there may be, whose names have the same checksum."""
    seen: dict[int, int] = {}
    for group in range(PARTITIONS):
        other = seen.setdefault(key_slot(mark_key(group).encode()), group)
        if other != group:
            return group, other
    raise AssertionError("no two groups share a slot")


def orders_in_partition(partition: int, count: int) -> list[Order]:
    """That many new orders, whose ids say that they are of this partition."""
    return [
        structs.replace(an_order(), order_id=new_order_id(created_ms=i, partition=partition, random=os.urandom))
        for i in range(count)
    ]


class Interrupted(BaseException):
    """What a command's time limit raises, wherever its thread is."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """A signal's handler."""
    raise Interrupted


def is_asking(thread: int, *steps: str) -> bool:
    """Whether the thread talks to a server: it connects and sends, or reads."""
    frame: FrameType | None = sys._current_frames()[thread]
    while frame is not None and frame.f_code.co_name not in steps:
        frame = frame.f_back
    return frame is not None


def interrupt_when_asking(thread: int) -> None:
    """Send the signal once it comes to the right moment."""
    wait_for(partial(is_asking, thread, READING), "the call is on its way")
    signal.pthread_kill(thread, signal.SIGUSR1)


class TestSpread(RedisSuite):
    """A batch of many groups goes to all nodes."""

    def test_every_node_has_its_share(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """Each entry is with the owner of its group's slot, beside its mark."""
        orders = [an_order() for _ in range(200)]
        self.make_record(cache, *orders)
        cache.reset_group(0, mark=7)
        for server in servers.servers:
            mine = [
                entry_key(o.order_id, GROUPS) for o in orders if servers.owner(group_of(o.order_id, GROUPS)) is server
            ]
            kept = {key.decode() for key in server.ask("KEYS", "o:*")}
            assert mine
            assert kept <= set(mine)
        assert servers.owner(0).ask("GET", mark_key(0)) == b"7"

    def test_a_batch_beyond_one_call(self, cache: RedisCacheStore) -> None:
        """Thousands of orders of one group are answered in the order asked; of two for one order the second comes second."""
        orders = orders_of(3, 20)
        self.make_record(cache, *orders)
        ids = [order.order_id for order in orders] * 120
        assert cache.get(ids) == [entry_of(order) for order in orders] * 120
        puts = [put(at_version(order, 2)) for order in orders] * 60 + [put(order) for order in orders]
        assert cache.apply(puts) == [Applied.REPLACED] * 1_200 + [Applied.KEPT_NEWER] * 20
        assert cache.invalidate(ids) == 20

    def test_groups_that_share_a_slot(self, servers: RedisServers) -> None:
        """A reset spares the other group's entries and mark, and timers; even where they are many more."""
        store = servers.open(groups=4096)
        group, other = groups_that_share_a_slot()
        mine, others = orders_in_partition(group, 30), orders_in_partition(other, 900)
        store.reset_group(other, mark=1)
        self.make_record(store, *mine)
        self.make_record(store, *others)
        timer = f"t:{{{group}}}:{mine[0].order_id}"
        server = servers.owner(group)
        server.ask("SET", timer, "", "PX", 60_000)
        assert store.reset_group(group, mark=5) == 30
        assert store.marks([group, other]) == [5, 1]
        assert store.get([o.order_id for o in others]) == [entry_of(o) for o in others]
        assert server.ask("EXISTS", timer) == 1
        store.close()

    def test_a_key_of_another_type(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """Its bytes mean nothing; the rest of the batch goes on."""
        good, odd = orders_of(8, 2)
        self.make_record(cache, good)
        ids = [odd.order_id, good.order_id]
        servers.owner(8).ask("RPUSH", entry_key(odd.order_id, GROUPS), "x")
        assert cache.get(ids) == [None, entry_of(good)]
        assert cache.apply([put(odd), put(good)]) == [Applied.DELETED, Applied.REPLACED]
        servers.owner(8).ask("RPUSH", mark_key(8), "x")
        assert sync(cache, 8, [], expected=0, reached=1) is None


class TestForgetting(RedisSuite):
    """Whatever a server forgets, nothing is lost."""

    def test_flushall(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """No entry, no mark; a fill that was on its way finds its lease gone."""
        order, loading = an_order(), an_order()
        self.make_record(cache, order)
        self.make_lease(cache, loading, token(1))
        cache.reset_group(4, mark=9)
        servers.flush()
        assert cache.fill([filled(loading, token(1))]) == [False]
        assert cache.get([order.order_id, loading.order_id]) == [None, None]
        assert cache.marks([4]) == [None]

    def test_scripts_are_flushed_all_the_time(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """Several threads on one store meet NOSCRIPT at any moment, and none of them notices."""
        line, over = threading.Barrier(4), threading.Event()

        def read_through(number: int) -> int:
            line.wait()
            for i in range(40):
                orders = [an_order() for _ in range(6)]
                ids, holder = [order.order_id for order in orders], token(number * 1_000 + i + 1)
                assert cache.lookup(ids, tokens=[holder] * 6) == [Granted(holder)] * 6
                assert cache.fill([filled(order, holder) for order in orders]) == [True] * 6
                assert cache.apply([put(at_version(order, 2)) for order in orders]) == [Applied.REPLACED] * 6
            return number

        def flush() -> None:
            line.wait()
            while not over.is_set():
                for server in servers.servers:
                    server.ask("SCRIPT", "FLUSH", "SYNC")
                over.wait(0.002)

        with ThreadPoolExecutor(4) as pool:
            flushing = pool.submit(flush)
            assert list(pool.map(read_through, range(3), timeout=DEADLINE_S)) == [0, 1, 2]
            over.set()
            flushing.result(DEADLINE_S)

    def test_a_primary_is_killed_and_comes_back_empty(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """Its groups are unavailable at once, others are not; when it is back, so are they, without their marks."""
        victim = servers.servers[1]
        group = group_on(servers, victim)
        elsewhere = group_on(servers, servers.servers[2])
        [lost], [kept] = orders_of(group, 1), orders_of(elsewhere, 1)
        self.make_record(cache, lost, kept)
        cache.reset_group(group, mark=3)
        victim.kill()
        assert took_s(lambda: cache.get([lost.order_id, kept.order_id])) < TIMEOUT_S
        assert took_s(cache.ping) < TIMEOUT_S
        assert cache.get([kept.order_id]) == [entry_of(kept)]
        victim.start()
        wait_for(partial(is_answered, cache, group), "the server takes part again")
        cache.ping()
        assert cache.get([lost.order_id]) == [None]
        assert cache.marks([group]) == [None]

    def test_connections_that_break_are_made_again(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """A connection that a server has closed meanwhile, as an idle one, costs nobody an error."""
        order = an_order()
        self.make_record(cache, order)
        cache.ping()
        for server in servers.servers:
            assert server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") > 0
        assert cache.get([order.order_id]) == [entry_of(order)]

    def test_a_connection_that_breaks_under_a_call(self, servers: RedisServers) -> None:
        """The call is made again; it was harmless to do it twice, had it been done before."""
        order = an_order()
        server = servers.owner(group_of(order.order_id, GROUPS))
        with closing(servers.open(timeout_s=10)) as cache, ThreadPoolExecutor(1) as pool:
            self.make_record(cache, order)
            server.ask("CLIENT", "PAUSE", 10_000, "WRITE")
            applying = pool.submit(cache.apply, [put(at_version(order, 2))])
            wait_for(lambda: server.client.info("clients")["blocked_clients"] == 1, "the server has the call")
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            server.ask("CLIENT", "UNPAUSE")
            assert applying.result(DEADLINE_S) == [Applied.REPLACED]
            assert cache.get([order.order_id]) == [entry_of(at_version(order, 2))]

    def test_a_replica_takes_over(self, tmp_path: Path) -> None:
        """The store finds the new primary by itself, and what the replica holds is served."""
        with redis_servers(tmp_path) as servers, closing(servers.open()) as cache:
            primary, replica = servers.servers[0], servers.add_server()
            servers.meet()
            group = group_on(servers, primary)
            [order] = orders_of(group, 1)
            self.make_record(cache, order)
            replica.ask("CLUSTER", "REPLICATE", primary.node_id)
            wait_for(lambda: replica.ask("DBSIZE") == 1, "the replica holds the entry")
            primary.kill()
            with pytest.raises(TierUnavailable):
                cache.get([order.order_id])
            replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
            wait_for(partial(is_answered, cache, group), "the replica serves the group")
            assert cache.get([order.order_id]) == [entry_of(order)]


class TestHanging(RedisSuite):
    """A server that lives and says nothing."""

    @pytest.fixture
    def cache(self, servers: RedisServers) -> Iterator[RedisCacheStore]:
        """A store that does not wait for long."""
        with closing(servers.open(timeout_s=SHORT_S)) as store:
            yield store

    def test_it_costs_one_time_out(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """Whoever has waited for it tells the others; other nodes' groups are not held up; it is asked again by itself."""
        victim = servers.servers[2]
        [silent], [kept] = orders_of(group_on(servers, victim), 1), orders_of(group_on(servers, servers.servers[0]), 1)
        both = [silent.order_id, kept.order_id]
        self.make_record(cache, silent, kept)
        with victim.hanging():
            assert SHORT_S * 0.9 < took_s(lambda: cache.get(both)) < 2 * SHORT_S
            assert took_s(lambda: cache.get(both)) < SHORT_S
            assert cache.get([kept.order_id]) == [entry_of(kept)]
        wait_for(partial(is_answered, cache, group_of(silent.order_id, GROUPS)), f"{SILENCE_S} s are over")
        assert cache.get(both) == [entry_of(silent), entry_of(kept)]

    def test_all_of_them_cost_one_time_out(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """They are waited for at the same time."""
        ids = [an_order().order_id for _ in range(100)]
        cache.ping()
        first, second, third = servers.servers
        with first.hanging(), second.hanging(), third.hanging():
            assert took_s(lambda: cache.get(ids)) < 2 * SHORT_S
            assert took_s(lambda: cache.get(ids)) < SHORT_S
        wait_for(partial(is_answered, cache, *range(GROUPS)), "all are asked again")

    def test_servers_that_nobody_can_connect_to_are_not_waited_for_one_by_one(self, servers: RedisServers) -> None:
        """However many there are, and whether or not there is a map: the time for connecting is for all of them."""
        first, second, third = servers.servers
        ids = [an_order().order_id for _ in range(100)]
        with closing(servers.open(timeout_s=SHORT_S)) as known, closing(servers.open(timeout_s=SHORT_S)) as new:
            known.ping()
            for server in servers.servers:
                server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            with first.hanging(), second.hanging(), third.hanging():
                for cache in (known, new):
                    assert took_s(partial(cache.get, ids)) < 3 * SHORT_S

    def test_a_reply_that_came_too_late_is_nobodys(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """The connection that was given up is not used again: its next reader would be told of another order."""
        group = group_on(servers, servers.servers[0])
        one, two = orders_of(group, 2)
        self.make_record(cache, one, two)
        with servers.servers[0].hanging():
            took_s(lambda: cache.get([one.order_id]))
        wait_for(partial(is_answered, cache, group), "it is asked again")
        for _ in range(5):
            assert cache.get([two.order_id]) == [entry_of(two)]

    def test_a_call_that_is_interrupted_leaves_no_reply_behind(self, servers: RedisServers) -> None:
        """As by a command's time limit, which is no error of a tier: what was asked for then is not read as an answer later."""
        first, second, main = *servers.servers[:2], threading.get_ident()
        [read] = orders_of(group_on(servers, first), 1)
        unread, later = orders_of(group_on(servers, second), 2)
        handler = signal.signal(signal.SIGUSR1, interrupt)
        with closing(servers.open(timeout_s=20)) as cache, ThreadPoolExecutor(1) as pool:
            self.make_record(cache, read, unread, later)
            [other] = pool.submit(lambda: [threading.get_ident()]).result(DEADLINE_S)
            with first.hanging(), second.hanging():
                interrupting = pool.submit(interrupt_when_asking, main)
                with pytest.raises(Interrupted):
                    cache.get([read.order_id, unread.order_id])
                interrupting.result(DEADLINE_S)
                asking = pool.submit(cache.get, [later.order_id])
                wait_for(partial(is_asking, other, CONNECTING, READING), "the second call is on its way")
            assert asking.result(DEADLINE_S) == [entry_of(later)]
        signal.signal(signal.SIGUSR1, handler)


class TestAway(RedisSuite):
    """A cluster that is not there, or not for us."""

    def test_a_store_opens_while_the_cluster_is_away(self, servers: RedisServers) -> None:
        """It says so at each call, and needs no second opening when the cluster comes."""
        for server in servers.servers:
            server.kill()
        store = servers.open()
        assert took_s(store.ping) < TIMEOUT_S
        for server in servers.servers:
            server.start()
        wait_for(partial(is_answered, store, *range(GROUPS)), "the cluster is found")
        store.close()

    def test_many_threads_may_be_the_first(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """One of them reads the map, the others wait for it."""
        ids = [an_order().order_id for _ in range(20)]
        with ThreadPoolExecutor(8) as pool:
            outcomes = [pool.submit(cache.get, ids) for _ in range(8)]
            assert [outcome.result(DEADLINE_S) for outcome in outcomes] == [[None] * 20] * 8

    def test_a_wrong_password_is_said_to_be_one(self, servers: RedisServers) -> None:
        """It does not end a daemon, and the hint names the cause."""
        access = Access(username="orderctl", password=Secret("wrong"))
        store = open_redis_cache(servers.addresses, groups=GROUPS, access=access, clock=SystemClock())
        with pytest.raises(TierUnavailable, match=r"WRONGPASS|invalid username-password") as caught:
            store.ping()
        assert caught.value.hint is not None
        assert "password" in caught.value.hint
        store.close()

    def test_a_closed_store_is_unavailable(self, servers: RedisServers) -> None:
        """Closing twice is harmless."""
        store = servers.open()
        store.ping()
        store.close()
        store.close()
        with pytest.raises(TierUnavailable, match="closed"):
            store.ping()


class TestRoom(RedisSuite):
    """A server that is out of memory, and can evict nothing."""

    def test_what_is_wrong_goes(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """apply, sync, invalidate and reset_group work as ever."""
        orders = orders_of(5, 4)
        ids = [order.order_id for order in orders]
        self.make_record(cache, *orders)
        cache.reset_group(5, mark=1)
        self.make_record(cache, *orders)
        with servers.owner(5).out_of_memory():
            assert cache.apply([put(at_version(orders[0], 2))]) == [Applied.REPLACED]
            news = [put(at_version(orders[1], 2))]
            assert sync(cache, 5, news, expected=1, reached=1) == [Applied.REPLACED]
            assert sync(cache, 5, news, expected=1, reached=2, drops=[ids[2]]) == [Applied.REPLACED]
            assert cache.get(ids) == [
                entry_of(at_version(orders[0], 2)),
                entry_of(at_version(orders[1], 2)),
                None,
                entry_of(orders[3]),
            ]
            assert cache.invalidate(ids) == 3
            assert cache.reset_group(5, mark=9) == 0
            assert cache.marks([5]) == [9]

    def test_hits_stay_hits(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """What is new finds no room, as if it were evicted at once; nobody is refused for it."""
        held, leased, missing, creating = orders_of(5, 4)
        self.make_record(cache, held)
        self.make_lease(cache, leased, token(1))
        with servers.owner(5).out_of_memory():
            found = cache.lookup([o.order_id for o in (held, leased, missing)], tokens=[token(2)] * 3)
            assert found == [entry_of(held), Busy(), Granted(token(2))]
            assert cache.fill([filled(missing, token(2)), filled(leased, token(1))]) == [False, False]
            assert cache.tentative([Tentative(record_of(creating), token(3), SystemClock().now_us() + 5_000_000)]) == [
                False
            ]
        assert cache.get([o.order_id for o in (missing, creating)]) == [None, None]

    def test_marks_are_not_evicted(self, servers: RedisServers, cache: RedisCacheStore) -> None:
        """Entries make room for entries; without its mark a group would be dropped."""
        for group in range(GROUPS):
            cache.reset_group(group, mark=group)
        server = servers.owner(5)
        server.client.config_set("maxmemory", server.client.info("memory")["used_memory"] + 300_000)
        try:
            for _ in range(12):
                self.make_some(cache, 200)
            assert server.client.info("stats")["evicted_keys"] > 0
            assert cache.marks(range(GROUPS)) == list(range(GROUPS))
        finally:
            server.client.config_set("maxmemory", "128mb")

    def make_some(self, cache: RedisCacheStore, count: int) -> None:
        """Fill in that many new records, some of which may be evicted already."""
        orders = [an_order() for _ in range(count)]
        cache.lookup([order.order_id for order in orders], tokens=[token(1)] * count)
        cache.fill([filled(order, token(1)) for order in orders])
