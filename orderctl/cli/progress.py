"""How far long work is: a line every few seconds on stderr, with the rate and the time left."""

from __future__ import annotations

from typing import Final

from orderctl.cli.output import note
from orderctl.clock import Clock

EVERY_S: Final = 2.0


class Progress:
    """Of `total` things, as far as that is known beforehand."""

    def __init__(self, what: str, total: int, clock: Clock) -> None:
        self._what = what
        self._total = total
        self._clock = clock
        self._began_s = self._said_s = clock.monotonic_s()

    def note(self, done: int, total: int | None = None) -> None:
        """So many are done by now, of `total`, where more is known of that than before."""
        self._total = self._total if total is None else total
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s < EVERY_S:
            return
        self._said_s = now_s
        rate = done / (now_s - self._began_s)
        left_s = max(0, self._total - done) / rate if rate else 0
        if self._total:
            note(f"{done:,} of {self._total:,} {self._what}, {rate:,.0f} a second, {left_s:,.0f} s left")
        else:
            note(f"{done:,} {self._what}, {rate:,.0f} a second")
