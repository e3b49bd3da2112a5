"""How a process is asked to stop: take leave in good order, or without waiting for load balancers to look away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


class Stop:
    """A request to stop, made once or never. Belongs to one event loop; `ask` may be called from anywhere."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()

    def ask(self, *, hurry: bool = False) -> None:
        """Stop; with `hurry` there is nobody left to wait for. From any thread, and from signal handlers."""
        self._loop.call_soon_threadsafe(self._set, hurry)

    async def asked(self) -> None:
        """Wait until somebody asks."""
        await self._asked.wait()

    async def linger(self, seconds: float) -> None:
        """Wait that long, unless there is a hurry."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        except TimeoutError:
            return

    def _set(self, hurry: bool) -> None:  # noqa: FBT001  call_soon takes positions only
        self._asked.set()
        if hurry:
            self._hurried.set()


def raise_first(ended: Sequence[asyncio.Task[None]]) -> None:
    """Raise what the first of these tasks failed with, if any did. All are looked at, so that asyncio complains of none."""
    errors = [task.exception() for task in ended if not task.cancelled()]
    for error in errors:
        if error is not None:
            raise error
