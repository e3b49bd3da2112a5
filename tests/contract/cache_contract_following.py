"""The cache's contract, sixth part: a cache that follows the log as cache-sync does holds nothing old once it has caught up."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orderctl.order import Order
from orderctl.stores.cache import CacheStore, Granted
from tests.contract.cache_harness import (
    CacheHarness,
    CacheSuite,
    at_version,
    entry_of,
    filled,
    orders_of,
    put,
    sync,
    token,
)

GROUP = 9
ORDERS = orders_of(GROUP, 2)

Step = tuple[str, int]
"""What happens, and to which order, how often, or how far back."""
OFTEN = ["commit", "commit as poison", "follow", "read", "go back"]
SELDOM = ["tell", "look up", "load", "fill", "evict", "watch", "restart"]
histories = st.lists(st.tuples(st.sampled_from(OFTEN * 3 + SELDOM), st.integers(0, 3)), min_size=20, max_size=60)
CACHED = [("read", 0), ("read", 1)]


class World:
    """A database, its log, a cache, one process that follows the log, and readers; each moves when it is told to."""

    def __init__(self, cache: CacheStore, harness: CacheHarness) -> None:
        self.cache = cache
        self.harness = harness
        self.newest = dict(enumerate(ORDERS))
        self.log: list[tuple[Order, bool]] = []
        """Every committed version, and whether its message can be read."""
        self.reached = 0
        self.leases: list[tuple[int, bytes, Order | None]] = []
        """Each reader's order, token, and what it loaded."""
        self.pasts: list[Any] = [harness.snapshot()]
        self.tokens: Iterator[int] = count(1)

    def take(self, step: Step) -> None:
        """Let one thing happen."""
        name, number = step
        {
            "commit": self.commit,
            "commit as poison": lambda n: self.commit(n, readable=False),
            "follow": lambda n: self.follow(n + 1),
            "tell": lambda n: self.cache.apply([put(self.newest[n % 2])]),
            "read": self.read,
            "look up": self.look_up,
            "load": self.load,
            "fill": self.fill,
            "evict": lambda n: self.harness.evict(ORDERS[n % 2].order_id),
            "go back": self.go_back,
            "watch": lambda _: self.watch(),
            "restart": self.restart,
        }[name](number)
        self.pasts.append(self.harness.snapshot())

    def commit(self, number: int, *, readable: bool = True) -> None:
        """The order's next version is committed, and the log will tell."""
        order = self.newest[number % 2]
        self.newest[number % 2] = at_version(order, order.version + 1)
        self.log.append((self.newest[number % 2], readable))

    def follow(self, limit: int) -> None:
        """cache-sync takes the next messages."""
        batch = self.log[self.reached :][:limit]
        puts = [put(order) for order, readable in batch if readable]
        drops = [order.order_id for order, readable in batch if not readable]
        reached = self.reached + len(batch)
        if sync(self.cache, GROUP, puts, expected=self.reached, reached=reached, drops=drops) is None:
            self.cache.reset_group(GROUP, mark=self.reached)
            assert sync(self.cache, GROUP, puts, expected=self.reached, reached=reached, drops=drops) is not None
        self.reached = reached

    def watch(self) -> None:
        """cache-sync looks at the mark while nothing happens."""
        [mark] = self.cache.marks([GROUP])
        if mark is None or mark < self.reached:
            self.cache.reset_group(GROUP, mark=self.reached)

    def restart(self, uncommitted: int) -> None:
        """Another process goes on from the last offset that was committed."""
        self.reached = max(0, self.reached - uncommitted)

    def look_up(self, number: int) -> None:
        """A reader asks, and may be told to load."""
        holder = token(next(self.tokens))
        [outcome] = self.cache.lookup([ORDERS[number % 2].order_id], tokens=[holder])
        if isinstance(outcome, Granted):
            self.leases.append((number % 2, holder, None))

    def read(self, number: int) -> None:
        """A reader does all that a reader does."""
        self.look_up(number)
        self.load(-1)
        self.fill(-1)

    def load(self, number: int) -> None:
        """One that was told to reads the database."""
        if self.leases:
            at = number % len(self.leases)
            which, holder, _ = self.leases[at]
            self.leases[at] = which, holder, self.newest[which]

    def fill(self, number: int) -> None:
        """One that has read it tells the cache."""
        if self.leases:
            _, holder, loaded = self.leases[number % len(self.leases)]
            if loaded is not None:
                self.cache.fill([filled(loaded, holder)])

    def go_back(self, number: int) -> None:
        """The node holds what it held some moments before."""
        self.harness.put_back(self.pasts[-min(number + 1, len(self.pasts))])

    def catch_up(self) -> None:
        """Nothing else happens while cache-sync takes all that is left, and looks at the mark."""
        while self.reached < len(self.log):
            self.follow(2)
        self.watch()

    def assert_nothing_is_old(self) -> None:
        """Each order's newest version is there or none, whichever readers that are on their way have come in."""
        for reader in range(len(self.leases) + 1):
            entries = self.cache.get([order.order_id for order in ORDERS])
            for entry, order in zip(entries, self.newest.values(), strict=True):
                assert entry is None or not entry.has_order or entry == entry_of(order)
            self.fill(reader)


class FollowingContract(CacheSuite):
    """Whatever happened in whatever order."""

    @pytest.fixture
    def nothing(self, harness: CacheHarness) -> Any:
        """The cache as it was before the first example."""
        return harness.snapshot()

    @given(history=histories)
    @example(history=[*CACHED, ("commit", 0), ("follow", 0), ("go back", 2)])
    @example(history=[*CACHED, ("commit", 0), ("follow", 0), ("go back", 2), ("commit", 1)])
    @example(history=[*CACHED, ("commit as poison", 0), ("follow", 0), ("go back", 2)])
    @example(history=[("look up", 0), ("load", 0), ("commit", 0), ("follow", 0), ("go back", 2)])
    @example(
        history=[("commit", 0), ("follow", 0), *CACHED, ("commit", 0), ("follow", 0), ("restart", 1), ("go back", 3)]
    )
    @settings(
        max_examples=200,
        deadline=None,
        # The fixtures are emptied by each example itself, and two backends run one test.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    def test_a_cache_that_has_caught_up_holds_nothing_old(
        self, cache: CacheStore, harness: CacheHarness, nothing: Any, history: list[Step]
    ) -> None:
        """Each order's newest version or none, also when every reader that is on its way has come in."""
        harness.put_back(nothing)
        world = World(cache, harness)
        for step in history:
            world.take(step)
        world.catch_up()
        world.assert_nothing_is_old()
