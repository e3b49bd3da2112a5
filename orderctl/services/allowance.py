"""A rate that is not exceeded, and nobody waits for it: whoever asks for more than there is goes without (a token bucket)."""

from __future__ import annotations

from typing import Final

from orderctl.clock import Clock

BURST_S: Final = 0.1
"""So much of a second's allowance may be taken at once."""


class Allowance:
    """At most `per_s` in a second; in any second at most a tenth more. Its callers take turns."""

    def __init__(self, clock: Clock, per_s: int) -> None:
        self._clock = clock
        self._per_s = per_s
        self._most = max(1.0, per_s * BURST_S)
        self._left = self._most
        self._at_s = clock.monotonic_s()

    @property
    def is_spent(self) -> bool:
        """Whether nobody would get anything."""
        self._refill()
        return self._left < 1

    def take(self, wanted: int) -> int:
        """As many of them as there are."""
        self._refill()
        taken = min(wanted, int(self._left))
        self._left -= taken
        return taken

    def _refill(self) -> None:
        now_s = self._clock.monotonic_s()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
