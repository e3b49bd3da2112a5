"""The stores as a process of the simulation is given them: gates, and the moment between an event of the binlog and its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, cast

from orderctl.order import Change, Order
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.cache import CacheStore
from orderctl.stores.feed import Boundary, FeedItem, FeedReader
from orderctl.stores.hot import Changed, ChangeOutcome, Created, CreateOutcome, Draft, HotStore, Removal, do_nothing
from orderctl.stores.late import LateStore
from orderctl.stores.log import LogStore
from tests.simulation.process import Process
from tests.simulation.world import World


class HotGate:
    """The hot store, a call a step. A commit takes two: the feed has it, then all see it; in between its rows are locked."""

    def __init__(self, process: Process, world: World) -> None:
        self._process = process
        self._world = world
        self._gate = process.gate("hot", world.hot)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gate, name)

    def create(self, drafts: Sequence[Draft], *, before_commit: Callable[[], None] = do_nothing) -> list[CreateOutcome]:
        before_commit()
        ids = [draft.order.order_id for draft in drafts]
        return cast("list[CreateOutcome]", self._commit("hot.create", ids, lambda: self._world.hot.create(drafts)))

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        ids = [change.order_id for change in changes]
        made = self._commit("hot.change", ids, lambda: self._world.hot.change(changes, now_us=now_us))
        return cast("list[ChangeOutcome]", made)

    def remove(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        return self._process.call(
            "hot.remove",
            lambda: self._world.hot.remove(removals, now_us=now_us),
            may_run=self._world.is_visible([removal.order_id for removal in removals]),
        )

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        world = self._world
        return self._process.call(
            "hot.load",
            lambda: world.see(order_ids, world.hot.load(order_ids)),
            may_run=world.is_visible(order_ids) if world.protections.locking_load else lambda: True,
        )

    def finals(self, *args: Any, **kwargs: Any) -> list[Order]:
        world = self._world

        def read() -> list[Order]:
            return [order for order in world.hot.finals(*args, **kwargs) if order.order_id not in world.invisible]

        return self._process.call("hot.finals", read)

    def _commit(self, label: str, order_ids: Sequence[str], write: Callable[[], Sequence[Any]]) -> list[Any]:
        world = self._world

        def log() -> list[Any]:
            before = dict(zip(order_ids, world.hot.load(order_ids), strict=True))
            outcomes = list(write())
            written = [outcome.order.order_id for outcome in outcomes if isinstance(outcome, Created | Changed)]
            world.invisible |= {order_id: before.get(order_id) for order_id in written}
            return outcomes

        def show() -> None:
            for order_id in order_ids:
                world.invisible.pop(order_id, None)
            world.created = world.created or order_ids[0]

        outcomes = self._process.call(f"{label}: logged", log, may_run=world.is_visible(order_ids))
        if any(isinstance(outcome, Created | Changed) for outcome in outcomes):
            self._process.call(f"{label}: visible", show)
        return outcomes


class FeedGate:
    """The change feed. A reader is no more than a position, so that a copy of it is as good as itself."""

    def __init__(self, process: Process, world: World) -> None:
        self._process = process
        self._world = world
        self.shard = world.feed.shard

    def open(self, position: str | None) -> FeedReader:
        return FeedPlace(self._process, self._world, position)

    def purge(self, position: str) -> None:
        """Nothing is old here."""

    def close(self) -> None:
        """It is the world's."""


class FeedPlace:
    """A reader at a position."""

    def __init__(self, process: Process, world: World, position: str | None) -> None:
        self._process = process
        self._world = world
        self._position = position

    def read(self, limit: int, wait_s: float) -> list[FeedItem]:
        items = self._process.call("feed.read", lambda: self._read(limit))
        for item in items:
            if isinstance(item, Boundary):
                self._position = item.position
        return items

    def close(self) -> None:
        """There is nothing to let go of."""

    def _read(self, limit: int) -> list[FeedItem]:
        with closing(self._world.feed.open(self._position)) as reader:
            return list(reader.read(limit, 0))


class Stores:
    """What a process has of the world."""

    def __init__(self, process: Process, world: World) -> None:
        self.hot = cast("HotStore", HotGate(process, world))
        self.cache = cast("CacheStore", process.gate("cache", world.cache))
        self.archive = cast("ArchiveStore", process.gate("archive", world.archive))
        self.late = cast("LateStore", process.gate("late", world.late))
        self.log = cast("LogStore", process.gate("log", world.log, _NOBODY_NOTICES))
        self.feed = FeedGate(process, world)


_NOBODY_NOTICES = frozenset({"publish", "ends", "committed", "read"})
