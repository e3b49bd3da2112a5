"""The loop around a daemon's steps: pauses, back-off, health, and the one place where any exception is caught."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import structlog
from msgspec import Struct, structs

from orderctl.clock import Clock
from orderctl.daemons.backoff import Backoff
from orderctl.errors import TierError, UsageRefused
from orderctl.ids import RandomBytes
from orderctl.metrics import Metrics

_log = structlog.stdlib.get_logger(__name__)


class State(StrEnum):
    """How a daemon is."""

    STARTING = "starting"
    """No step has succeeded yet."""
    RUNNING = "running"
    FAILING = "failing"
    """The last step failed."""
    DRAINING = "draining"
    STOPPED = "stopped"


class Health(Struct, frozen=True):
    """How a daemon's steps went. Times are Unix microseconds; `tier` is the one that failed last, if it was one."""

    state: State = State.STARTING
    last_success_at: int | None = None
    last_error: str | None = None
    last_error_at: int | None = None
    tier: str | None = None
    failures_in_a_row: int = 0


class Work(Protocol):
    """What a loop runs."""

    @property
    def name(self) -> str: ...
    def step(self) -> float: ...
    def drain(self) -> None: ...


def do_nothing() -> None:
    """The hook of a loop that nobody watches."""


class Loop:
    """Runs `work` in one thread until told to stop. Everything but `run` may be asked from any thread."""

    def __init__(
        self,
        work: Work,
        *,
        clock: Clock,
        random: RandomBytes,
        metrics: Metrics,
        step_s_max: float = 60.0,
        pause_s_max: float = 10.0,
        on_change: Callable[[], None] = do_nothing,
    ) -> None:
        """`on_change` is called, in the loop's thread, whenever the state changed.

        A step that has run for `step_s_max` hangs; after one that failed the next begins within `pause_s_max`.
        """
        self._work = work
        self._clock = clock
        self._metrics = metrics
        self._step_s_max = step_s_max
        self._on_change = on_change
        self._backoff = Backoff(random, most_s=pause_s_max)
        self._stop = threading.Event()
        self._step_began_s: float | None = None
        self.name = work.name
        self.health = Health()
        self.refusal: UsageRefused | None = None
        """Why the daemon gave up for good, if it did."""

    def stop(self) -> None:
        """Let `run` drain and return after the step that is under way."""
        self._stop.set()

    def run(self) -> None:
        """Step, wait, step … until `stop`, or until a step refuses; then drain."""
        with structlog.contextvars.bound_contextvars(daemon=self.name):
            try:
                while not self._stop.is_set():
                    pause_s = self._attempt()
                    if self.refusal is not None:
                        break
                    self._clock.wait(self._stop, pause_s)
                self._become(State.DRAINING)
                self._drain()
            finally:
                self._become(State.STOPPED)

    def not_alive(self) -> list[str]:
        """Why the daemon will not go on by itself: a step that hangs, or a loop that ended without being told to."""
        began_s = self._step_began_s
        if began_s is not None:
            running_s = self._clock.monotonic_s() - began_s
            if running_s > self._step_s_max:
                return [f"{self.name}: a step has been running for {running_s:.0f} s"]
        if self.health.state is State.STOPPED and not self._stop.is_set():
            return [f"{self.name}: {self.health.last_error or 'its loop has ended'}"]
        return []

    def not_ready(self) -> list[str]:
        """Why the daemon is of no use yet: no step has succeeded. What a later failure means is not the loop's to say."""
        if self.health.last_success_at is not None:
            return []
        return [f"{self.name}: {self.health.last_error or 'its first step is under way'}"]

    def failing(self) -> list[str]:
        """Why the last step failed, and by which tier; empty where it did not."""
        return [f"{self.name}: {self.health.last_error}"] if self.health.state is State.FAILING else []

    def _attempt(self) -> float:
        """Run one step; returns how long to wait before the next."""
        self._step_began_s = self._clock.monotonic_s()
        try:
            pause_s = self._work.step()
        except UsageRefused as error:
            self.refusal = error
            return self._failed(error.message)
        except TierError as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            pause_s = self._failed(str(error), tier=error.tier)
            _log.warning("step failed", error=str(error), hint=error.hint, next_try_s=round(pause_s, 3))
            return pause_s
        except Exception as error:  # noqa: BLE001  the one broad catch: a fault of ours must not end the daemon
            pause_s = self._failed(f"{type(error).__name__}: {error}")
            self._metrics.daemon_faults.labels(self.name, type(error).__name__).inc()
            _log.exception("step failed by a fault of ours", next_try_s=round(pause_s, 3))
            return pause_s
        finally:
            self._step_began_s = None
        self._succeeded()
        return pause_s

    def _succeeded(self) -> None:
        self._backoff.reset()
        if self.health.failures_in_a_row:
            _log.info("recovered", failures=self.health.failures_in_a_row)
        self.health = structs.replace(self.health, last_success_at=self._clock.now_us(), failures_in_a_row=0)
        self._become(State.RUNNING)

    def _failed(self, what: str, *, tier: str | None = None) -> float:
        self.health = structs.replace(
            self.health,
            last_error=what,
            last_error_at=self._clock.now_us(),
            tier=tier,
            failures_in_a_row=self.health.failures_in_a_row + 1,
        )
        self._become(State.FAILING)
        return self._backoff.next_s()

    def _drain(self) -> None:
        try:
            self._work.drain()
        except TierError as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            _log.warning("draining failed", error=str(error))
        except Exception as error:  # noqa: BLE001  as above: the other daemons drain all the same
            self._metrics.daemon_faults.labels(self.name, type(error).__name__).inc()
            _log.exception("draining failed by a fault of ours")

    def _become(self, state: State) -> None:
        if self.health.state is not state:
            self.health = structs.replace(self.health, state=state)
            self._on_change()
