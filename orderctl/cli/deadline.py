"""`--timeout`: an alarm that ends a command wherever it is, as a BaseException so that no driver mistakes it for its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orderctl.duration import Duration

AGAIN_S = 0.5
"""An alarm that falls into a place where Python drops exceptions is lost; so it comes again."""


class TimedOut(BaseException):
    """The command did not end in time."""

    exit_code = 5


@contextmanager
def bounded(limit: Duration | None, *, message: str = "") -> Iterator[None]:
    """Raise `TimedOut` in the main thread when `limit` has passed; None is no bound. `message` is added to what is said."""
    if limit is None:
        yield
        return
    text = f"no end within {limit}" + (f": {message}" if message else "")

    def ring() -> None:
        raise TimedOut(text)

    with _alarm(limit, ring, again_s=AGAIN_S):
        yield


@contextmanager
def stopped_after(limit: Duration | None) -> Iterator[None]:
    """Ask this process to end in good order, by SIGTERM, when `limit` has passed; then raise `TimedOut`."""
    if limit is None:
        yield
        return
    rang = False

    def ring() -> None:
        nonlocal rang
        rang = True
        os.kill(os.getpid(), signal.SIGTERM)

    with _alarm(limit, ring):
        yield
    if rang:
        raise TimedOut(f"stopped after {limit}, as --timeout says")


@contextmanager
def _alarm(after: Duration, ring: Callable[[], None], *, again_s: float = 0.0) -> Iterator[None]:
    """Call `ring` in the main thread when `after` has passed, and every `again_s` from then on if that is not 0."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        ring()

    handler = signal.signal(signal.SIGALRM, handle)
    timer = signal.setitimer(signal.ITIMER_REAL, after, again_s)
    try:
        yield
    finally:
        # Somebody else's alarm, set before, goes on as if it had slept.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
