"""The way of nearly all look-ups: process memory or the cache has the order, committed, and nobody has to load it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter

from orderctl.metrics import Metrics
from orderctl.services.answers import Found, Missing, Settled, Source, Via
from orderctl.services.askers import Lookup
from orderctl.services.caching import BestEffort
from orderctl.services.near import NearCache, NearEntry
from orderctl.stores.cache import CacheStore
from orderctl.stores.record import NO_TIMER, Entry, Kind, Record

ANSWERED_NEAR: Final = Via(Source.NEAR)
ANSWERED_BY_CACHE: Final = Via(Source.CACHE)


class QuickReads:
    """Answers what takes no lease, and says None of everything else, which is then to be looked up. For several threads.

    In here nobody shares a read with anybody: an order that many ask for at once is read as often as there are batches of them.
    """

    def __init__(self, cache: CacheStore, near: NearCache, best_effort: BestEffort, metrics: Metrics) -> None:
        self._cache = cache
        self._near = near
        self._best_effort = best_effort
        self._from_near = metrics.lookups.labels(Source.NEAR.value, "found")
        self._from_cache = metrics.lookups.labels(Source.CACHE.value, "found")
        self._missing = metrics.lookups.labels("all", "not_found")

    def recall(self, order_ids: Sequence[str], merchant: bytes | None) -> list[NearEntry | None]:
        """The copies in process memory that `merchant` may see (None sees all). No tier is asked, no lock is taken.

        The ids may be as somebody sent them. Misses are not counted: whoever looks these up will miss them again.
        """
        copies = self._near.recall_many(order_ids)
        if merchant is not None:
            copies = [copy if copy is None or copy.merchant == merchant else None for copy in copies]
        self._from_near.inc(len(copies) - copies.count(None))
        return copies

    def of_memory(self, lookups: Sequence[Lookup]) -> list[Settled | None]:
        """What process memory answers."""
        copies = self._near.get_many([lookup.order_id for lookup in lookups])
        answers: list[Settled | None] = []
        for lookup, copy in zip(lookups, copies, strict=True):
            if copy is None or copy.version < lookup.min_version:
                answers.append(None)
            elif lookup.merchant in (None, copy.merchant):
                answers.append(Found(copy.version, copy.status, copy.body, ANSWERED_NEAR))
            else:
                answers.append(Missing())
        self._count(answers, self._from_near)
        return answers

    def of_cache(self, lookups: Sequence[Lookup]) -> list[Settled | None]:
        """What the cache answers with committed records; these go into process memory too."""
        order_ids = [lookup.order_id for lookup in lookups]
        ticket = self._near.begin(order_ids)
        entries = self._best_effort.each(lambda: self._cache.get(order_ids), order_ids)
        records = [_record_in(order_id, entry) for order_id, entry in zip(order_ids, entries, strict=True)]
        may = iter(self._near.put_many(ticket, [record for record in records if record is not None]))
        answers: list[Settled | None] = []
        for lookup, record in zip(lookups, records, strict=True):
            if record is None:
                answers.append(None)
                continue
            is_fresh = next(may) and record.version >= lookup.min_version
            if lookup.merchant not in (None, record.merchant):
                answers.append(Missing())
            else:
                answers.append(
                    Found(record.version, record.status, record.body, ANSWERED_BY_CACHE) if is_fresh else None
                )
        self._count(answers, self._from_cache)
        return answers

    def _count(self, answers: Sequence[Settled | None], found: Counter) -> None:
        kinds = [*map(type, answers)]
        found.inc(kinds.count(Found))
        self._missing.inc(kinds.count(Missing))


def _record_in(order_id: str, entry: object) -> Record | None:
    if not isinstance(entry, Entry) or entry.kind is not Kind.RECORD or entry.status is None:
        return None
    return Record(order_id, entry.version, entry.status, entry.merchant, entry.body, NO_TIMER)
