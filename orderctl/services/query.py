"""Looking orders up, without waiting for a database: process memory, the cache, and a load of what neither knows.

near ── miss ──> one flight an order ──> cache ── lease ──> load, and fill the cache
                                           └── too old ──> another flight: load, and apply that to the cache

Why no reader goes back. A flight's answer is of a moment after it began, and an order's flights of a kind follow each other. Of
the others' answers process memory keeps the version as a floor, even of what it does not keep: nothing below it is answered, and
what was loaded past the cache is applied to the cache before anybody hears of it.

Why nobody is told no by an old look: who came when the flight was under way may have created the order since it looked. He is
told yes by it, and otherwise takes the next one, which began after he came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Final

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierError, TierRejected
from orderctl.ids import RandomBytes
from orderctl.metrics import Metrics
from orderctl.services.answers import Answer, Failed, Forward, Found, Missing, Pending, Settled
from orderctl.services.askers import Asker, Desk, Lookup, answer_of
from orderctl.services.caching import BestEffort
from orderctl.services.filling import Filling
from orderctl.services.flights import Flights
from orderctl.services.loading import Load, Loaded, Loader, LoadSettings
from orderctl.services.near import NearCache, Ticket
from orderctl.services.quick_reads import ANSWERED_BY_CACHE, QuickReads
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.cache import Busy, CacheStore, Granted, LookupOutcome
from orderctl.stores.hot import HotStore
from orderctl.stores.record import NO_TIMER, TOKEN_BYTES, Entry, Kind, Record

READ_FIRST_FROM: Final = 8
"""A plain read costs half of a look-up that may lease; but whatever it does not find takes a second round trip."""


class QuerySettings(Struct, frozen=True):
    """What the operator may tune. An order younger than `hot_first_s` is looked for in the hot store first.

    A database is asked for at most `loads_max` orders at a time and `loads_per_s` in a second, by `calls_max` calls at a time.
    So many orders as `read_first_from`, or more, are read from the cache before leases are asked for.
    """

    hot_first_s: float = 960.0
    record_ttl_ms: int = 3_600_000
    loads_max: int = 1_000
    loads_per_s: int = 10_000
    calls_max: int = 2
    read_first_from: int = READ_FIRST_FROM


class QueryService:
    """Look-ups in batches. A tier's failure is the answer of those orders that needed it, never of the others."""

    def __init__(
        self,
        hot: HotStore,
        cache: CacheStore,
        archive: ArchiveStore,
        near: NearCache,
        *,
        clock: Clock,
        random: RandomBytes,
        executor: Executor,
        metrics: Metrics,
        settings: QuerySettings,
    ) -> None:
        """`executor` loads: it has a thread for each of both databases' calls, or runs each call at once."""
        self._cache = cache
        self._near = near
        self._random = random
        self._metrics = metrics
        self._best_effort = BestEffort(clock, metrics)
        self._filling = Filling(
            cache, near, self._best_effort, clock=clock, metrics=metrics, record_ttl_ms=settings.record_ttl_ms
        )
        load_settings = LoadSettings(
            hot_first_s=settings.hot_first_s,
            loads_max=settings.loads_max,
            loads_per_s=settings.loads_per_s,
            calls_max=settings.calls_max,
        )
        self._loader = Loader(hot, archive, executor=executor, clock=clock, metrics=metrics, settings=load_settings)
        self.quick = QuickReads(cache, near, self._best_effort, metrics)
        """What is answered at once."""
        self._read_first_from = settings.read_first_from
        self._flights: Flights[Asker] = Flights()
        self._past_cache: Flights[Asker] = Flights()
        self._landed_flights = partial(self._landed, self._flights)
        self._landed_past_cache = partial(self._landed, self._past_cache)
        self._desk = Desk(metrics)

    def look_up(self, lookups: Sequence[Lookup]) -> list[Answer]:
        """Each order, wherever it is, at least at its `min_version`; `Loading` where that takes a database.

        One that is looked up alone goes to the cache once, to be read or leased. Many are read first: nearly all are there.
        """
        answers: list[Answer | None] = [*self.quick.of_memory(lookups)]
        left = _unanswered(answers)
        if len(left) >= self._read_first_from:
            _put(answers, left, self.quick.of_cache([lookups[place] for place in left]))
            left = _unanswered(answers)
        if left:
            askers = [Asker(lookups[place]) for place in left]
            self._seek(askers)
            _put(answers, left, self._desk.hand_out(askers))
        return [answer for answer in answers if answer is not None]

    # --- the cache ----------------------------------------------------------------------------------------------------

    def _seek(self, askers: Sequence[Asker]) -> None:
        """Look in the cache, and lease what is not there."""
        begun = self._flights.board(askers)
        if begun:
            with self._landing_in_any_case(self._flights, begun):
                self._look_in_cache(begun)

    def _look_in_cache(self, order_ids: Sequence[str]) -> None:
        ticket = self._near.begin(order_ids)
        hits: dict[str, Entry] = {}
        absent: list[str] = []
        busy: list[str] = []
        loads: list[Load] = []
        for order_id, told in self._ask_cache(order_ids).items():
            match told:
                case Entry() if told.has_order:
                    hits[order_id] = told
                case Entry(kind=Kind.ABSENT):
                    absent.append(order_id)
                case Granted():
                    loads.append(Load(order_id, Forward.MISS, ticket, told.token))
                case TierError():
                    loads.append(Load(order_id, Forward.BYPASS, ticket))
                case _:
                    busy.append(order_id)
        if loads:
            self._loader.load(loads, self._landed_flights)
        if hits:
            self._land_hits(ticket, hits)
        if absent:
            self._land_absent(absent)
        self._land_as(self._flights, busy, Pending())

    def _ask_cache(self, order_ids: Sequence[str]) -> dict[str, LookupOutcome | TierError | None]:
        """What the cache says; None where there is nothing, and no lease as there is no room to load either."""
        crowded = self._loader.without_room(order_ids)
        told: dict[str, LookupOutcome | TierError | None] = {}
        if leasable := [order_id for order_id in order_ids if order_id not in crowded]:
            tokens = [self._random(TOKEN_BYTES) for _ in leasable]
            looked_up = self._best_effort.each(lambda: self._cache.lookup(leasable, tokens=tokens), leasable)
            told.update(zip(leasable, looked_up, strict=True))
        if crowded:
            others = [*crowded]
            seen = self._best_effort.each(lambda: self._cache.get(others), others)
            told.update(zip(others, seen, strict=True))
        for outcome, kind in (("granted", Granted), ("busy", Busy)):
            self._metrics.leases.labels(outcome).inc(sum(isinstance(each, kind) for each in told.values()))
        return told

    def _land_hits(self, ticket: Ticket, hits: Mapping[str, Entry]) -> None:
        """Answer with what the cache has; it is too old where this process has answered newer, or was asked for newer."""
        fresh = self._fresh(ticket, hits)
        answered: list[tuple[Asker, Settled]] = []
        past: list[Asker] = []
        for asker in self._flights.land(hits):
            entry = hits[asker.order_id]
            if not asker.may_see(entry.merchant):
                answered.append((asker, Missing()))
            elif asker.order_id in fresh and entry.version >= asker.lookup.min_version:
                answered.append((asker, fresh[asker.order_id]))
            else:
                past.append(asker)
        self._desk.deliver(answered)
        self._go_past_cache(past, Forward.STALE)

    def _fresh(self, ticket: Ticket, hits: Mapping[str, Entry]) -> dict[str, Found]:
        """Those that this process may answer. Process memory keeps what is committed."""
        committed = [
            Record(order_id, entry.version, entry.status, entry.merchant, entry.body, NO_TIMER)
            for order_id, entry in hits.items()
            if entry.kind is Kind.RECORD and entry.status is not None
        ]
        may = {
            record.order_id: may for record, may in zip(committed, self._near.put_many(ticket, committed), strict=True)
        }
        tentative = [order_id for order_id in hits if order_id not in may]
        floors = self._near.floors(tentative) if tentative else []
        may |= {order_id: hits[order_id].version >= floor for order_id, floor in zip(tentative, floors, strict=True)}
        return {
            order_id: Found(entry.version, entry.status, entry.body, ANSWERED_BY_CACHE)
            for order_id, entry in hits.items()
            if may[order_id] and entry.status is not None
        }

    def _land_absent(self, order_ids: Sequence[str]) -> None:
        """That there was no such order a moment ago is an answer to those who know of none."""
        known = {o for o, floor in zip(order_ids, self._near.floors(order_ids), strict=True) if floor}
        answered: list[tuple[Asker, Settled]] = []
        again: list[Asker] = []
        past: list[Asker] = []
        for asker in self._flights.land(order_ids):
            if asker.lookup.min_version or asker.order_id in known:
                past.append(asker)
            elif asker.is_late:
                again.append(asker)
            else:
                answered.append((asker, Missing()))
        self._desk.deliver(answered)
        self._go_past_cache(past, Forward.MISS)
        self._seek_again(again)

    # --- the databases ------------------------------------------------------------------------------------------------

    def _go_past_cache(self, askers: Sequence[Asker], why: Forward) -> None:
        """Load what the cache has, since it is too old."""
        begun = self._past_cache.board(askers)
        if begun:
            with self._landing_in_any_case(self._past_cache, begun):
                ticket = self._near.begin(begun)
                self._loader.load([Load(order_id, why, ticket) for order_id in begun], self._landed_past_cache)

    def _landed(self, flights: Flights[Asker], landed: Sequence[Loaded]) -> None:
        """Some orders of these flights were loaded; called in any thread."""
        order_ids = [loaded.load.order_id for loaded in landed]
        with self._landing_in_any_case(flights, order_ids):
            brought = {each.loaded.load.order_id: each for each in self._filling.keep(landed)}
            answered: list[tuple[Asker, Settled]] = []
            again: list[Asker] = []
            for asker in flights.land(order_ids):
                answer = answer_of(asker, brought[asker.order_id])
                if answer is None:
                    again.append(asker)
                else:
                    answered.append((asker, answer))
        self._desk.deliver(answered)
        self._seek_again(again)

    def _seek_again(self, askers: Sequence[Asker]) -> None:
        """Another flight, which begins after the asker came: nothing that it brings is too old for him."""
        if not askers:
            return
        given_up = [asker for asker in askers if not asker.flights_left]
        others = [asker for asker in askers if asker.flights_left]
        self._desk.deliver([(asker, Pending()) for asker in given_up])
        for asker in others:
            asker.flights_left -= 1
        self._seek(others)

    # --- answers ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _landing_in_any_case(self, flights: Flights[Asker], order_ids: Iterable[str]) -> Iterator[None]:
        """A fault of ours must not leave a flight in the air, where every later look-up of the order would board it."""
        try:
            yield
        except Exception as error:
            self._land_as(flights, order_ids, Failed(TierRejected("query", repr(error))))
            raise

    def _land_as(self, flights: Flights[Asker], order_ids: Iterable[str], answer: Settled) -> None:
        self._desk.deliver([(asker, answer) for asker in flights.land(order_ids)])


def _unanswered(answers: Sequence[Answer | None]) -> list[int]:
    return [place for place, answer in enumerate(answers) if answer is None]


def _put(answers: list[Answer | None], places: Sequence[int], found: Sequence[Answer | None]) -> None:
    for place, answer in zip(places, found, strict=True):
        answers[place] = answer
