"""Which orders a comparison is of, where it goes on from, and how fast it may go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import UsageRefused
from orderctl.ids import created_ms, is_canonical

_SAMPLES: Final = 1 << 32


class Scope(Struct, frozen=True):
    """Orders of these groups (None: all), created at `since_ms` (Unix) or later, and of those the share `sample`.

    The sample is by the order's id: the same orders each time, and of a larger share all those of a smaller one.
    """

    groups: frozenset[int] | None = None
    since_ms: int = 0
    sample: float = 1.0

    def has(self, order_id: str) -> bool:
        """Whether the order is one of them, if it is of their groups."""
        if created_ms(order_id) < self.since_ms:
            return False
        digest = blake2b(order_id.encode(), digest_size=4).digest() if self.sample < 1 else b""
        return int.from_bytes(digest, "big") < self.sample * _SAMPLES

    @property
    def before_first(self) -> str | None:
        """What all their ids come behind, as text of an id; None where that is any."""
        if not self.since_ms:
            return None
        digits = f"{self.since_ms:012x}"
        return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


class Phase(StrEnum):
    """What is compared, in this order."""

    CACHE = "cache"
    """Every record of the cache with its source, group by group."""
    OPEN = "open"
    """Every open order with the cache, by id."""
    ARCHIVE = "archive"
    """The hot store with the archive."""


class Place(Struct, frozen=True):
    """Where a comparison is: everything before it is done. It is all that there is to know, so no file has to hold it."""

    phase: Phase = Phase.CACHE
    group: int = 0
    after: str | None = None

    def __str__(self) -> str:
        match self.phase:
            case Phase.CACHE:
                return f"cache:{self.group}"
            case Phase.OPEN if self.after is not None:
                return f"open:{self.after}"
            case _:
                return str(self.phase)

    @staticmethod
    def parse(text: str) -> Place:
        """The place that `str` wrote.

        Raises:
            UsageRefused: it is none.

        """
        phase, _, rest = text.partition(":")
        if phase == Phase.CACHE and rest.isascii() and rest.isdigit():
            return Place(Phase.CACHE, group=int(rest))
        if phase == Phase.OPEN and (not rest or is_canonical(rest)):
            return Place(Phase.OPEN, after=rest or None)
        if text == Phase.ARCHIVE:
            return Place(Phase.ARCHIVE)
        raise UsageRefused(f"{text!r} is no place to go on from", hint="an interrupted reconcile says it: cache:17")


class Pace:
    """Counts what was looked at, tells of it, and holds up whoever is faster than `rps` (None: nobody is) orders a second."""

    def __init__(self, clock: Clock, rps: float | None, progress: Callable[[int], None]) -> None:
        self._clock = clock
        self._rps = rps
        self._progress = progress
        self.done = 0
        self._began_s = clock.monotonic_s()

    def went(self, count: int) -> None:
        """So many more were looked at."""
        self.done += count
        self._progress(self.done)
        if self._rps is not None:
            ahead_s = self.done / self._rps - (self._clock.monotonic_s() - self._began_s)
            if ahead_s > 0:
                self._clock.wait(threading.Event(), ahead_s)
