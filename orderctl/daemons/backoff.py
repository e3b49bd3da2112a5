"""How long to wait before the next try: twice as long after each failure up to a bound, and never in step with others."""

from __future__ import annotations

from orderctl.ids import RandomBytes


class Backoff:
    """Pauses of `first_s`, twice that, four times that … at most `most_s`, each cut at random to between half and whole."""

    def __init__(self, random: RandomBytes, *, first_s: float = 0.1, most_s: float = 10.0) -> None:
        self._random = random
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next_s(self) -> float:
        """The pause, in seconds, after one more failure."""
        whole_s = self._next_s
        self._next_s = min(whole_s * 2, self._most_s)
        return whole_s * (0.5 + int.from_bytes(self._random(4), "big") / (1 << 33))

    def reset(self) -> None:
        """Begin again: something succeeded."""
        self._next_s = self._first_s
