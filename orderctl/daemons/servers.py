"""HTTP servers in one event loop: hypercorn on sockets of ours, each stopped by an event of its own."""

from __future__ import annotations

import asyncio
import logging
import socket

import hypercorn.asyncio
from hypercorn.config import Config as HypercornConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEEP_ALIVE_S = 20.0
"""An idle connection is closed after this long, and one whose headers are not complete."""
KEEP_ALIVE_REQUESTS_MAX = 100_000
"""A connection is renewed now and then, so that load balancers can even out. hypercorn's 1000 is a second's work."""
HARD_STOP_MARGIN_S = 2.0


class Server:
    """One listening socket and what answers there."""

    def __init__(self, app: ASGIApp, sock: socket.socket, *, backlog: int, stop_timeout_s: float) -> None:
        """`sock` becomes the server's, which closes it. Requests that were taken may need `stop_timeout_s` at the end."""
        self._app = _LastWords(app)
        self._sock = sock
        self._stop = asyncio.Event()
        self._stop_timeout_s = stop_timeout_s
        self._config = HypercornConfig()
        self._config.errorlog = logging.getLogger("hypercorn.error")
        self._config.include_server_header = False
        self._config.backlog = backlog  # hypercorn listens again, with this
        self._config.keep_alive_timeout = KEEP_ALIVE_S
        self._config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS_MAX
        self._config.graceful_timeout = stop_timeout_s

    async def serve(self) -> None:
        """Serve until `stop`, then finish the requests that were taken.

        From Python 3.12 a client that never finishes its request would hold hypercorn for ever: hence a stop from outside too.
        """
        self._config.bind = [f"fd://{self._sock.detach()}"]
        serving = asyncio.ensure_future(
            hypercorn.asyncio.serve(self._app, self._config, shutdown_trigger=self._stop.wait)  # type: ignore[arg-type]
        )
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await asyncio.wait({serving}, timeout=self._stop_timeout_s + HARD_STOP_MARGIN_S)
        finally:
            stopping.cancel()
            serving.cancel()
            await asyncio.wait({serving, stopping})
        if not serving.cancelled():
            serving.result()

    def say_last_words(self) -> None:
        """From now on each HTTP/1 answer closes its connection, so that clients go elsewhere with their next request."""
        self._app.are_due = True

    def stop(self) -> None:
        """Accept no more, and let `serve` return once the requests that were taken are answered."""
        self.say_last_words()
        self._stop.set()


class _LastWords:
    """Adds `Connection: close` to every answer, once that is due."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.are_due = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if self.are_due and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        is_http1 = scope["type"] == "http" and scope["http_version"].startswith("1")
        await self._app(scope, receive, send_last if is_http1 else send)
