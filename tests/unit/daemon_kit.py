"""What tests of daemons share: fixed randomness, metrics, embedded tiers in memory, and work that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.daemons.base import Context
from orderctl.daemons.loop import Loop
from orderctl.metrics import Metrics
from orderctl.stores.tiers import Tiers

Outcome = float | Exception


def half(size: int) -> bytes:
    """Randomness that always says: halfway."""
    return b"\x80" + bytes(size - 1)


def new_metrics() -> Metrics:
    """Metrics in a registry of their own."""
    return Metrics(CollectorRegistry())


def context_of(tiers: Tiers, clock: ManualClock, config: Config | None = None) -> Context:
    """What a daemon is given."""
    return Context(config=config or Config(), tiers=tiers, clock=clock, metrics=new_metrics(), random=half)


class Script:
    """Work whose steps end as told, one after another; then it stops its loop."""

    name = "script"

    def __init__(self, outcomes: Sequence[Outcome], *, during: Callable[[], None] | None = None) -> None:
        self._outcomes: Iterator[Outcome] = iter(outcomes)
        self._during = during
        self.loop: Loop | None = None
        self.steps = 0
        self.drained = 0
        self.at_drain: Exception | None = None

    def step(self) -> float:
        outcome = next(self._outcomes, None)
        assert self.loop is not None
        if outcome is None:
            self.loop.stop()
            return 0
        self.steps += 1
        if self._during is not None:
            self._during()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def drain(self) -> None:
        self.drained += 1
        if self.at_drain is not None:
            raise self.at_drain


def looped(script: Script, clock: ManualClock, *, metrics: Metrics | None = None, step_s_max: float = 60.0) -> Loop:
    """A loop around `script`."""
    metrics = metrics or new_metrics()
    script.loop = Loop(script, clock=clock, random=half, metrics=metrics, step_s_max=step_s_max)
    return script.loop
