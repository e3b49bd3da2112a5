"""A real hypercorn on a real socket, and a client that writes bytes as it likes."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from hypercorn.asyncio import serve
from hypercorn.config import Config
from msgspec import Struct
from starlette.types import ASGIApp

PATIENCE_S = 20.0


@contextmanager
def served(app: ASGIApp) -> Iterator[int]:
    """Serve `app` on a free port of this machine while the block runs; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port: int = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = 1024
    config.errorlog = None
    config.graceful_timeout = 2.0
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        _forget_connections()
    assert not thread.is_alive()


def _forget_connections() -> None:
    """A connection whose task had not begun when hypercorn stopped is left open by it; that is no failure of a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
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
