"""Waiting for a server: until it is so, until the time is up, or until somebody gives up."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from orderctl.clock import Clock
from orderctl.duration import Duration
from orderctl.errors import Interrupted, TierUnavailable
from orderctl.stack.tail import last_lines

LOOK_S: Final = 0.1
"""How often a condition is looked at."""
_TAIL_LINES: Final = 3


class Wait:
    """How long the work on one server may take. `given_up` ends it earlier, from another thread."""

    def __init__(self, name: str, *, limit_s: float, clock: Clock, given_up: threading.Event) -> None:
        self.name = name
        self._limit_s = limit_s
        self._clock = clock
        self._given_up = given_up
        self._began_s = clock.monotonic_s()

    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return self._clock.monotonic_s() - self._began_s

    def until(self, condition: Callable[[], bool], *, what: str, log: Path | None = None) -> None:
        """Return as soon as the condition holds. A refused or broken connection is a "not yet".

        Raises:
            TierUnavailable: the time is up; the message says for `what`, and what stands last in `log`.
            Interrupted: somebody gave up.

        """
        while not _holds(condition):
            if self._clock.wait(self._given_up, LOOK_S):
                raise Interrupted
            if self.elapsed_s() > self._limit_s:
                raise self.failed(f"not {what} within {Duration(self._limit_s)}", log)

    def run(self, command: Sequence[str], *, log: Path, what: str) -> None:
        """Run a program to its end; what it writes goes to `log`.

        Raises:
            TierUnavailable: it failed, or the time is up.
            Interrupted: somebody gave up.

        """
        with (
            log.open("ab") as output,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            ) as program,
        ):
            try:
                self.until(lambda: program.poll() is not None, what=what, log=log)
            finally:
                if program.poll() is None:
                    os.killpg(program.pid, signal.SIGKILL)  # what it has started would go on writing
        if program.returncode:
            raise self.failed(f"not {what}: {command[0]} ended with {program.returncode}", log)

    def failed(self, message: str, log: Path | None) -> TierUnavailable:
        """The error that says so, with the last lines of `log` and where to find the rest."""
        if log is None:
            return TierUnavailable(self.name, message)
        return TierUnavailable(self.name, f"{message}: {last_words(log)}", hint=f"the whole of it is in {log}")


def last_words(log: Path) -> str:
    """The last lines of a log, in one."""
    said = [line.strip() for line in last_lines(log, 4 * _TAIL_LINES) if line.strip()]
    return " | ".join(said[-_TAIL_LINES:]) or "it said nothing"


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (OSError, ValueError):
        return False
