"""granian, the fast server of the extra `fast`: hyper in a thread of its own hands each request to our event loop.

HTTP/1.1 only: with HTTP/2 allowed it waits without a limit for a connection's first bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import granian.net
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server as Embedded
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderctl.daemons.servers import KEEP_ALIVE_S, Server
from orderctl.errors import OrderctlError

CONNECTIONS_MAX: Final = 1 << 20
"""granian stops accepting at its backlog; here the process's file descriptors are the limit, as with hypercorn."""
HEAD_BYTES_MAX: Final = 1 << 16
"""A request's line and headers; hyper grows its buffer up to this."""
QUIET: Final = {"formatters": {}, "handlers": {}, "loggers": {"_granian": {"propagate": True}}}
"""What granian would have the standard library log to stdout goes where everything goes."""


class GranianServer(Server):
    """granian's own `embed` server, on a socket that listens already."""

    async def _run(self, descriptor: int) -> None:
        embedded = _OnSocket(self._app, descriptor, self._backlog)
        stopping = asyncio.ensure_future(self._stop_when_asked(embedded))
        try:
            await embedded.serve()
        finally:
            stopping.cancel()
        if not self._stop.is_set():
            raise OrderctlError("granian ended by itself; its log says why")

    async def _stop_when_asked(self, embedded: _OnSocket) -> None:
        await self._stop.wait()
        embedded.stop()  # type: ignore[no-untyped-call]


class _OnSocket(Embedded):
    def __init__(self, app: ASGIApp, descriptor: int, backlog: int) -> None:
        super().__init__(
            _Answered(app),
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=backlog,
            backpressure=CONNECTIONS_MAX,
            http1_settings=HTTP1Settings(header_read_timeout=int(KEEP_ALIVE_S * 1000), max_buffer_size=HEAD_BYTES_MAX),
            log_level=LogLevels.error,
            log_dictconfig=QUIET,
        )
        self._descriptor = descriptor

    def _init_shared_socket(self) -> None:
        holder: Any = granian.net.SocketHolder  # type: ignore[attr-defined]  # its stub is another system's
        self._shd = holder(self._descriptor, uds=False, backlog=self.backlog)


class _Answered:
    """Says 400 where an application ends without a word, because a body that is no HTTP looks like a client that left.

    granian itself would say 500. A client that really left hears nothing either way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = scope["type"] != "http"

        def send_noted(message: Message) -> Awaitable[None]:
            nonlocal is_answered
            is_answered = True
            return send(message)

        await self._app(scope, receive, send_noted)
        if not is_answered:
            await send({"type": "http.response.start", "status": 400, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": b""})
