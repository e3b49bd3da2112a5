"""hypercorn, the server that is always there: pure Python, HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import logging
from typing import Final

import hypercorn.asyncio
from hypercorn.config import Config as HypercornConfig

from orderctl.daemons.servers import KEEP_ALIVE_S, Server

KEEP_ALIVE_REQUESTS_MAX: Final = 100_000
"""A connection is renewed now and then, so that load balancers can even out. hypercorn's 1000 is a second's work."""


class HypercornServer(Server):
    """From Python 3.12 a client that never finishes its request would hold hypercorn for ever."""

    async def _run(self, descriptor: int) -> None:
        config = HypercornConfig()
        config.bind = [f"fd://{descriptor}"]
        config.errorlog = logging.getLogger("hypercorn.error")
        config.include_server_header = False
        config.backlog = self._backlog  # hypercorn listens again, with this
        config.keep_alive_timeout = KEEP_ALIVE_S
        config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS_MAX
        config.graceful_timeout = self._stop_timeout_s
        await hypercorn.asyncio.serve(self._app, config, shutdown_trigger=self._stop.wait)  # type: ignore[arg-type]
