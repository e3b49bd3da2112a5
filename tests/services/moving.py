"""What the tests of the move to the archive need: a hot store, an archive that can lose its power, and eyes on every call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from orderctl.clock import ManualClock
from orderctl.metrics import Metrics
from orderctl.order import Change, Order, Status
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.stores.hot import Changed, Created
from orderctl.stores.sqlite.archive import SqliteArchiveStore, open_embedded_archive
from orderctl.stores.sqlite.archive_power import everything
from orderctl.stores.sqlite.embedded import EmbeddedHot, open_embedded_hot
from tests.contract.archive_harness import ref_of
from tests.contract.hot_harness import GROUPS, drafts

STEPS_MAX = 500
"""More than any move in these tests takes."""
PAUSE_S = 5.0
"""How long a mover rests that has nothing to do."""


class Killed(Exception):
    """The process that made the call is no more."""


class OrderLost(AssertionError):
    """An order is in neither database, or not as it was."""


class Watched:
    """A store between whose calls something may happen: each call has a moment before it and one after it."""

    def __init__(self, store: object, moment: Callable[[str], None]) -> None:
        self._store = store
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._moment(f"before {name}")
            result = method(*args, **kwargs)
            self._moment(f"after {name}")
            return result

        return call if callable(method) else method


class Stage:
    """One hot store and one archive, in memory. At every moment each order has to be in one of them, as it was.

    `actions` are what happens at moments by their number: power is lost, a process dies, time passes.
    """

    def __init__(self, hot: EmbeddedHot, archive: SqliteArchiveStore, clock: ManualClock) -> None:
        self.hot = hot.store
        self.archive = archive
        self.clock = clock
        self.metrics = Metrics(CollectorRegistry())
        self.orders: list[Order] = []
        self.moments: list[str] = []
        self.actions: dict[int, Callable[[], None]] = {}

    def create(self, number: int = 1) -> list[Order]:
        """That many more open orders, each a second younger than the one before."""
        return [outcome.order for outcome in self.hot.create(drafts(number)) if isinstance(outcome, Created)]

    def end(self, orders: Sequence[Order], status: Status = Status.SUCCESS) -> list[Order]:
        """The orders, at their end, which is as old as they are."""
        outcomes = self.hot.change([Change(order.order_id, status) for order in orders], now_us=0)
        ended = [outcome.order for outcome in outcomes if isinstance(outcome, Changed)]
        self.orders += ended
        return ended

    def finish(self, number: int = 1) -> list[Order]:
        """That many more final orders, oldest first."""
        return self.end(self.create(number))

    def mover(self, *, hot: Any = None, archive: Any = None, **settings: Any) -> Mover:
        """A mover; a new one stands for another process."""
        return Mover(
            hot or Watched(self.hot, self._moment),
            archive or Watched(self.archive, self._moment),
            clock=self.clock,
            metrics=self.metrics,
            settings=ArchiverSettings(**settings),
        )

    def look(self) -> None:
        """See that no order is in neither database."""
        order_ids = [order.order_id for order in self.orders]
        for order, hot, archived in zip(
            self.orders, self.hot.load(order_ids), self.archive.load(order_ids), strict=True
        ):
            if order not in (hot, archived):
                raise OrderLost(order.order_id)

    def lose_power(self, lost: Callable[[str, str], bool] = everything) -> None:
        """The archive loses what it has not synced."""
        self.archive.lose_power(lost)
        self.look()

    def run(self, new_mover: Callable[[], Mover], *, movers: Sequence[Mover] = ()) -> None:
        """Let movers work until no final order is left; one that dies is followed by a new one."""
        at_work = list(movers) or [new_mover()]
        for _ in range(STEPS_MAX):
            for index, mover in enumerate(at_work):
                try:
                    looked_at = mover.step(None)
                except Killed:
                    at_work[index] = new_mover()
                    continue
                if not looked_at:
                    self.clock.advance(PAUSE_S)
            if not self.hot.finals(None, after=None, limit=1):
                return
        raise AssertionError("the move does not come to an end")

    def check_archived(self) -> None:
        """See that all is in the archive, in each table, and nowhere else."""
        order_ids = [order.order_id for order in self.orders]
        assert self.archive.load(order_ids) == self.orders
        assert self.archive.resolve([ref_of(order) for order in self.orders]) == order_ids
        assert self.hot.load(order_ids) == [None] * len(order_ids)

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"orderctl_{name}", labels) or 0.0

    def _moment(self, name: str) -> None:
        self.moments.append(name)
        if name.startswith("after"):
            self.look()
        action = self.actions.pop(len(self.moments) - 1, None)
        if action is not None:
            action()


@contextmanager
def open_stage(*, sync_period_s: float = 0.0) -> Iterator[Stage]:
    """A stage whose stores are closed in the end."""
    clock = ManualClock()
    hot = open_embedded_hot(None, groups=GROUPS, clock=clock)
    archive = open_embedded_archive(None, clock=clock, sync_period_s=sync_period_s)
    try:
        yield Stage(hot, archive, clock)
    finally:
        archive.close()
        hot.close()
