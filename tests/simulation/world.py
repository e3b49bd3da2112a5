"""The world of the simulation: the embedded stores in memory, a clock, and what of MySQL and Redis these do not show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from msgspec import Struct

from orderctl.clock import US_PER_S, Clock, ManualClock, SystemClock
from orderctl.contracts import Query
from orderctl.order import Order
from orderctl.stores.cache import CacheStore
from orderctl.stores.log import topics
from orderctl.stores.sqlite.archive import SqliteArchiveStore
from orderctl.stores.sqlite.cache import SqliteCacheStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.feed import SqliteChangeFeed
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.late import SqliteLateStore
from orderctl.stores.sqlite.log import SqliteLogStore
from orderctl.stores.sqlite.registry import found_deployment
from orderctl.stores.sqlite.schema import ARCHIVE, CACHE, HOT, LOG
from tests.simulation.protections import LesserCache, Protections, spoil
from tests.simulation.tables import Content, Tables

BEGIN_US = SystemClock().now_us()
"""A real cache, which some of this also runs on, judges by its own clock."""

_EVICT = Query("DELETE FROM entries", "")


class Node(Protocol):
    """The cache, and what may happen to it."""

    @property
    def store(self) -> CacheStore:
        """As processes use it."""
        ...

    def evict(self, order_id: str) -> None:
        """An entry goes, and no mark."""
        ...

    def content(self) -> Any:
        """The cache, marks included, as a replica may keep it."""
        ...

    def put_back(self, content: Any) -> None:
        """The cache is what it was: a replica that lagged has taken over."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class EmbeddedNode:
    """The embedded cache in memory, perhaps without some of its rules."""

    def __init__(self, clock: Clock, protections: Protections, groups: int) -> None:
        self.database = Database(None, CACHE)
        self._store = SqliteCacheStore(self.database, groups=groups, clock=clock, boot="simulated")
        self.store = cast("CacheStore", LesserCache(self._store, self.database, protections, clock.now_us))
        self.tables = Tables(self.database)

    def evict(self, order_id: str) -> None:
        with self.database.transaction() as transaction:
            transaction.rows(_EVICT)

    def content(self) -> Content:
        return self.tables.dump()

    def put_back(self, content: Content) -> None:
        self.tables.dump()
        self.tables.restore(content)

    def close(self) -> None:
        self._store.close()


class Snapshot(Struct, frozen=True):
    """The whole world at one moment."""

    contents: tuple[Content, ...]
    now_us: int
    invisible: tuple[tuple[str, Order | None], ...]
    facts: tuple[tuple[str, int], ...]
    created: str


class World:
    """The stores of a deployment; all orders are of its first group.

    `invisible` are orders whose change is in the feed already, and that others still see as they were: a binlog event precedes
    its row. Whoever locks such a row waits. `facts` are the versions that
    somebody was told of, and `created` an order that can be seen.
    """

    def __init__(self, protections: Protections | None = None, *, node: Node | None = None, groups: int = 1) -> None:
        """Without a `node` the cache is an embedded one."""
        self.groups = groups
        self.protections = protections or Protections()
        self.clock = ManualClock(BEGIN_US)
        hot, archive, log = Database(None, HOT), Database(None, ARCHIVE), Database(None, LOG)
        found_deployment(hot, groups)
        self.hot = SqliteHotStore(hot)
        self.late = SqliteLateStore(hot)
        self.feed = SqliteChangeFeed(hot, clock=self.clock, shard="embedded")
        self.archive = SqliteArchiveStore(archive, clock=self.clock)
        self.log = SqliteLogStore(log, clock=self.clock)
        self.log.ensure_topics(topics(groups=groups, shards=1))
        self.node = node or EmbeddedNode(self.clock, self.protections, groups)
        self.cache = self.node.store
        self.cache.reset_group(0, mark=0)
        self.invisible: dict[str, Order | None] = {}
        self.facts: dict[str, int] = {}
        self.created = ""
        self._tables = [Tables(hot, watched="orders"), Tables(archive), Tables(log)]
        if isinstance(self.node, EmbeddedNode):
            self._tables.append(self.node.tables)

    def close(self) -> None:
        """Let go of the stores."""
        for store in (self.feed, self.hot, self.node, self.archive, self.log):
            store.close()

    def dump(self, before: Snapshot | None = None) -> Snapshot:
        """The world as it is. What equals `before` is shared with it."""
        contents = tuple(tables.dump() for tables in self._tables)
        if before is not None:
            pairs = zip(contents, before.contents, strict=True)
            contents = tuple(then if now == then else now for now, then in pairs)
        invisible = tuple(sorted(self.invisible.items(), key=lambda item: item[0]))
        return Snapshot(contents, self.clock.now_us(), invisible, tuple(sorted(self.facts.items())), self.created)

    def restore(self, snapshot: Snapshot) -> None:
        """Make the world what it was."""
        for tables, content in zip(self._tables, snapshot.contents, strict=True):
            tables.restore(content)
        self.clock.advance((snapshot.now_us - self.clock.now_us()) / US_PER_S)
        self.invisible = dict(snapshot.invisible)
        self.facts = dict(snapshot.facts)
        self.created = snapshot.created

    def spoil(self, order_id: str) -> None:
        """The order's record has wrong bytes under the right version."""
        assert isinstance(self.node, EmbeddedNode)
        spoil(self.node.database, order_id)

    def see(self, order_ids: Sequence[str], loaded: Sequence[Order | None]) -> list[Order | None]:
        """What a plain read sees, where a locking one would see `loaded`."""
        pairs = zip(order_ids, loaded, strict=True)
        return [self.invisible.get(order_id, order) for order_id, order in pairs]

    def is_visible(self, order_ids: Sequence[str]) -> Callable[[], bool]:
        """Whether nobody holds these rows' locks."""
        return lambda: not self.invisible.keys() & set(order_ids)
