"""Looking orders up: the cache for all of them at once, then the database for those it did not know.

cache ──> an answer, unless it is older than the reader asks for
  └─ miss ──> hot store (a locking read) ──> an answer, "not found", or "not yet at that version"
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.metrics import Metrics
from orderctl.order import Order, Status
from orderctl.services.caching import BestEffort, record_ttl_ms
from orderctl.stores.base import CacheStore, HotStore, Put, Ref
from orderctl.stores.record import Entry, Kind, Record, record_of


class Via(StrEnum):
    """Which tier answered, in the words of `Cache-Status` (RFC 9211)."""

    CACHE = "redis; hit"
    HOT = "redis; fwd=miss; detail=mysql"
    HOT_STALE = "redis; fwd=stale; detail=mysql"
    """The cached record was older than the version asked for."""
    HOT_BYPASS = "redis; fwd=bypass; detail=mysql"
    """The cache could not be asked."""


class Lookup(Struct, frozen=True):
    """One order that somebody wants. `merchant` is `merchant_digest` of who may see it; None sees all."""

    order_id: str
    merchant: bytes | None = None
    min_version: int = 0


class Found(Struct, frozen=True):
    """The order. `body` is its JSON."""

    version: int
    status: Status
    body: bytes
    via: Via


class Missing(Struct, frozen=True):
    """No database has the order, or it is not this caller's to see."""


class Pending(Struct, frozen=True):
    """The look-up is pending: the order is not yet at the version asked for. Ask again."""


class Failed(Struct, frozen=True):
    """The tier that had to be asked could not be; nothing is known of the order."""

    error: TierError


Answer = Found | Missing | Pending | Failed


class QueryService:
    """Look-ups in batches. A tier's failure is the answer of those orders that needed it, never of the others."""

    def __init__(
        self, hot: HotStore, cache: CacheStore, *, clock: Clock, metrics: Metrics, record_ttl_ms: int = 3_600_000
    ) -> None:
        self._hot = hot
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._record_ttl_ms = record_ttl_ms
        self._best_effort = BestEffort(clock, metrics)

    def look_up(self, lookups: Sequence[Lookup]) -> list[Answer]:
        """Each order, wherever it is, at least at its `min_version`."""
        entries = self._best_effort.run(lambda: self._cache.get([lookup.order_id for lookup in lookups]))
        answers: dict[int, Answer] = {}
        to_load: dict[int, Via] = {}
        for index, lookup in enumerate(lookups):
            entry = entries[index] if entries is not None else None
            if entry is not None and entry.status is not None and entry.version >= lookup.min_version:
                answers[index] = _from_cache(entry, entry.status, lookup)
            elif entry is not None and entry.kind is Kind.ABSENT and not lookup.min_version:
                answers[index] = Missing()
            else:
                to_load[index] = _why_load(entry, cache_answered=entries is not None)
        if to_load:
            answers |= self._load(lookups, to_load)
        for answer in answers.values():
            self._count(answer)
        return [answers[index] for index in range(len(lookups))]

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        """The order id that each merchant's reference stands for.

        Raises:
            TierError: the database could not be asked.

        """
        return self._hot.resolve(refs)

    def _load(self, lookups: Sequence[Lookup], to_load: dict[int, Via]) -> dict[int, Answer]:
        order_ids = list(dict.fromkeys(lookups[index].order_id for index in to_load))
        try:
            loaded = dict(zip(order_ids, self._hot.load(order_ids), strict=True))
        except TierError as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            return dict.fromkeys(to_load, Failed(error))
        self._metrics.loads.labels("mysql").inc(len(order_ids))
        records = {order_id: record_of(order) for order_id, order in loaded.items() if order is not None}
        self._apply_newer(lookups, to_load, loaded, records)
        return {
            index: _from_hot(records.get(lookups[index].order_id), lookups[index], via)
            for index, via in to_load.items()
        }

    def _apply_newer(
        self,
        lookups: Sequence[Lookup],
        to_load: dict[int, Via],
        loaded: dict[str, Order | None],
        records: dict[str, Record],
    ) -> None:
        """Apply what is newer than the cache's to the cache before it is answered, so that no reader goes back behind it."""
        now_us = self._clock.now_us()
        newer = {lookups[index].order_id for index, via in to_load.items() if via is Via.HOT_STALE}
        puts = [
            Put(records[order_id], record_ttl_ms(order, now_us, self._record_ttl_ms))
            for order_id in newer
            if (order := loaded[order_id]) is not None
        ]
        if puts:
            self._best_effort.run(lambda: self._cache.apply(puts))

    def _count(self, answer: Answer) -> None:
        match answer:
            case Found(via=via):
                self._metrics.lookups.labels("redis" if via is Via.CACHE else "mysql", "found").inc()
            case Missing():
                self._metrics.lookups.labels("all", "not_found").inc()
            case Pending():
                self._metrics.lookups.labels("all", "pending").inc()
            case Failed(error=error):
                self._metrics.lookups.labels(error.tier, "failed").inc()


def _from_cache(entry: Entry, status: Status, lookup: Lookup) -> Answer:
    if lookup.merchant not in (None, entry.merchant):
        return Missing()
    return Found(entry.version, status, entry.body, Via.CACHE)


def _why_load(entry: Entry | None, *, cache_answered: bool) -> Via:
    if not cache_answered:
        return Via.HOT_BYPASS
    return Via.HOT if entry is None or not entry.has_order else Via.HOT_STALE


def _from_hot(record: Record | None, lookup: Lookup, via: Via) -> Answer:
    if record is None or lookup.merchant not in (None, record.merchant):
        return Missing()
    if record.version < lookup.min_version:
        return Pending()
    return Found(record.version, record.status, record.body, via)
