"""A real server on a real socket, and a client that writes bytes as it likes."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp

from orderctl.daemons.event_loops import run_in_loop
from orderctl.daemons.servers import Server, make_server
from orderctl.daemons.sockets import listen
from orderctl.sections import HttpSection

PATIENCE_S = 60.0
HYPERCORN = HttpSection()
GRANIAN = HttpSection(server="granian", event_loop="uvloop")
SERVERS = {"hypercorn": HYPERCORN, "granian": GRANIAN}
"""What an operator can choose: all of the HTTP contract holds on each."""


@contextmanager
def served(app: ASGIApp, http: HttpSection = HYPERCORN) -> Iterator[int]:
    """Serve `app` on a free port of this machine while the block runs, as configured; gives the port."""
    listener = listen("127.0.0.1:0", setting="", backlog=http.backlog)
    port: int = listener.getsockname()[1]
    started: Future[tuple[asyncio.AbstractEventLoop, Server]] = Future()

    async def serve() -> None:
        server = make_server(http, app, listener, stop_timeout_s=2.0)
        started.set_result((asyncio.get_running_loop(), server))
        await server.serve()

    thread = threading.Thread(target=run_in_loop, args=[http, serve()])
    thread.start()
    loop, server = started.result(PATIENCE_S)
    try:
        yield port
    finally:
        with _forgotten_connections():
            loop.call_soon_threadsafe(server.stop)
            thread.join(PATIENCE_S)
    assert not thread.is_alive()


@contextmanager
def _forgotten_connections() -> Iterator[None]:
    """A connection whose task had not begun when hypercorn stopped is left open by it; that is no failure of a test.

    Garbage may be collected at any moment from then on, in any thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


class RawResponse(Struct, frozen=True):
    """An answer as it came. `closed` tells whether the server then ended the connection."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    def json(self) -> Any:
        """The body's value."""
        return msgspec.json.decode(self.body)


def head(path: str, key: str, *headers: str, method: str = "POST") -> bytes:
    """A request up to its body."""
    lines = (
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode()


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    """A connection to the server."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        yield client


def read_response(client: socket.socket) -> RawResponse:
    """The next answer on the connection; whether it was closed is found out where the answer says so."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(65536)
        assert part, f"the connection ended after {received!r}"
        received += part
    top, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        part = client.recv(65536)
        assert part, "the connection ended inside the body"
        body += part
    closed = headers.get("connection") == "close" and client.recv(1) == b""
    return RawResponse(int(status_line.split()[1]), headers, body, closed)
