"""Loads orders from the databases, the likelier one first, and never more at a time than the databases are to bear.

young: hot, archive            as the archiver copies before it removes, this order misses nothing
old:   archive, hot, archive   the second look finds what moved between the first two

Each database has a lane of its own, with its own room and its own calls under way, so that one that hangs keeps nobody from the
other. Nobody waits in here: what was loaded is handed over in the thread that loaded it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, TypeVar

import structlog
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierError, TierRejected
from orderctl.ids import created_ms
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.allowance import Allowance
from orderctl.services.answers import Forward, Source
from orderctl.services.near import Ticket
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import HotStore
from orderctl.stores.sharded import PartlyRead

YOUNG: Final = (Source.HOT, Source.ARCHIVE)
OLD: Final = (Source.ARCHIVE, Source.HOT, Source.ARCHIVE)
BATCH_MAX: Final = 500

_log = structlog.get_logger("orderctl.loading")

Asked = TypeVar("Asked")
Told = TypeVar("Told")


class LoadSettings(Struct, frozen=True):
    """What the operator may tune, for each database.

    Orders in its lane (`loads_max`), orders a second that enter it (`loads_per_s`), and calls at a time (`calls_max`).
    An order younger than `hot_first_s` is looked for in the hot store first.
    """

    hot_first_s: float = 960.0
    loads_max: int = 1_000
    loads_per_s: int = 10_000
    calls_max: int = 2


class Load(Struct, frozen=True):
    """An order to be loaded, and why. `ticket` was taken before any tier was asked.

    `token` is the lease's under which it is to be filled into the cache, None where there is none.
    """

    order_id: str
    why: Forward
    ticket: Ticket
    token: bytes | None = None


class Loaded(Struct, frozen=True):
    """What the databases said of an order: it as `source` has it, or none, or why nobody can know.

    Where the next database had no room, or had had its orders of this second, `was_turned_away`.
    """

    load: Load
    source: Source
    order: Order | None = None
    error: TierError | None = None
    was_turned_away: bool = False


class _Trip:
    """An order on its way through the databases."""

    __slots__ = ("errors", "landed", "leg", "load", "route")

    def __init__(self, load: Load, route: tuple[Source, ...], landed: Callable[[Sequence[Loaded]], None]) -> None:
        self.load = load
        self.route = route
        self.leg = 0
        self.errors: dict[Source, TierError] = {}
        self.landed = landed


class _Lane:
    """One database's queue, and the calls that empty it: at most `calls_max` at a time, each of as many orders as wait."""

    def __init__(
        self,
        source: Source,
        ask: Callable[[Sequence[str]], list[Order | TierError | None]],
        arrived: Callable[[Source, Sequence[_Trip], Sequence[Order | TierError | None]], None],
        *,
        executor: Executor,
        clock: Clock,
        metrics: Metrics,
        settings: LoadSettings,
    ) -> None:
        self._source = source
        self._ask = ask
        self._arrived = arrived
        self._executor = executor
        self._in_flight = metrics.loads_in_flight
        self._loads = metrics.loads.labels(source.value)
        self._room = settings.loads_max
        self._allowance = Allowance(clock, settings.loads_per_s)
        self._calls_left = settings.calls_max
        self._guard = threading.Lock()
        self._queue: deque[_Trip] = deque()

    @property
    def is_full(self) -> bool:
        """Whether nobody would be let in."""
        with self._guard:
            return self._room <= 0 or self._allowance.is_spent

    def enter(self, trips: Sequence[_Trip]) -> Sequence[_Trip]:
        """Take as many as there is room for, and this second allows; returns the others."""
        with self._guard:
            taken = trips[: self._allowance.take(max(0, min(len(trips), self._room)))]
            self._room -= len(taken)
            self._in_flight.inc(len(taken))
            self._queue.extend(taken)
            if must_call := bool(taken) and self._calls_left > 0:
                self._calls_left -= 1
        if must_call and not self._begin():
            return [*self._give_up(), *trips[len(taken) :]]
        return trips[len(taken) :]

    def _begin(self) -> bool:
        try:
            self._executor.submit(self._work)
        except RuntimeError:
            return False  # the process is ending, and its threads have
        return True

    def _give_up(self) -> list[_Trip]:
        with self._guard:
            self._calls_left += 1
            dropped = [*self._queue]
            self._queue.clear()
        self._leave(len(dropped))
        return dropped

    def _work(self) -> None:
        """Call until nothing waits."""
        while batch := self._take():
            self._loads.inc(len(batch))
            try:
                told = self._ask([trip.load.order_id for trip in batch])
            except Exception as error:  # noqa: BLE001 - it is logged, and the answer of whoever waits
                # A fault of ours: whoever waits for these orders must hear of it, and the lane go on.
                _log.exception("load failed", tier=self._source.value, error=repr(error))
                told = [TierRejected(self._source.value, repr(error))] * len(batch)
            self._leave(len(batch))
            self._arrived(self._source, batch, told)

    def _take(self) -> list[_Trip]:
        with self._guard:
            batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
            if not batch:
                self._calls_left += 1
            return batch

    def _leave(self, count: int) -> None:
        with self._guard:
            self._room += count
            self._in_flight.dec(count)


class Loader:
    """Takes orders to load, and hands over what the databases said of each, in any thread and any order."""

    def __init__(
        self,
        hot: HotStore,
        archive: ArchiveStore,
        *,
        executor: Executor,
        clock: Clock,
        metrics: Metrics,
        settings: LoadSettings,
    ) -> None:
        """`executor` is to have a thread for each call of each lane, or to run each call at once."""
        self._clock = clock
        self._metrics = metrics
        self._young_ms = int(settings.hot_first_s * 1000)
        self._lanes = {
            source: _Lane(
                source, ask, self._arrived, executor=executor, clock=clock, metrics=metrics, settings=settings
            )
            for source, ask in (
                (Source.HOT, lambda order_ids: ask_each(hot.load, order_ids, metrics)),
                (Source.ARCHIVE, lambda order_ids: ask_each(archive.load, order_ids, metrics)),
            )
        }

    def without_room(self, order_ids: Sequence[str]) -> set[str]:
        """Those of these orders that would be turned away now."""
        full = {source for source, lane in self._lanes.items() if lane.is_full}
        return {order_id for order_id in order_ids if self._route(order_id)[0] in full} if full else set()

    def load(self, loads: Sequence[Load], landed: Callable[[Sequence[Loaded]], None]) -> None:
        """Begin to load these, and return; `landed` is told of all of them, some at a time, perhaps before this returns."""
        trips: dict[Source, list[_Trip]] = {}
        for load in loads:
            route = self._route(load.order_id)
            trips.setdefault(route[0], []).append(_Trip(load, route, landed))
        for source, of_source in trips.items():
            self._enter(source, of_source)

    def _route(self, order_id: str) -> tuple[Source, ...]:
        return YOUNG if created_ms(order_id) >= self._clock.now_us() // 1000 - self._young_ms else OLD

    def _enter(self, source: Source, trips: Sequence[_Trip]) -> None:
        turned_away = self._lanes[source].enter(trips)
        _hand_over([(trip, Loaded(trip.load, source, was_turned_away=True)) for trip in turned_away])

    def _arrived(self, source: Source, trips: Sequence[_Trip], told: Sequence[Order | TierError | None]) -> None:
        """Hand over those of whom all is known; send the others on. Only a database's last word counts as a failure."""
        done: list[tuple[_Trip, Loaded]] = []
        onward: dict[Source, list[_Trip]] = {}
        for trip, answer in zip(trips, told, strict=True):
            trip.leg += 1
            if isinstance(answer, TierError):
                trip.errors[source] = answer
            elif answer is not None:
                done.append((trip, Loaded(trip.load, source, answer)))
                continue
            else:
                trip.errors.pop(source, None)
            if trip.leg < len(trip.route):
                onward.setdefault(trip.route[trip.leg], []).append(trip)
            else:
                done.append((trip, Loaded(trip.load, source, error=next(iter(trip.errors.values()), None))))
        for next_source, of_source in onward.items():
            self._enter(next_source, of_source)
        _hand_over(done)


def ask_each(
    ask: Callable[[Sequence[Asked]], Sequence[Told]], items: Sequence[Asked], metrics: Metrics
) -> list[Told | TierError]:
    """What a database tells of each item, or why it cannot: of a sharded one a shard may fail and another answer."""
    if not items:
        return []
    try:
        return [*ask(items)]
    except PartlyRead as partly:
        answers: list[Told | TierError] = [*partly.outcomes]
    except TierError as error:
        answers = [error] * len(items)
    for told in {id(answer): answer for answer in answers if isinstance(answer, TierError)}.values():
        metrics.tier_errors.labels(told.tier, type(told).__name__).inc()
    return answers


def _hand_over(done: Sequence[tuple[_Trip, Loaded]]) -> None:
    by_taker: dict[Callable[[Sequence[Loaded]], None], list[Loaded]] = {}
    for trip, loaded in done:
        by_taker.setdefault(trip.landed, []).append(loaded)
    for landed, of_taker in by_taker.items():
        try:
            landed(of_taker)
        except Exception as error:  # noqa: BLE001 - its taker's fault, and nobody else is to miss his orders for it
            _log.exception("what was loaded could not be taken", error=repr(error))
