"""The cache's contract, fourth part: whole batches, several stores on one cache, and racing threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

from orderctl.ids import partition_in
from orderctl.order import Order
from orderctl.stores.cache import Applied, Busy, CacheStore, Granted, Promotion
from orderctl.stores.record import Entry, Kind
from tests.contract.cache_harness import (
    TTL_MS,
    CacheHarness,
    CacheSuite,
    an_order,
    at_version,
    entry_of,
    filled,
    put,
    token,
)

MINE, OTHER = token(1), token(2)
ROUNDS = 12
"""How often each race is run: enough to see several orders of events, few enough to be quick."""
RACE_DEADLINE_S = 60


class BatchContract(CacheSuite):
    """A batch is answered in its order, and its items act one after another."""

    def test_empty_batches_do_nothing(self, cache: CacheStore) -> None:
        """Nothing asked, nothing answered, no error."""
        assert cache.get([]) == []
        assert cache.tentative([]) == []
        assert cache.promote([]) == []
        assert cache.apply([]) == []
        assert cache.lookup([], tokens=[]) == []
        assert cache.fill([]) == []
        assert cache.invalidate([]) == 0

    def test_a_sign_of_life(self, cache: CacheStore) -> None:
        """A cache that is there answers a ping by saying nothing."""
        cache.ping()

    def test_answers_come_in_the_order_asked(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Entries of different groups and states, mixed: each answer stands where its question stood."""
        orders = [an_order(version=5) for _ in range(60)]
        assert len({partition_in(order.order_id) for order in orders}) > 40
        states = ["nothing", "absent", "lease", "tentative", "record"]
        for i, order in enumerate(orders):
            self.make(states[i % 5], cache, harness, order)
        ids = [order.order_id for order in orders]
        kinds = [entry and entry.kind for entry in cache.get(ids)]
        assert kinds == [None, Kind.ABSENT, Kind.LEASE, Kind.TENTATIVE, Kind.RECORD] * 12
        outcomes = [Applied.NOTHING, Applied.DELETED, Applied.FLOOR_RAISED, Applied.REPLACED, Applied.REPLACED]
        assert cache.apply([put(at_version(order, 6)) for order in orders]) == outcomes * 12
        found = cache.lookup(ids, tokens=[token(i + 1) for i in range(60)])
        for i, outcome in enumerate(found):
            match i % 5:
                case 0 | 1:
                    assert outcome == Granted(token(i + 1))
                case 2:
                    assert outcome == Busy()
                case _:
                    assert isinstance(outcome, Entry)
                    assert outcome.body == entry_of(at_version(orders[i], 6)).body

    def test_duplicates_in_one_batch_act_one_after_another(self, cache: CacheStore, harness: CacheHarness) -> None:
        """The second of two for one order meets what the first has done, in every method."""
        order, other = an_order(), an_order()
        ids = [order.order_id, other.order_id, order.order_id]
        newer = at_version(order, 2)
        wanted = self.tentatives(harness, [order], MINE) + self.tentatives(harness, [order], OTHER)
        assert cache.tentative(wanted) == [True, False]
        assert cache.apply([put(order), put(newer), put(order)]) == [
            Applied.REPLACED,
            Applied.REPLACED,
            Applied.KEPT_NEWER,
        ]
        promotions = [Promotion(order.order_id, creator, TTL_MS) for creator in (OTHER, MINE, MINE)]
        assert cache.promote(promotions) == [False, True, False]
        self.assert_holds(cache, newer)
        assert cache.get(ids) == [entry_of(newer), None, entry_of(newer)]
        assert cache.invalidate(ids) == 1
        assert cache.lookup(ids, tokens=[token(i) for i in (3, 4, 5)]) == [Granted(token(3)), Granted(token(4)), Busy()]
        assert cache.apply([put(newer), put(order)]) == [Applied.FLOOR_RAISED] * 2
        fills = [filled(newer, token(5)), filled(other, token(4)), filled(newer, token(3)), filled(newer, token(3))]
        assert cache.fill(fills) == [False, True, True, False]

    def test_a_fill_that_frees_the_lease_ends_it_for_the_batch(self, cache: CacheStore) -> None:
        """The floor refuses the first; the second, which would have reached it, finds no lease."""
        order = an_order()
        self.make_lease(cache, order, MINE)
        assert cache.apply([put(at_version(order, 2))]) == [Applied.FLOOR_RAISED]
        assert cache.fill([filled(order, MINE), filled(at_version(order, 2), MINE)]) == [False, False]

    def test_five_hundred_orders_in_one_call(self, cache: CacheStore, harness: CacheHarness) -> None:
        """The largest request that is taken passes through every method whole."""
        orders = [an_order() for _ in range(500)]
        ids = [order.order_id for order in orders]
        newer = [at_version(order, 2) for order in orders]
        assert cache.tentative(self.tentatives(harness, orders, MINE)) == [True] * 500
        assert cache.promote([Promotion(order_id, MINE, TTL_MS) for order_id in ids]) == [True] * 500
        assert cache.apply([put(order) for order in newer]) == [Applied.REPLACED] * 500
        assert cache.get(ids) == [entry_of(order) for order in newer]
        assert cache.invalidate(ids) == 500
        tokens = [token(i + 1) for i in range(500)]
        assert cache.lookup(ids, tokens=tokens) == [Granted(one) for one in tokens]
        assert cache.fill([filled(order, one) for order, one in zip(newer, tokens, strict=True)]) == [True] * 500
        assert cache.lookup(ids, tokens=tokens) == [entry_of(order) for order in newer]

    def test_two_stores_share_one_cache(self, cache: CacheStore, harness: CacheHarness) -> None:
        """What one process writes the other finds, leases included."""
        neighbour, order, newer = harness.open(), an_order(), at_version(an_order(), 2)
        self.make_tentative(cache, harness, order, MINE)
        assert neighbour.promote([Promotion(order.order_id, MINE, TTL_MS)]) == [True]
        self.make_lease(cache, newer, MINE)
        assert neighbour.lookup([order.order_id, newer.order_id], tokens=[OTHER] * 2) == [entry_of(order), Busy()]
        assert neighbour.apply([put(newer)]) == [Applied.FLOOR_RAISED]
        assert cache.fill([filled(at_version(newer, 1), MINE)]) == [False]
        assert neighbour.invalidate([order.order_id]) == 1
        assert cache.get([order.order_id]) == [None]


class RaceContract(CacheSuite):
    """Each method is atomic for an order: whatever the interleaving, the end is one that some order of calls explains."""

    def test_one_of_many_readers_is_granted_the_lease(self, cache: CacheStore, harness: CacheHarness) -> None:
        """However many ask at once, through however many stores, one loads."""
        stores = [cache, harness.open()] * 3
        for _ in range(ROUNDS):
            ids = [an_order().order_id]
            outcomes = race([partial(store.lookup, ids, tokens=[token(i + 1)]) for i, store in enumerate(stores)])
            assert sum(isinstance(outcome, Granted) for [outcome] in outcomes) == 1
            assert outcomes.count([Busy()]) == len(stores) - 1

    def test_a_creators_word_and_later_changes_in_any_order(self, cache: CacheStore, harness: CacheHarness) -> None:
        """The newest version stands, and as a record, since its creator was heard."""
        for _ in range(ROUNDS):
            order = an_order()
            second, third = at_version(order, 2), at_version(order, 3)
            self.make_tentative(cache, harness, order, MINE)
            word = partial(cache.promote, [Promotion(order.order_id, MINE, TTL_MS)])
            changes = [partial(cache.apply, [put(newer)]) for newer in (third, second)]
            promoted, applied, _ = race([word, *changes])
            assert (promoted, applied) == ([True], [Applied.REPLACED])
            assert cache.get([order.order_id]) == [entry_of(third)]

    def test_a_fill_and_a_newer_commit_in_any_order(self, cache: CacheStore) -> None:
        """The commit's version stands, or nothing; never the version that was loaded before it."""
        for _ in range(ROUNDS):
            order = an_order()
            newer = at_version(order, 2)
            self.make_lease(cache, order, MINE)
            outcome = race([partial(cache.fill, [filled(order, MINE)]), partial(cache.apply, [put(newer)])])
            left = cache.get([order.order_id])
            assert (outcome, left) in (
                ([[True], [Applied.REPLACED]], [entry_of(newer)]),
                ([[False], [Applied.FLOOR_RAISED]], [None]),
            )

    def test_everything_at_once_ends_at_the_newest_or_at_nothing(
        self, cache: CacheStore, harness: CacheHarness
    ) -> None:
        """A late creation, an invalidation, a reader and two events, over many orders, in whole batches."""
        for _ in range(ROUNDS):
            orders = [an_order() for _ in range(5)]
            ids = [order.order_id for order in orders]
            newest = [at_version(order, 3) for order in orders]
            race(
                [
                    partial(cache.tentative, self.tentatives(harness, orders, MINE)),
                    partial(cache.apply, [put(order) for order in newest]),
                    partial(cache.apply, [put(at_version(order, 2)) for order in orders]),
                    partial(self.look_up_and_fill, cache, newest),
                    partial(self.drop, cache, ids),
                ]
            )
            for entry, order in zip(cache.get(ids), newest, strict=True):
                assert entry is None or entry.kind is not Kind.RECORD or entry == entry_of(order)

    def drop(self, cache: CacheStore, ids: list[str]) -> list[int]:
        """What an operator does."""
        return [cache.invalidate(ids)]

    def look_up_and_fill(self, cache: CacheStore, orders: list[Order]) -> list[bool]:
        """What a reader does that loads `orders` from a database."""
        cache.lookup([order.order_id for order in orders], tokens=[OTHER] * len(orders))
        return cache.fill([filled(order, OTHER) for order in orders])


def race(calls: Sequence[Callable[[], list[Any]]]) -> list[list[Any]]:
    """What the calls answered, made by as many threads from one starting line."""
    line = Barrier(len(calls))

    def run(call: Callable[[], list[Any]]) -> list[Any]:
        line.wait(RACE_DEADLINE_S)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls, timeout=RACE_DEADLINE_S))
