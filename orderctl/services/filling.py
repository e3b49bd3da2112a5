"""What was loaded goes into the cache and into process memory before anybody is answered with it.

Under a lease it is filled in, and the lease decides whether it may. Without one it is *applied*: an older record is replaced, and
whoever else loads may not fill in an older one any more. So is what a lease refused.

A refused fill means that the lease was freed by a newer version, or is gone: evicted, invalidated, lapsed. What was loaded was
true when it was read, which is after its look-up began; but something newer may be known by now, so the cache is asked again, and
what it says is answered. Not so where the lease had simply lapsed: then nothing newer is known, and a slow database would be
asked again and again without anybody ever being answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.metrics import Metrics
from orderctl.services.caching import BestEffort, record_ttl_ms
from orderctl.services.loading import Loaded
from orderctl.services.near import NearCache, Ticket
from orderctl.stores.cache import ABSENT_TTL_MAX_MS, LEASE_TTL_MS, Applied, CacheStore, Fill, Put
from orderctl.stores.record import Record, record_of

LEASE_TTL_S: Final = LEASE_TTL_MS / 1000
FOUND_NOTHING: Final = frozenset({Applied.NOTHING, Applied.DELETED, None})


class Brought(Struct, frozen=True):
    """A loaded order, and how good it is."""

    loaded: Loaded
    record: Record | None
    is_superseded: bool
    """Something newer is known: this is no answer."""
    is_doubtful: bool
    """Something newer may be known: look once more."""


class Filling:
    """Keeps what was loaded, in batches. The cache's failures are counted, and keep nobody from an answer."""

    def __init__(
        self,
        cache: CacheStore,
        near: NearCache,
        best_effort: BestEffort,
        *,
        clock: Clock,
        metrics: Metrics,
        record_ttl_ms: int,
    ) -> None:
        self._cache = cache
        self._near = near
        self._best_effort = best_effort
        self._clock = clock
        self._metrics = metrics
        self._record_ttl_ms = record_ttl_ms

    def keep(self, landed: Sequence[Loaded]) -> list[Brought]:
        """Fill in or apply each, and give back the leases of those of which nothing is known."""
        puts = {loaded.load.order_id: put for loaded in landed if (put := self._put_of(loaded)) is not None}
        refused = self._fill(landed, puts)
        to_apply = [
            put
            for loaded in landed
            if (put := puts.get(loaded.load.order_id)) is not None
            and (loaded.load.token is None or loaded.load.order_id in refused)
        ]
        applied = self._apply(to_apply)
        superseded = {order_id for order_id, outcome in applied.items() if outcome is Applied.KEPT_NEWER}
        doubtful = {
            loaded.load.order_id
            for loaded in landed
            if loaded.load.order_id in refused
            and applied.get(loaded.load.order_id) in FOUND_NOTHING
            and self._clock.monotonic_s() < loaded.load.ticket.asked_s + LEASE_TTL_S
        }
        superseded |= self._below_floor(landed, puts, superseded | doubtful)
        self._give_back([loaded.load.order_id for loaded in landed if loaded.load.token and not _is_known(loaded)])
        return [
            Brought(
                loaded,
                puts[order_id].record if (order_id := loaded.load.order_id) in puts else None,
                order_id in superseded,
                order_id in doubtful,
            )
            for loaded in landed
        ]

    def _put_of(self, loaded: Loaded) -> Put | None:
        order = loaded.order
        if order is None:
            return None
        return Put(record_of(order), record_ttl_ms(order, self._clock.now_us(), self._record_ttl_ms))

    def _fill(self, landed: Sequence[Loaded], puts: dict[str, Put]) -> set[str]:
        """Use the leases up; returns the orders whose was gone, or freed by a newer version."""
        fills = [
            Fill(loaded.load.order_id, loaded.load.token, *_content(puts.get(loaded.load.order_id)))
            for loaded in landed
            if loaded.load.token is not None and _is_known(loaded)
        ]
        outcomes = self._best_effort.each(lambda: self._cache.fill(fills), fills)
        self._metrics.leases.labels("filled").inc(outcomes.count(True))
        self._metrics.leases.labels("refused").inc(outcomes.count(False))
        return {fill.order_id for fill, outcome in zip(fills, outcomes, strict=True) if outcome is False}

    def _apply(self, puts: Sequence[Put]) -> dict[str, object]:
        applied = self._best_effort.each(lambda: self._cache.apply(puts), puts)
        self._metrics.equal_version_conflicts.inc(applied.count(Applied.CONFLICT))
        return dict(zip((put.record.order_id for put in puts), applied, strict=True))

    def _below_floor(self, landed: Sequence[Loaded], puts: dict[str, Put], left_out: set[str]) -> set[str]:
        """Offer the others to process memory; returns those that are older than what was answered before."""
        by_ticket: dict[int, tuple[Ticket, list[Record]]] = {}
        for loaded in landed:
            order_id, ticket = loaded.load.order_id, loaded.load.ticket
            if order_id in puts and order_id not in left_out:
                by_ticket.setdefault(id(ticket), (ticket, []))[1].append(puts[order_id].record)
        below: set[str] = set()
        for ticket, records in by_ticket.values():
            allowed = self._near.put_many(ticket, records)
            below.update(record.order_id for record, may in zip(records, allowed, strict=True) if not may)
        return below

    def _give_back(self, order_ids: Sequence[str]) -> None:
        if order_ids:
            self._best_effort.run(lambda: self._cache.invalidate(order_ids))
            self._metrics.leases.labels("returned").inc(len(order_ids))


def _is_known(loaded: Loaded) -> bool:
    """Whether the databases have said what there is of the order, if only that there is none."""
    return not loaded.was_turned_away and loaded.error is None


def _content(put: Put | None) -> tuple[Record | None, int]:
    return (None, ABSENT_TTL_MAX_MS) if put is None else (put.record, put.ttl_ms)
