"""Stores that stand between a daemon's code and its tiers, and note which orders a write changes.

Live ones let the write through. The others only say what it would have done, from what they read: a dry run is the daemon's own
code over them. Either way an order counts once, by its state before the first write that changes it; whatever came before that
write changed nothing, so that a dry run, in which nothing ever changes, counts the same orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from orderctl.errors import UsageRefused
from orderctl.stores.cache import Advance, Applied, CacheStore, Put
from orderctl.stores.log import LogStore, Outgoing
from orderctl.stores.record import Entry, Kind

EXAMPLES_MAX: Final = 10


class Effect(Struct, frozen=True):
    """An order that is changed, and how, in a few words."""

    order_id: str
    change: str


class Effects:
    """The orders that are changed. Each is kept in memory, by its id."""

    def __init__(self) -> None:
        self._orders: set[str] = set()
        self.examples: list[Effect] = []
        """The first few."""

    def add(self, order_id: str, change: str) -> None:
        """Note that an order is changed."""
        if order_id not in self._orders:
            self._orders.add(order_id)
            if len(self.examples) < EXAMPLES_MAX:
                self.examples.append(Effect(order_id, change))

    def __len__(self) -> int:
        return len(self._orders)


class RecordingLog:
    """As much of a `LogStore` as a daemon needs that parks what it cannot process."""

    def __init__(self, log: LogStore, *, live: bool) -> None:
        self._log = log
        self._live = live

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """As `LogStore.publish`."""
        if self._live:
            self._log.publish(messages)


class RecordingCache:
    """As much of a `CacheStore` as cache-sync needs to apply a batch. Timers are set live, and are not counted."""

    def __init__(self, cache: CacheStore, effects: Effects, *, live: bool) -> None:
        self._cache = cache
        self._effects = effects
        self._live = live

    def sync(self, advances: Sequence[Advance]) -> list[list[Applied] | None]:
        """As `CacheStore.sync`; a group whose node went back in time is not dropped, but left to cache-sync.

        Raises:
            UsageRefused: a group's node went back in time.

        """
        return [self._sync_group(advance) for advance in advances]

    def invalidate(self, order_ids: Sequence[str]) -> int:
        """As `CacheStore.invalidate`."""
        present = self._drop(order_ids)
        return self._cache.invalidate(order_ids) if self._live else present

    def _sync_group(self, advance: Advance) -> list[Applied]:
        puts, group = advance.puts, advance.group
        before = self._entries([put.record.order_id for put in puts])
        changes = [_change(before[put.record.order_id], put) for put in puts]
        self._drop(advance.drops)
        applied = self._applied(advance, changes)
        if applied is None:
            raise UsageRefused(
                f"the cache of group {group} went back in time", hint="replay once cache-sync has dropped the group"
            )
        for put, change, done in zip(puts, changes, applied, strict=True):
            if change is not None and done not in {Applied.NOTHING, Applied.KEPT_NEWER}:
                self._effects.add(put.record.order_id, change)
        return applied

    def _applied(self, advance: Advance, changes: Sequence[str | None]) -> list[Applied] | None:
        if self._live:
            return self._cache.sync([advance])[0]
        [mark] = self._cache.marks([advance.group])
        if mark is None or mark < advance.expected:
            return None
        return [Applied.NOTHING if change is None else Applied.REPLACED for change in changes]

    def _drop(self, order_ids: Sequence[str]) -> int:
        """Note those of these orders that have an entry; returns how many."""
        present = [order_id for order_id, entry in self._entries(order_ids).items() if entry is not None]
        for order_id in present:
            self._effects.add(order_id, "its cached entry is dropped")
        return len(present)

    def _entries(self, order_ids: Sequence[str]) -> dict[str, Entry | _Unreadable | None]:
        """Each order's entry; bytes that mean nothing are told from no entry by their time to live."""
        if not order_ids:
            return {}
        found: dict[str, Entry | _Unreadable | None] = dict(zip(order_ids, self._cache.get(order_ids), strict=True))
        missing = [order_id for order_id, entry in found.items() if entry is None]
        if missing:
            lives = zip(missing, self._cache.ttl_ms(missing), strict=True)
            found |= {order_id: _Unreadable() for order_id, ttl_ms in lives if ttl_ms is not None}
        return found


class _Unreadable(Struct, frozen=True):
    """An entry whose bytes mean nothing."""


def _change(entry: Entry | _Unreadable | None, put: Put) -> str | None:
    """What *apply* makes of the entry, in words; None where its content stays."""
    record = put.record
    if entry is None:
        return None
    if isinstance(entry, _Unreadable) or entry.kind is Kind.ABSENT:
        return "its cached entry, which says nothing of it, is dropped"
    if entry.kind is Kind.LEASE:
        is_raised = record.version > entry.version
        return f"nothing older than version {record.version} is filled in" if is_raised else None
    if record.version < entry.version:
        return None
    if record.version > entry.version:
        return f"cached version {entry.version} becomes {record.version}, {record.status}"
    is_same = (entry.status, entry.merchant, entry.body) == (record.status, record.merchant, record.body)
    return None if is_same else f"cached version {entry.version} gets other bytes"
