"""The sweep: finds by itself, in the rows and by the database's clock, every order whose time-out no event has brought about.

    deadline ──grace──> its own groups' process ──backstop──> any process, whosever group it is

Events are left a grace first, so that what the sweep finds is what they missed. A process sweeps the groups that the log gave
to it, and a little later all groups: while one is killed, or the log is away, nobody has some of them, and orders do not wait.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orderctl.clock import US_PER_S, Clock
from orderctl.ids import RandomBytes
from orderctl.services.timeouts import BATCH, TimeOuts

BACKSTOP_S: Final = 1.0
"""How much later than in its own groups a process sweeps in all. It costs a look at an index while there is nothing to do."""


class SweepSettings(Struct, frozen=True):
    """What the operator may tune. With these defaults an order is swept within 2 to 3 s of its deadline.

    `rate_max` is orders a second for each process, so that an avalanche (all that fell due while the daemons were down) leaves
    the database room for others.
    """

    interval_s: float = 1.0
    grace_s: float = 1.0
    rate_max: float = 10_000.0


class Sweep:
    """Sweeps, a batch a step. Not for several threads."""

    def __init__(self, time_outs: TimeOuts, *, clock: Clock, random: RandomBytes, settings: SweepSettings) -> None:
        self._time_outs = time_outs
        self._clock = clock
        self._random = random
        self._settings = settings
        self._look_at_s = 0.0
        self._backstop_at_s = 0.0

    def step(self, own: frozenset[int] | None) -> float:
        """Sweep `own` groups and, where nobody else does, all; returns how many seconds to wait before the next step.

        None where nobody has said yet which groups are ours.

        Raises:
            TierError: the database failed; the step can be repeated.

        """
        began_s = self._clock.monotonic_s()
        grace_s = self._settings.grace_s
        found = self._sweep(own, grace_s)
        if own is not None and began_s >= self._backstop_at_s:
            others = self._sweep(None, grace_s + BACKSTOP_S)
            self._backstop_at_s = began_s + (0.0 if others else self._settings.interval_s / 2)
            found += others
        if began_s >= self._look_at_s:
            self._look_at_s = began_s + self._settings.interval_s / 2
            self._time_outs.look()
        if found:
            return max(0.0, found / self._settings.rate_max - (self._clock.monotonic_s() - began_s))
        if self._time_outs.tell_cache():
            return 0.0
        return self._settings.interval_s * (0.5 + int.from_bytes(self._random(4), "big") / (1 << 33))

    def _sweep(self, groups: frozenset[int] | None, late_by_s: float) -> int:
        if groups is not None and not groups:
            return 0
        return self._time_outs.overdue(groups, limit=BATCH, late_by_us=int(late_by_s * US_PER_S))
