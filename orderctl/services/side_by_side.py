"""Asks several tiers at once, each for a bounded time: one that hangs is an error of its own and keeps nobody else waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

from orderctl.errors import TierError, TierUnavailable

T = TypeVar("T")


class Question(Generic[T]):
    """Something that is being asked of a tier, from the moment this is made, in a thread of its own.

    The time is the machine's and no injected clock's: it bounds how long real calls may block. A call that outlives it is
    left behind; its thread is a daemon, so it does not hold up the end of the process either, as a pool's would.
    """

    def __init__(self, tier: str, ask: Callable[[], T], *, within_s: float) -> None:
        self._tier = tier
        self._within_s = within_s
        self._deadline_s = time.monotonic() + within_s
        self._future: Future[T] = Future()
        Thread(target=self._run, args=(ask,), name=f"ask-{tier}", daemon=True).start()

    def answer(self) -> T | TierError:
        """What the tier said, or why it did not; waits for it until the time is over.

        An error that is no tier's is a fault of ours, and is raised.
        """
        try:
            return self._future.result(max(0.0, self._deadline_s - time.monotonic()))
        except TimeoutError:
            return TierUnavailable(self._tier, f"no answer within {self._within_s:g} s")
        except TierError as error:
            return error

    def _run(self, ask: Callable[[], T]) -> None:
        try:
            self._future.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for whoever waits for the answer
            self._future.set_exception(error)
