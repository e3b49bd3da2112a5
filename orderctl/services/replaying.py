"""Replay: a range of the log once more through a daemon's own code, without its group noticing.

Partitions take turns, whoever is furthest behind in time first, so that at each moment all before some time is done: there a
replay that was stopped goes on. What the group itself has not read yet is left to it; all before that may come twice, as always.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from orderctl.errors import UsageRefused
from orderctl.services.recording import Effects
from orderctl.stores.log import LogStore, Message, Place

PAGE: Final = 1_000


class AtTime(Struct, frozen=True):
    """The messages of all partitions from a time on, Unix milliseconds."""

    ts_ms: int


class AtOffset(Struct, frozen=True):
    """The messages of one partition from an offset on."""

    partition: int
    offset: int


Point = AtTime | AtOffset


class Span(Struct, frozen=True):
    """Messages of one partition, up to before `end`. `group_at` is how far the group has read."""

    place: Place
    begin: int
    end: int
    group_at: int

    @property
    def events(self) -> int:
        """How many, if none is missing in between."""
        return max(0, self.end - self.begin)


class Passage(Protocol):
    """A daemon's code, and what it does to the messages that pass through it."""

    @property
    def effects(self) -> Effects:
        """The orders that it changes, or would change."""
        ...

    @property
    def is_settled(self) -> bool:
        """Whether all that was taken is done."""
        ...

    def take(self, messages: Sequence[Message]) -> None:
        """Do what the messages of a partition ask for.

        Raises:
            TierError: a tier failed; some of it may be done, and all of it may come again.

        """
        ...

    def finish(self) -> None:
        """Bring to its end what was begun.

        Raises:
            TierError: a tier failed.

        """
        ...


def spans(log: LogStore, topic: str, group: str, begin: Point, end: Point | None) -> list[Span]:
    """The range from `begin` to before `end` (None: what is there now), as far as the log still has it and the group has read it.

    Raises:
        UsageRefused: the two name different partitions, or one that is not there.
        TierError: the log failed.

    """
    ends, committed = log.ends(topic), log.committed(group, topic)
    chosen = {point.partition for point in (begin, end) if isinstance(point, AtOffset)}
    if len(chosen) > 1:
        raise UsageRefused("--from and --to name different partitions")
    if chosen and max(chosen) >= len(ends):
        raise UsageRefused(f"{topic} has no partition {max(chosen)}: they are 0-{len(ends) - 1}")
    found: list[Span] = []
    for number in sorted(chosen) if chosen else range(len(ends)):
        first, last = ends[number]
        place, group_at = Place(topic, number), committed[number] or 0
        from_ = max(first, _offset(log, place, begin))
        to = min(last, group_at, last if end is None else _offset(log, place, end))
        found.append(Span(place, from_, max(from_, to), group_at))
    return found


class Replay:
    """One pass over some spans. Not for several threads."""

    def __init__(self, log: LogStore, passage: Passage, spans: Sequence[Span], begin: Point) -> None:
        self._log = log
        self._passage = passage
        self._spans = {span.place.partition: span for span in spans}
        since_ms = begin.ts_ms if isinstance(begin, AtTime) else 0
        # Of each partition that is not done: when its next message was published, or before that, and its offset.
        self._ahead = [(since_ms, span.place.partition, span.begin) for span in spans if span.events]
        heapq.heapify(self._ahead)
        self._orders: set[bytes] = set()
        self.events = 0
        self.stopped_at: Point | None = begin
        """Where a replay of the rest begins; None once everything is done."""

    @property
    def orders(self) -> int:
        """How many orders the events were about, by their keys."""
        return len(self._orders)

    def run(self, progress: Callable[[int], None]) -> None:
        """Pass everything through; `progress` is told how many events were. Interrupted, see `stopped_at`.

        Raises:
            UsageRefused: it cannot go on.
            TierError: a tier failed.

        """
        while self._ahead:
            self._pass_a_page()
            if self._passage.is_settled:
                self.stopped_at = self._next()
            progress(self.events)
        self._passage.finish()
        self.stopped_at = None

    def _pass_a_page(self) -> None:
        ts_ms, number, offset = self._ahead[0]
        span = self._spans[number]
        read = self._log.read(span.place, offset, min(PAGE, span.end - offset))
        # Where messages are missing a read goes on behind the end.
        messages = [message for message in read if message.offset < span.end]
        if messages:
            self._passage.take(messages)
            self.events += len(messages)
            self._orders.update(message.key for message in messages)
            ts_ms, offset = max(ts_ms, messages[-1].ts_ms), messages[-1].offset + 1
        if messages and offset < span.end:
            heapq.heapreplace(self._ahead, (ts_ms, number, offset))
        else:
            heapq.heappop(self._ahead)

    def _next(self) -> Point | None:
        if not self._ahead:
            return None
        ts_ms, number, offset = self._ahead[0]
        return AtOffset(number, offset) if len(self._spans) == 1 else AtTime(ts_ms)


def _offset(log: LogStore, place: Place, point: Point) -> int:
    return point.offset if isinstance(point, AtOffset) else log.offset_at(place, point.ts_ms)
