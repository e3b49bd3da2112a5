"""The tiers of the services' tests: the embedded ones in memory, each made to fail where a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.errors import OutcomeUnknown, TierError, TierUnavailable
from orderctl.metrics import Metrics
from orderctl.order import Change, NewOrder
from orderctl.services.answers import Answer, Loading, Settled
from orderctl.services.command import CommandService, CommandSettings, CreateRequest
from orderctl.services.late import LateReader
from orderctl.services.near import NearCache
from orderctl.services.query import QueryService, QuerySettings
from orderctl.services.references import References
from orderctl.stores.hot import ChangeOutcome, CreateOutcome, Draft, HotStore, do_nothing
from orderctl.stores.tiers import Tiers, open_tiers

T = TypeVar("T")


class Inline(Executor):
    """Runs each call at once, in the caller's thread; `late` keeps them until `catch_up`."""

    def __init__(self) -> None:
        self.late = False
        self._waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            future.set_result(fn(*args, **kwargs))

        self._waiting.append(run)
        if not self.late:
            self.catch_up()
        return future

    def catch_up(self) -> None:
        """Run what was kept."""
        waiting, self._waiting = self._waiting, []
        for run in waiting:
            run()


class Failing:
    """A store whose calls raise `error` while there is one; everything else is the real store's."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.error: TierError | None = None
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.error is not None:
                raise self.error
            return method(*args, **kwargs)

        return call if callable(method) else method


class LosesTheReply:
    """A hot store that commits and then says that it does not know."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, drafts: Sequence[Draft], *, before_commit: Callable[[], None] = do_nothing) -> list[CreateOutcome]:
        self._store.create(drafts, before_commit=before_commit)
        raise OutcomeUnknown("mysql")

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        self._store.change(changes, now_us=now_us)
        raise OutcomeUnknown("mysql")


class Bench:
    """Both services over one set of tiers in memory, each tier made to fail at will."""

    def __init__(self, tiers: Tiers) -> None:
        self.clock = ManualClock()
        self.tiers = tiers
        self.hot = Failing(tiers.hot)
        self.cache = Failing(tiers.cache)
        self.archive = Failing(tiers.archive)
        self.log = Failing(tiers.log)
        self.late = Failing(tiers.late)
        self.late_archive = Failing(tiers.late_archive)
        self.inline = Inline()
        self.metrics = Metrics(CollectorRegistry())
        self._random = 0

    def random(self, size: int) -> bytes:
        """Bytes that never repeat."""
        self._random += 1
        return self._random.to_bytes(size, "big")

    def command(self, hot: Any = None) -> CommandService:
        """A command service; a new one stands for another process."""
        return CommandService(
            hot or self.hot,
            self.cache,
            self.archive,
            self.late,
            clock=self.clock,
            random=self.random,
            executor=self.inline,
            metrics=self.metrics,
            settings=CommandSettings(tentative_wait_s=0),
        )

    def memory(self, **settings: Any) -> NearCache:
        """A process's memory, which is off until somebody follows the invalidations."""
        limits = {"orders_max": 1_000, "bytes_max": 1 << 20, "open_ttl_s": 0.05} | settings
        return NearCache(groups=Config().deployment.groups, clock=self.clock, metrics=self.metrics, **limits)

    def query(self, near: NearCache | None = None, **others: Any) -> QueryService:
        """A query service, of a process of its own unless `near` is another's; `others` are other stores, or an executor."""
        return QueryService(
            others.get("hot", self.hot),
            others.get("cache", self.cache),
            others.get("archive", self.archive),
            near or self.memory(),
            clock=self.clock,
            random=self.random,
            executor=others.get("executor", self.inline),
            metrics=self.metrics,
            settings=others.get("settings", QuerySettings()),
        )

    def references(self) -> References:
        """What a process knows of merchants' references."""
        return References(self.hot, self.archive, clock=self.clock, metrics=self.metrics)

    def late_reader(self) -> LateReader:
        """Who reads late results back."""
        return LateReader(self.late, self.late_archive, self.hot, self.archive, self.metrics)

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"orderctl_{name}", labels) or 0.0


@contextmanager
def open_bench() -> Iterator[Bench]:
    """A bench whose stores are closed in the end. The stores and the services share one clock."""
    clock = ManualClock()
    tiers = open_tiers(Config(), None, clock)
    try:
        bench = Bench(tiers)
        bench.clock = clock
        yield bench
    finally:
        tiers.close()


def settled(answers: Sequence[Answer], within_s: float = 30.0) -> list[Settled]:
    """The answers, once they have come."""
    return [answer.answer.result(within_s) if isinstance(answer, Loading) else answer for answer in answers]


def asking(ref: str = "r", merchant: str = "m", amount: int = 1) -> CreateRequest:
    """A creation."""
    return CreateRequest(merchant, NewOrder(ref, amount, "EUR", "card"))


def away(tier: str) -> TierUnavailable:
    """What a store raises whose tier cannot be reached."""
    return TierUnavailable(tier)
