"""HTTP servers in one event loop, on sockets of ours, each stopped by an event of its own. Which one serves is configured."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderctl.sections import HttpSection

KEEP_ALIVE_S: Final = 20.0
"""An idle connection is closed after this long, and one whose headers are not complete."""
HARD_STOP_MARGIN_S: Final = 2.0


class Server(ABC):
    """One listening socket and what answers there."""

    def __init__(self, app: ASGIApp, sock: socket.socket, *, backlog: int, stop_timeout_s: float) -> None:
        """`sock` becomes the server's, which closes it. Requests that were taken may need `stop_timeout_s` at the end."""
        self._app = _LastWords(app)
        self._sock = sock
        self._backlog = backlog
        self._stop = asyncio.Event()
        self._stop_timeout_s = stop_timeout_s

    async def serve(self) -> None:
        """Serve until `stop`, then finish the requests that were taken.

        A client that never finishes its request, or never reads its answer, could hold a server for ever: hence a stop from
        outside too.
        """
        serving = asyncio.ensure_future(self._run(self._sock.detach()))
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

    @abstractmethod
    async def _run(self, descriptor: int) -> None:
        """Serve on the listening socket `descriptor` until `_stop` is set, then drain."""
        ...


def make_server(
    http: HttpSection, app: ASGIApp, sock: socket.socket, *, stop_timeout_s: float, backlog: int | None = None
) -> Server:
    """The server that is configured, for `app` on `sock`. Both kinds keep the same promises; see `Server`."""
    kind: type[Server]
    if http.server == "granian":
        from orderctl.daemons.granian_server import GranianServer as kind  # noqa: N813 - imported where it is installed
    else:
        from orderctl.daemons.hypercorn_server import HypercornServer as kind  # noqa: N813
    return kind(app, sock, backlog=backlog or http.backlog, stop_timeout_s=stop_timeout_s)


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
