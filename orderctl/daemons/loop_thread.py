"""A loop in a thread of its own, watched from the event loop."""

from __future__ import annotations

import asyncio
import threading

from orderctl.daemons.loop import Loop


class LoopThread:
    """Runs `loop` from now on. The thread does not keep the process from ending: a step may be killed at any moment."""

    def __init__(self, loop: Loop) -> None:
        self.name = loop.name
        self._loop = loop
        self._thread = threading.Thread(target=loop.run, name=loop.name, daemon=True)
        self._thread.start()

    async def stop(self, *, within_s: float) -> bool:
        """Let the loop drain; returns whether it ended within that time."""
        self._loop.stop()
        await asyncio.to_thread(self._thread.join, within_s)
        return not self._thread.is_alive()
