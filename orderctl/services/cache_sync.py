"""Cache-sync: brings the cache to what the log says, a batch of one group at a time, and notices a cache that went back in time.

The cache keeps, beside a group's records, how far the log was applied to them. A node that comes back as it was before (a
fail-over to a replica that lagged, a restart from a snapshot) brings an older mark with it, or none: its group is dropped before
anything else is applied, since nobody can tell which of its records are old.

What is repaired here may have been copied into processes' memories before, so each repair is announced in `orders.invalidated`,
and nothing counts as done until that is acknowledged.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from orderctl import event
from orderctl.clock import US_PER_S, Clock
from orderctl.errors import TierUnavailable
from orderctl.event import ChangeEvent, Op
from orderctl.ids import group_of, is_canonical
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.caching import record_ttl_ms
from orderctl.services.invalidation import publish_groups, publish_orders
from orderctl.stores.cache import Applied, CacheStore, Put
from orderctl.stores.log import CHANGES, PARKED, LogStore, Message, Outgoing, Place
from orderctl.stores.record import Record, record_of
from orderctl.version import NEVER, VERSION_MAX

DAEMON: Final = "cache-sync"
# What decoding and rendering raise for rows that nobody of ours wrote; times outside the calendar are the last two.
_UNREADABLE: Final = (ValueError, OverflowError, OSError)
_parse_metadata = msgspec.json.Decoder(dict[str, str]).decode


class Parked(Struct, frozen=True):
    """A message that could not be processed, as `orders.parked` keeps it. `value` is base64, `parked_at` Unix microseconds."""

    topic: str
    partition: int
    offset: int
    order_id: str
    daemon: str
    reason: str
    parked_at: int
    value: str
    headers: dict[str, str]


class _Work(Struct):
    """What a batch of one group comes to."""

    puts: dict[str, list[Put]] = {}
    """Of each order the newest version; more than one where that version came with different contents."""
    drops: set[str] = set()
    """Orders that the log could not tell of."""
    parked: list[Outgoing] = []
    committed_us: list[int] = []
    """When each change was committed."""

    def add(self, put: Put) -> None:
        """Apply this too, unless the batch has a newer version, against which it would lose anyway."""
        order_id, version = put.record.order_id, put.record.version
        known = self.puts.get(order_id)
        if known is None or known[-1].record.version < version:
            self.puts[order_id] = [put]
        elif known[-1].record.version == version and known[-1].record != put.record:
            known.append(put)


class CacheSync:
    """Applies batches of `orders.changes`. Each is safe to repeat, whole or in part. Not for several threads."""

    def __init__(
        self, cache: CacheStore, log: LogStore, *, groups: int, clock: Clock, metrics: Metrics, record_ttl_ms: int
    ) -> None:
        self._cache = cache
        self._log = log
        self._groups = groups
        self._clock = clock
        self._metrics = metrics
        self._record_ttl_ms = record_ttl_ms
        self._reached: dict[int, int] = {}
        # Repaired, and not announced yet: orders, and groups whose records were dropped.
        self._repaired: set[str] = set()
        self._dropped: set[int] = set()

    def take(self, place: Place, offset: int | None) -> None:
        """The partition came to this process; everything before `offset` was applied by whoever had it.

        None is a partition of which nobody has committed anything yet: the group begins anew, with its first mark.

        Raises:
            TierError: the cache failed; the partition is to be taken again.

        """
        if offset is None:
            self._cache.reset_group(place.partition, mark=0)
        self._reached[place.partition] = offset or 0

    def leave(self, place: Place) -> None:
        """The partition went to another process."""
        self._reached.pop(place.partition, None)
        self._dropped.discard(place.partition)

    def apply(self, messages: Sequence[Message]) -> dict[Place, int]:
        """Apply messages that were polled; returns the offsets to commit.

        Raises:
            TierError: a tier failed; some of it may be done, and all of it may come again.

        """
        batches: dict[Place, list[Message]] = {}
        for message in messages:
            batches.setdefault(message.place, []).append(message)
        return {place: self._apply_group(place.partition, batch) for place, batch in batches.items()}

    def watch(self) -> int:
        """Compare every group's mark with what was applied, and drop the groups whose node went back; returns how many.

        Raises:
            TierError: the cache failed; what was not looked at yet is looked at the next time.

        """
        groups = sorted(self._reached)
        marks = self._cache.marks(groups)
        gone_back = [g for g, mark in zip(groups, marks, strict=True) if mark is None or mark < self._reached[g]]
        self._drop_groups(gone_back)
        return len(gone_back)

    def _apply_group(self, group: int, batch: Sequence[Message]) -> int:
        work = self._read(batch)
        if work.parked:
            self._log.publish(work.parked)
            self._metrics.parked.inc(len(work.parked))
        if elsewhere := [order_id for order_id in work.drops if group_of(order_id, self._groups) != group]:
            # No mark covers these: a message that is not in its order's partition is behind no offset of that order's group.
            self._cache.invalidate(elsewhere)
        reached = batch[-1].offset + 1
        applied = self._sync(group, work, first=batch[0].offset, reached=reached)
        self._announce()
        now_us = self._clock.now_us()
        for committed_us in work.committed_us:
            self._metrics.cache_lag_seconds.observe(max(0, now_us - committed_us) / US_PER_S)
        self._metrics.equal_version_conflicts.inc(applied.count(Applied.CONFLICT))
        return reached

    def _sync(self, group: int, work: _Work, *, first: int, reached: int) -> list[Applied]:
        """Bring the group to `reached`; where its node went back in time it is dropped before."""
        # Whoever had the partition last may have gone further than this process remembers, and then we read on from there.
        expected = self._reached[group] = max(first, self._reached.get(group, first))
        puts = [put for versions in work.puts.values() for put in versions]
        drops = [order_id for order_id in work.drops if group_of(order_id, self._groups) == group]
        applied = self._cache.sync(group, puts, expected=expected, reached=reached, drops=drops)
        if applied is None:
            self._drop_groups([group])
            applied = self._cache.sync(group, puts, expected=expected, reached=reached, drops=drops)
        if applied is None:
            raise TierUnavailable("cache", f"group {group} went back in time twice; it is looked at again")
        self._reached[group] = max(expected, reached)
        self._repaired.update(work.drops)
        self._repaired.update(
            put.record.order_id for put, done in zip(puts, applied, strict=True) if done is Applied.CONFLICT
        )
        return applied

    def _announce(self) -> None:
        """Have the copies of what was repaired forgotten. If that fails the batch does, and all of it is announced later."""
        if self._repaired:
            publish_orders(self._log, sorted(self._repaired), self._groups)
            self._repaired.clear()

    def _drop_groups(self, groups: Sequence[int]) -> None:
        """Drop what the cache holds of these groups, and have it forgotten everywhere.

        Until that is acknowledged their marks stay too low: whoever comes after a process that was killed in between drops them
        again. This process does so only where the node went back once more, and leaves alone what readers have loaded since.
        """
        for group, mark in zip(groups, self._cache.marks(groups), strict=True):
            if group not in self._dropped or mark != self._mark_before(group):
                self._count_dropped(self._cache.reset_group(group, mark=self._mark_before(group)))
                self._dropped.add(group)
        publish_groups(self._log, groups)
        for group in groups:
            self._count_dropped(self._cache.reset_group(group, mark=self._reached[group]))
            self._dropped.discard(group)
            self._metrics.groups_dropped.inc()

    def _mark_before(self, group: int) -> int:
        """A mark that is too low, if there is one: where nothing was applied yet there is nothing that could be wrong."""
        return max(0, self._reached[group] - 1)

    def _count_dropped(self, entries: int) -> None:
        self._metrics.records_dropped.inc(entries)

    def _read(self, batch: Iterable[Message]) -> _Work:
        """What there is to apply, and what is to be parked.

        An order that a parked message may be about is dropped: readers go to the database for it, and the rest flows on.
        """
        work, now_us = _Work(), self._clock.now_us()
        for message in batch:
            suspects = [message.key.decode(errors="replace")]
            try:
                change = event.decode(message.value)
                suspects.append(change.order.order_id)
                self._check_place(message, change.order)
                if change.op is not Op.DELETE:
                    work.add(self._put(change.order, now_us))
                    work.committed_us.extend(_committed_us(change))
            except _UNREADABLE as error:
                work.parked.append(park(message, daemon=DAEMON, reason=str(error), now_us=now_us))
                work.drops.update(filter(is_canonical, map(str.lower, suspects)))
        return work

    def _put(self, order: Order, now_us: int) -> Put:
        return Put(_checked_record(order), record_ttl_ms(order, now_us, self._record_ttl_ms))

    def _check_place(self, message: Message, order: Order) -> None:
        if not is_canonical(order.order_id):
            raise ValueError(f"the row's order_id is not an order id: {order.order_id[:80]!r}")
        if message.place != Place(CHANGES, group_of(order.order_id, self._groups)):
            raise ValueError(f"order {order.order_id} does not belong into {message.place}")
        if message.key != order.order_id.encode():
            raise ValueError(f"the key is not the row's order id, {order.order_id}")


def park(message: Message, *, daemon: str, reason: str, now_us: int) -> Outgoing:
    """The copy of `message` for `orders.parked`, in the same partition. What is no text in its key is replaced in `order_id`."""
    copy = Parked(
        topic=message.place.topic,
        partition=message.place.partition,
        offset=message.offset,
        order_id=message.key.decode(errors="replace"),
        daemon=daemon,
        reason=reason.encode(errors="replace").decode(),
        parked_at=now_us,
        value=base64.b64encode(message.value).decode(),
        headers={name: value.decode(errors="replace") for name, value in message.headers},
    )
    return Outgoing(Place(PARKED, message.place.partition), message.key, msgspec.json.encode(copy))


def _committed_us(change: ChangeEvent) -> list[int]:
    """When the change was committed, if its source says so."""
    return [change.source.ts_us] if change.source.ts_us > 0 else []


def _checked_record(order: Order) -> Record:
    """The order's record, as readers may be sent it.

    Raises:
        ValueError: a column holds what no order has.

    """
    if not NEVER < order.version <= VERSION_MAX:
        raise ValueError(f"version {order.version} is outside 1 … {VERSION_MAX}")
    # It is put into the body as it is: what is more or less than JSON there would spoil the answer.
    _parse_metadata(order.metadata)
    return record_of(order)
