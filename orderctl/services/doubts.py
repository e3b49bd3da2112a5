"""What looked wrong is looked at again after a while, before it counts: tiers tell of different moments."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from orderctl.clock import Clock

T = TypeVar("T")

WAITING_MAX: Final = 10_000
"""With so many waiting nothing more is looked at before the first of them are settled."""
BATCH_MAX: Final = 500
EARLY_S: Final = 0.001
"""Clocks round: who is due within a moment is due."""


class Doubts(Generic[T]):
    """Items that wait for `lag_s`, and are then handed to `confirm`, some at a time, in the order in which they came."""

    def __init__(self, clock: Clock, lag_s: float, confirm: Callable[[list[T]], None]) -> None:
        self._clock = clock
        self._lag_s = lag_s
        self._confirm = confirm
        self._waiting: deque[tuple[float, T]] = deque()
        self._never = threading.Event()

    @property
    def first(self) -> T | None:
        """What has waited longest."""
        return self._waiting[0][1] if self._waiting else None

    def add(self, item: T) -> None:
        """Let it wait, from now on."""
        self._waiting.append((self._clock.monotonic_s() + self._lag_s, item))

    def settle_due(self) -> None:
        """Confirm those who have waited long enough; where too many wait, wait for the first."""
        while self._waiting and (len(self._waiting) >= WAITING_MAX or self._due_in_s() <= 0):
            self._settle_some()

    def settle_all(self) -> None:
        """Confirm everything, those too that come in from it."""
        while self._waiting:
            self._settle_some()

    def _due_in_s(self) -> float:
        return self._waiting[0][0] - self._clock.monotonic_s()

    def _settle_some(self) -> None:
        """Of the first, and whoever is due with it. What is being confirmed still waits, for whoever is interrupted in it."""
        if (left_s := self._due_in_s()) > 0:
            self._clock.wait(self._never, left_s)
        now_s = self._clock.monotonic_s()
        batch = [item for due_s, item in list(self._waiting)[:BATCH_MAX] if due_s <= now_s + EARLY_S]
        self._confirm(batch)
        for _ in batch:
            self._waiting.popleft()
