"""Signals: the first SIGTERM or Ctrl-C asks for a drain, a second one ends the process at once with exit code 130.

At once means as a SIGKILL would, without unwinding: what was acknowledged is durable already, and what was not is as if the
machine had failed. A signal that comes while the process still starts is kept until somebody can obey it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from orderctl.daemons.loop import do_nothing

EXIT_AT_ONCE: Final = 130
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Holds the process's signal handlers while it is entered; in the main thread only."""

    def __init__(self) -> None:
        self.before_exit: Callable[[], None] = do_nothing
        """What a second signal does before it ends the process. It runs in a signal handler: short, and without locks."""
        self._drain: Callable[[], None] | None = None
        self._is_asked = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        assert threading.current_thread() is threading.main_thread(), "signal handlers belong to the main thread"
        self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def on_drain(self, drain: Callable[[], None]) -> None:
        """Call `drain` at the first signal, or now if it has come. It runs in a signal handler."""
        self._drain = drain
        if self._is_asked:
            drain()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_asked:
            self.before_exit()
            os._exit(EXIT_AT_ONCE)
        self._is_asked = True
        if self._drain is not None:
            self._drain()
