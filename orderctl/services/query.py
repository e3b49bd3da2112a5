"""Looking orders up: the cache for all of them at once, then the databases for those it did not know, the likelier one first.

cache ── miss ──> young: hot, archive            as the archiver copies before it removes, this order misses nothing
              └─> old:   archive, hot, archive   the second look finds what moved between the first two
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.ids import created_ms
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.answers import Answer, Failed, Forward, Found, Missing, Pending, Source, Via
from orderctl.services.caching import BestEffort, record_ttl_ms
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.cache import CacheStore, Put
from orderctl.stores.hot import HotStore, Ref
from orderctl.stores.record import Entry, Kind, Record, record_of
from orderctl.stores.sharded import PartlyRead

Asked = TypeVar("Asked")
Told = TypeVar("Told")

YOUNG = (Source.HOT, Source.ARCHIVE)
OLD = (Source.ARCHIVE, Source.HOT, Source.ARCHIVE)


class QuerySettings(Struct, frozen=True):
    """What the operator may tune. An order younger than `hot_first_s` is looked for in the hot store first."""

    hot_first_s: float = 960.0
    record_ttl_ms: int = 3_600_000


class Lookup(Struct, frozen=True):
    """One order that somebody wants. `merchant` is `merchant_digest` of who may see it; None sees all."""

    order_id: str
    merchant: bytes | None = None
    min_version: int = 0


class Loaded(Struct, frozen=True):
    """What the databases said of an order: it as `source` has it, or none, or why nobody can know."""

    source: Source
    order: Order | None = None
    error: TierError | None = None


class QueryService:
    """Look-ups in batches. A tier's failure is the answer of those orders that needed it, never of the others."""

    def __init__(
        self,
        hot: HotStore,
        cache: CacheStore,
        archive: ArchiveStore,
        *,
        clock: Clock,
        metrics: Metrics,
        settings: QuerySettings,
    ) -> None:
        self._cache = cache
        self._hot = hot
        self._archive = archive
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._best_effort = BestEffort(clock, metrics)

    def look_up(self, lookups: Sequence[Lookup]) -> list[Answer]:
        """Each order, wherever it is, at least at its `min_version`."""
        entries = self._best_effort.run(lambda: self._cache.get([lookup.order_id for lookup in lookups]))
        answers: dict[int, Answer] = {}
        to_load: dict[int, Forward] = {}
        for index, lookup in enumerate(lookups):
            entry = entries[index] if entries is not None else None
            if entry is not None and entry.status is not None and entry.version >= lookup.min_version:
                answers[index] = _found(
                    lookup, entry.merchant, Found(entry.version, entry.status, entry.body, Via(Source.CACHE))
                )
            elif entry is not None and entry.kind is Kind.ABSENT and not lookup.min_version:
                answers[index] = Missing()
            else:
                to_load[index] = _why_load(entry, cache_answered=entries is not None)
        if to_load:
            answers |= self._load(lookups, to_load)
        for answer in answers.values():
            self._count(answer)
        return [answers[index] for index in range(len(lookups))]

    def resolve(self, refs: Sequence[Ref]) -> list[str | Failed | None]:
        """The order that each merchant's reference stands for: the open or last moved one, else the newest archived one."""
        answers: list[str | TierError | None] = list(self._each(self._hot.resolve, refs))
        unknown = [ref for ref, answer in zip(refs, answers, strict=True) if answer is None]
        archived = dict(zip(unknown, self._each(self._archive.resolve, unknown), strict=True))
        settled = [archived[ref] if answer is None else answer for ref, answer in zip(refs, answers, strict=True)]
        return [Failed(answer) if isinstance(answer, TierError) else answer for answer in settled]

    def _load(self, lookups: Sequence[Lookup], to_load: dict[int, Forward]) -> dict[int, Answer]:
        loaded = self._load_all(dict.fromkeys(lookups[index].order_id for index in to_load))
        records = {order_id: record_of(each.order) for order_id, each in loaded.items() if each.order is not None}
        self._apply_newer({lookups[i].order_id for i, why in to_load.items() if why is Forward.STALE}, loaded, records)
        return {
            index: _answer(lookups[index], loaded[lookups[index].order_id], records, why)
            for index, why in to_load.items()
        }

    def _load_all(self, order_ids: dict[str, None]) -> dict[str, Loaded]:
        """Each order from the first database of its route that has it; one call of a database a leg."""
        now_ms = self._clock.now_us() // 1000
        young_from_ms = now_ms - int(self._settings.hot_first_s * 1000)
        routes = {order_id: YOUNG if created_ms(order_id) >= young_from_ms else OLD for order_id in order_ids}
        found: dict[str, Loaded] = {}
        failed: dict[str, dict[Source, TierError]] = {}
        for leg in range(len(OLD)):
            for source, load in ((Source.HOT, self._hot.load), (Source.ARCHIVE, self._archive.load)):
                wanted = [
                    o for o, route in routes.items() if o not in found and leg < len(route) and route[leg] is source
                ]
                if wanted:
                    self._ask(source, load, wanted, found, failed)
        return {
            o: found.get(o) or Loaded(Source.HOT, error=next(iter(failed.get(o, {}).values()), None)) for o in order_ids
        }

    def _ask(
        self,
        source: Source,
        load: Callable[[Sequence[str]], list[Order | None]],
        wanted: Sequence[str],
        found: dict[str, Loaded],
        failed: dict[str, dict[Source, TierError]],
    ) -> None:
        """Ask one database for the orders still wanted; what it has goes to `found`. Only its last word counts as a failure."""
        self._metrics.loads.labels(source.value).inc(len(wanted))
        for order_id, answer in zip(wanted, self._each(load, wanted), strict=True):
            if isinstance(answer, TierError):
                failed.setdefault(order_id, {})[source] = answer
                continue
            failed.get(order_id, {}).pop(source, None)
            if answer is not None:
                found[order_id] = Loaded(source, answer)

    def _each(self, ask: Callable[[Sequence[Asked]], Sequence[Told]], items: Sequence[Asked]) -> list[Told | TierError]:
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
            self._metrics.tier_errors.labels(told.tier, type(told).__name__).inc()
        return answers

    def _apply_newer(self, order_ids: set[str], loaded: dict[str, Loaded], records: dict[str, Record]) -> None:
        """Apply what is newer than the cache's to the cache before it is answered, so that no reader goes back behind it."""
        now_us, ttl_ms = self._clock.now_us(), self._settings.record_ttl_ms
        puts = [
            Put(records[order_id], record_ttl_ms(order, now_us, ttl_ms))
            for order_id in order_ids
            if (order := loaded[order_id].order) is not None
        ]
        if puts:
            self._best_effort.run(lambda: self._cache.apply(puts))

    def _count(self, answer: Answer) -> None:
        match answer:
            case Found(via=via):
                self._metrics.lookups.labels(via.source.value, "found").inc()
            case Missing():
                self._metrics.lookups.labels("all", "not_found").inc()
            case Pending():
                self._metrics.lookups.labels("all", "pending").inc()
            case Failed(error=error):
                self._metrics.lookups.labels(error.tier, "failed").inc()


def _why_load(entry: Entry | None, *, cache_answered: bool) -> Forward:
    if not cache_answered:
        return Forward.BYPASS
    return Forward.MISS if entry is None or not entry.has_order else Forward.STALE


def _answer(lookup: Lookup, loaded: Loaded, records: dict[str, Record], why: Forward) -> Answer:
    record = records.get(lookup.order_id)
    if record is None:
        return Missing() if loaded.error is None else Failed(loaded.error)
    if record.version < lookup.min_version:
        return _found(lookup, record.merchant, Pending())
    return _found(lookup, record.merchant, Found(record.version, record.status, record.body, Via(loaded.source, why)))


def _found(lookup: Lookup, owner: bytes, answer: Answer) -> Answer:
    """`answer` for those who may see the order, and nothing for anybody else."""
    return answer if lookup.merchant in (None, owner) else Missing()
