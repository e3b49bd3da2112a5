"""Cache-sync: brings the cache to what the log says, a batch of one group at a time, and notices a cache that went back in time.

The cache keeps, beside a group's records, how far the log was applied to them. A node that comes back as it was before (a
fail-over to a replica that lagged, a restart from a snapshot) brings an older mark with it, or none: its group is dropped before
anything else is applied, since nobody can tell which of its records are old.

What is repaired here may have been copied into processes' memories before, so each repair is announced in `orders.invalidated`,
and nothing counts as done until that is acknowledged.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Struct

from orderctl import event
from orderctl.clock import US_PER_S, Clock
from orderctl.errors import TierError, TierUnavailable
from orderctl.event import Op, State
from orderctl.ids import group_of, is_canonical
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.caching import record_ttl_ms
from orderctl.services.invalidation import publish_groups, publish_orders
from orderctl.stores.cache import Advance, Applied, CacheStore, NodesAway, Put
from orderctl.stores.log import CHANGES, PARKED, LogStore, Message, Outgoing, Place
from orderctl.stores.record import Record, record_of
from orderctl.version import NEVER, VERSION_MAX

DAEMON: Final = "cache-sync"
GROUP_EVENTS_MAX: Final = 1_000
"""A node does nothing else while it brings a group on: more events of one group than these are several steps."""
# What decoding and rendering raise for rows that nobody of ours wrote; times outside the calendar are the last two.
_UNREADABLE: Final = (ValueError, OverflowError, OSError)
_parse_metadata = msgspec.json.Decoder(dict[str, str]).decode
_place_of = attrgetter("place")


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
    """What a batch of one group comes to: `first` is its first offset, `reached` the one behind its last."""

    group: int
    first: int
    reached: int
    puts: dict[str, Put] = {}
    """Of each order the newest version."""
    rivals: dict[str, list[Put]] = {}
    """Other contents that came with the same version, in their turn: to be applied, too, so that the conflict is seen."""
    drops: set[str] = set()
    """Orders that the log could not tell of."""
    parked: list[Outgoing] = []
    committed_us: list[int] = []
    """When each change was committed."""

    def add(self, put: Put) -> None:
        """Apply this too, unless the batch has a newer version, against which it would lose anyway."""
        order_id, version = put.record.order_id, put.record.version
        known = self.puts.get(order_id)
        if known is None:
            self.puts[order_id] = put
        elif known.record.version < version:
            self.puts[order_id] = put
            self.rivals.pop(order_id, None)
        elif known.record.version == version:
            rivals = self.rivals.setdefault(order_id, [])
            if (rivals or [known])[-1].record != put.record:
                rivals.append(put)


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
        for place, run in groupby(messages, _place_of):
            batches.setdefault(place, []).extend(run)
        for at in range(0, max(map(len, batches.values()), default=0), GROUP_EVENTS_MAX):
            parts = {place: batch[at : at + GROUP_EVENTS_MAX] for place, batch in batches.items() if at < len(batch)}
            self._apply_parts(parts)
        return {place: batch[-1].offset + 1 for place, batch in batches.items()}

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

    def _apply_parts(self, parts: Mapping[Place, Sequence[Message]]) -> None:
        """Apply what is in hand of each group, all groups in one call."""
        works = [self._read(place, part) for place, part in parts.items()]
        if parked := [copy for work in works for copy in work.parked]:
            self._log.publish(parked)
            self._metrics.parked.inc(len(parked))
        if elsewhere := [
            order_id for work in works for order_id in work.drops if not self._is_of(work.group, order_id)
        ]:
            # No mark covers these: a message that is not in its order's partition is behind no offset of that order's group.
            self._cache.invalidate(elsewhere)
        self._sync(works)
        self._announce()
        now_us = self._clock.now_us()
        lags_s = [max(0, now_us - committed_us) / US_PER_S for work in works for committed_us in work.committed_us]
        self._metrics.cache_lag_seconds.observe_all(lags_s)

    def _sync(self, works: Sequence[_Work]) -> None:
        """Bring the groups on; those whose node went back in time are dropped before, also where another node is away."""
        gone_back, failure = self._send(works)
        if gone_back:
            self._drop_groups([work.group for work in gone_back])
            again, failure_again = self._send(gone_back)
            if again:
                which = ", ".join(str(work.group) for work in again)
                raise TierUnavailable("cache", f"group {which} went back in time twice; it is looked at again")
            failure = failure or failure_again
        if failure is not None:
            raise failure

    def _send(self, works: Sequence[_Work]) -> tuple[list[_Work], NodesAway | None]:
        """Bring the groups on; returns those whose node went back in time, and the failure where some nodes did not answer."""
        advances = [self._advance(work) for work in works]
        outcomes: Sequence[list[Applied] | TierError | None]
        failure: NodesAway | None = None
        try:
            outcomes = self._cache.sync(advances)
        except NodesAway as away:
            outcomes, failure = away.outcomes, away
        for work, advance, applied in zip(works, advances, outcomes, strict=True):
            if isinstance(applied, list):
                self._note(work, advance, applied)
        return [work for work, applied in zip(works, outcomes, strict=True) if applied is None], failure

    def _advance(self, work: _Work) -> Advance:
        # Whoever had the partition last may have gone further than this process remembers, and then we read on from there.
        expected = self._reached[work.group] = max(work.first, self._reached.get(work.group, work.first))
        puts = [*work.puts.values(), *chain.from_iterable(work.rivals.values())]
        drops = [order_id for order_id in work.drops if self._is_of(work.group, order_id)]
        return Advance(work.group, puts, expected, work.reached, drops)

    def _note(self, work: _Work, advance: Advance, applied: Sequence[Applied]) -> None:
        """What was done to a group: the repairs among it are to be announced."""
        self._reached[work.group] = max(advance.expected, work.reached)
        self._repaired.update(work.drops)
        if conflicts := applied.count(Applied.CONFLICT):
            self._metrics.equal_version_conflicts.inc(conflicts)
            self._repaired.update(
                put.record.order_id for put, done in zip(advance.puts, applied, strict=True) if done is Applied.CONFLICT
            )

    def _is_of(self, group: int, order_id: str) -> bool:
        return group_of(order_id, self._groups) == group

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

    def _read(self, place: Place, part: Sequence[Message]) -> _Work:
        """What there is to apply, and what is to be parked.

        An order that a parked message may be about is dropped: readers go to the database for it, and the rest flows on.
        """
        now_us = self._clock.now_us()
        work = _Work(place.partition, part[0].offset, part[-1].offset + 1)
        for message in part:
            state: State | None = None
            try:
                state = event.decode_state(message.value)
                self._check_place(message, state.order)
                if state.op is not Op.DELETE:
                    work.add(Put(_checked_record(state.order), record_ttl_ms(state.order, now_us, self._record_ttl_ms)))
                    if state.committed_us > 0:
                        work.committed_us.append(state.committed_us)
            except _UNREADABLE as error:
                work.parked.append(park(message, daemon=DAEMON, reason=str(error), now_us=now_us))
                work.drops.update(_suspects(message, state))
        return work

    def _check_place(self, message: Message, order: Order) -> None:
        order_id, place = order.order_id, message.place
        if not is_canonical(order_id):
            raise ValueError(f"the row's order_id is not an order id: {order_id[:80]!r}")
        if group_of(order_id, self._groups) != place.partition or place.topic != CHANGES:
            raise ValueError(f"order {order_id} does not belong into {place}")
        if message.key != order_id.encode():
            raise ValueError(f"the key is not the row's order id, {order_id}")


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


def _suspects(message: Message, state: State | None) -> Iterable[str]:
    """The orders that a message which cannot be processed may be about."""
    named = [message.key.decode(errors="replace"), *([state.order.order_id] if state is not None else [])]
    return filter(is_canonical, map(str.lower, named))


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
