"""Time as an argument: every part that asks for the time is given a Clock, so that tests hold the hands."""

from __future__ import annotations

import threading
import time
from typing import Protocol

US_PER_S = 1_000_000


class Clock(Protocol):
    """Two kinds of time: the wall's, which people and other machines share, and one that only goes forward."""

    def now_us(self) -> int:
        """Unix time in microseconds, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until `event` is set or `seconds` have passed; returns whether it is set."""
        ...


class SystemClock:
    """This machine's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


class ManualClock:
    """A clock that moves only when told to, and by every wait."""

    def __init__(self, now_us: int = 1_700_000_000 * US_PER_S) -> None:
        self._now_us = now_us
        self._elapsed_us = 0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._elapsed_us / US_PER_S

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.advance(seconds)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now_us += int(seconds * US_PER_S)
        self._elapsed_us += int(seconds * US_PER_S)

    def set_wall(self, now_us: int) -> None:
        """Put the wall clock to `now_us`, as an administrator or NTP does; the monotonic one does not notice."""
        self._now_us = now_us
