"""Process memory: copies of committed orders, bounded, and the versions below which this process answers nothing more.

Final orders never change, so that a copy stays until it is evicted or invalidated; a copy of an open one is good for moments.
What remains of a copy is its *floor*, the order's version: the cache may go back in time, and a reader must not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.ids import group_of
from orderctl.metrics import Metrics
from orderctl.order import Status
from orderctl.stores.record import Record

COPY_BYTES: Final = 400
"""What a copy takes beside its order's JSON: the id, the entry, its place in the table (measured: 331 with CPython 3.11)."""
FOREVER: Final = float("inf")
NEVER_YET: Final = float("-inf")


class Kept(StrEnum):
    """What became of an order that was offered."""

    COPY = "copy"
    FLOOR = "floor"
    """Its version alone is kept: an open order whose time was over already, or a copy that is too large."""
    FENCED = "fenced"
    """Its version alone: its group was invalidated after it was asked for, or invalidations are not followed."""
    OLDER = "older"
    """Nothing: a higher version was answered."""


class NearEntry(Struct, gc=False):
    """A copy of an order. Nobody but `NearCache` writes to it."""

    version: int
    status: Status
    merchant: bytes
    body: bytes
    fresh_until_s: float
    was_read: bool = False
    """Since the clock's hand last passed."""


class Ticket(Struct, frozen=True):
    """The moment just before the tiers are asked; `floors` is of those of the orders that have one."""

    asked_s: float
    sequence: int
    floors: dict[str, int]


class NearCache:
    """Copies and floors of orders, for several threads.

    Hits take no lock: they read one dictionary and mark the copy as read, which is all that eviction wants to know. It is
    FIFO with reinsertion (CLOCK): the oldest copy goes, unless it was read since its turn last came. LRU would have to write,
    under a lock, on each hit, and on most published traces of caches it misses more (Yang et al., HotOS 2023).

    It answers nothing and keeps no copies until `turn_on`, and after `turn_off`, and when whoever follows the invalidations
    has not said for a while that he still does. Floors are kept all the same.

    `bytes_max` is of copies; floors, at most `floors_max` (as many as copies, unless told), take about 240 bytes each beside it.

    What floors promise: `put_many` allows no answer that is older than one that it has allowed before, while the order is
    remembered. Forgotten are orders whose floor was pushed out by more than `floors_max` others, and those named in `drop`.
    """

    def __init__(
        self,
        *,
        groups: int,
        orders_max: int,
        bytes_max: int,
        open_ttl_s: float,
        clock: Clock,
        metrics: Metrics,
        floors_max: int | None = None,
    ) -> None:
        self._groups = groups
        self._orders_max = orders_max
        self._bytes_max = bytes_max
        self._floors_max = orders_max if floors_max is None else floors_max
        self._keeps_nothing = orders_max == 0 == self._floors_max
        self._open_ttl_s = open_ttl_s
        self._clock = clock
        self._metrics = metrics
        self._reads = {outcome: metrics.near_reads.labels(outcome) for outcome in ("hit", "miss", "off")}
        self._puts = {outcome: metrics.near_puts.labels(outcome) for outcome in Kept}
        self._guard = threading.Lock()
        self._copies: OrderedDict[str, NearEntry] = OrderedDict()
        self._bytes = 0
        # Copies of open orders, those whose time ends first more or less first.
        self._passing: OrderedDict[str, None] = OrderedDict()
        # Of orders without a copy.
        self._floors: OrderedDict[str, int] = OrderedDict()
        # Counts drops. A load that began before its group's last one may hold what was dropped.
        self._sequence = 0
        self._dropped_at: dict[int, int] = {}
        self._is_on = False
        self._on_since = 0
        self._on_until_s = NEVER_YET

    def get_many(self, order_ids: Sequence[str]) -> list[NearEntry | None]:
        """The copies that are fresh. Each is of the highest version that this process has answered."""
        found = self.recall_many(order_ids)
        if misses := found.count(None):
            self._reads["miss" if self._clock.monotonic_s() < self._on_until_s else "off"].inc(misses)
        return found

    def recall_many(self, order_ids: Sequence[str]) -> list[NearEntry | None]:
        """The same without counting misses, for those who ask again for what they miss."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._on_until_s:
            return [None] * len(order_ids)
        found = [*map(self._copies.get, order_ids)]
        hits = 0
        for place, copy in enumerate(found):
            if copy is None:
                continue
            if copy.fresh_until_s > now_s:
                copy.was_read = True
                hits += 1
            else:
                found[place] = None
        if hits:
            self._reads["hit"].inc(hits)
        return found

    def begin(self, order_ids: Iterable[str]) -> Ticket:
        """To be taken before any tier is asked for these orders, and given to `put_many` with what they said."""
        with self._guard:
            known = () if self._keeps_nothing else order_ids
            floors = {order_id: floor for order_id in known if (floor := self._floor(order_id))}
            return Ticket(self._clock.monotonic_s(), self._sequence, floors)

    def floors(self, order_ids: Iterable[str]) -> list[int]:
        """The highest version of each that was answered, 0 where none is remembered."""
        with self._guard:
            return [self._floor(order_id) for order_id in order_ids]

    def put_many(self, ticket: Ticket, records: Sequence[Record]) -> list[bool]:
        """Keep committed orders, asked for after `ticket` was taken; returns whether each may be answered.

        It may not where a higher version was answered, before the ticket was taken or since. A copy is kept unless an
        invalidation in its group came since then: what was read may be what was to be forgotten.
        """
        if self._keeps_nothing:
            self._puts[Kept.FLOOR].inc(len(records))
            return [True] * len(records)
        with self._guard:
            now_s = self._clock.monotonic_s()
            self._expire(now_s)
            outcomes = [self._put(ticket, record, now_s) for record in records]
            self._make_room(now_s)
            self._measure()
        for outcome, puts in self._puts.items():
            if count := outcomes.count(outcome):
                puts.inc(count)
        return [outcome is not Kept.OLDER for outcome in outcomes]

    def drop(self, order_ids: Iterable[str]) -> None:
        """Forget these orders, floors as well, whose entries are gone from the cache. The ids are canonical."""
        with self._guard:
            self._sequence += 1
            for order_id in order_ids:
                self._dropped_at[group_of(order_id, self._groups)] = self._sequence
                self._floors.pop(order_id, None)
                if order_id in self._copies:
                    self._remove(order_id)
            self._measure()

    def drop_groups(self, groups: Iterable[int]) -> None:
        """Drop all copies of these groups. Floors stay: versions go on growing, whatever happened to the group."""
        with self._guard:
            self._sequence += 1
            gone = set(groups)
            for group in gone:
                self._dropped_at[group] = self._sequence
            for order_id in [order_id for order_id in self._copies if group_of(order_id, self._groups) in gone]:
                self._demote(order_id)
            self._measure()

    def turn_on(self, until_s: float) -> None:
        """Invalidations are followed, and missed in silence by nobody until `until_s` of the monotonic clock.

        To be said again before then. What was loaded before it was first said is not kept.
        """
        with self._guard:
            if not self._is_on:
                self._sequence += 1
                self._on_since, self._is_on = self._sequence, True
            self._on_until_s = until_s
            self._expire(self._clock.monotonic_s())
            self._measure()

    def turn_off(self) -> None:
        """Invalidations may have been missed: drop every copy, and keep none until it is turned on again."""
        with self._guard:
            self._is_on, self._on_until_s = False, NEVER_YET
            for order_id in list(self._copies):
                self._demote(order_id)
            self._measure()

    def _floor(self, order_id: str) -> int:
        copy = self._copies.get(order_id)
        return self._floors.get(order_id, 0) if copy is None else copy.version

    def _put(self, ticket: Ticket, record: Record, now_s: float) -> Kept:
        order_id, version = record.order_id, record.version
        known = self._copies.get(order_id)
        floor = self._floors.get(order_id, 0) if known is None else known.version
        if version < floor or version < ticket.floors.get(order_id, 0):
            return Kept.OLDER
        fresh_until_s = FOREVER if record.status.is_final else ticket.asked_s + self._open_ttl_s
        is_fenced = not self._is_on or (ticket.sequence < self._sequence and self._was_dropped(order_id, ticket))
        if known is not None:
            if known.version == version and (is_fenced or known.fresh_until_s > fresh_until_s):
                return Kept.COPY
            self._remove(order_id)
        if is_fenced or fresh_until_s <= now_s or COPY_BYTES + len(record.body) > self._bytes_max:
            self._remember(order_id, version)
            return Kept.FENCED if is_fenced else Kept.FLOOR
        self._floors.pop(order_id, None)
        self._copies[order_id] = NearEntry(version, record.status, record.merchant, record.body, fresh_until_s)
        self._bytes += COPY_BYTES + len(record.body)
        if fresh_until_s != FOREVER:
            self._passing[order_id] = None
        return Kept.COPY

    def _was_dropped(self, order_id: str, ticket: Ticket) -> bool:
        """Whether its group was, or all was, since the ticket was taken."""
        dropped_at = self._dropped_at.get(group_of(order_id, self._groups), 0)
        return ticket.sequence < max(self._on_since, dropped_at)

    def _expire(self, now_s: float) -> None:
        """Let go of the copies of open orders whose time is over, so that what is held is worth holding."""
        while self._passing and self._copies[order_id := next(iter(self._passing))].fresh_until_s <= now_s:
            self._demote(order_id)

    def _make_room(self, now_s: float) -> None:
        chances = len(self._copies)
        while len(self._copies) > self._orders_max or self._bytes > self._bytes_max:
            order_id, copy = next(iter(self._copies.items()))
            # Readers go on reading meanwhile, and must not keep the hand going round for ever.
            if copy.was_read and copy.fresh_until_s > now_s and chances > 0:
                chances -= 1
                copy.was_read = False
                self._copies.move_to_end(order_id)
            else:
                self._demote(order_id)
                self._metrics.near_evicted.inc()

    def _demote(self, order_id: str) -> None:
        """What remains of a copy is its floor."""
        self._remember(order_id, self._copies[order_id].version)
        self._remove(order_id)

    def _remember(self, order_id: str, version: int) -> None:
        if not self._floors_max:
            return
        self._floors[order_id] = version
        self._floors.move_to_end(order_id)
        if len(self._floors) > self._floors_max:
            self._floors.popitem(last=False)

    def _remove(self, order_id: str) -> None:
        copy = self._copies.pop(order_id)
        self._bytes -= COPY_BYTES + len(copy.body)
        self._passing.pop(order_id, None)

    def _measure(self) -> None:
        self._metrics.near_orders.set(len(self._copies))
        self._metrics.near_bytes.set(self._bytes)
        self._metrics.near_floors.set(len(self._floors))
