"""Load over HTTP from a process of its own: connections that stay, closed loop for rates, open loop for latencies."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from orderctl.bench.measuring import Latency, latency_of
from orderctl.errors import TierUnavailable

SECONDS_MAX: Final = 600.0
"""A server that answers no more ends the load."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"


class Load(Struct, frozen=True, kw_only=True):
    """What is sent: `requests` in turn, `total` of them, on so many `connections`.

    With `rate_per_s` each has a fixed moment to start at, whatever became of those before, and its latency counts from then.
    Without, each connection sends as soon as it was answered.
    """

    url: str
    requests: Sequence[bytes]
    total: int
    connections: int
    rate_per_s: float | None = None


class Loaded(Struct, frozen=True, kw_only=True):
    """What came back: `statuses` counts the answers by their HTTP status."""

    seconds: float
    cpu_s: float
    statuses: dict[int, int]
    latency_ms: Latency | None


def run_load(load: Load) -> Loaded:
    """Send it, in this process.

    Raises:
        TierUnavailable: the server closed a connection, or did not answer all within `SECONDS_MAX`.

    """
    began_cpu_s = time.process_time()
    try:
        loaded = asyncio.run(asyncio.wait_for(_Sender(load).run(), SECONDS_MAX))
    except (OSError, TimeoutError) as error:
        raise TierUnavailable("http", f"{load.url}: {type(error).__name__}: {error}") from error
    return Loaded(
        seconds=loaded.seconds,
        cpu_s=time.process_time() - began_cpu_s,
        statuses=loaded.statuses,
        latency_ms=loaded.latency_ms,
    )


def request_bytes(method: str, target: str, key: str, body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    head = f"{method} {target} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class _Sender:
    """One load under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._sent = 0
        self._answered = 0
        self._statuses: Counter[int] = Counter()
        self._latencies_ms: list[float] = []
        self._free: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._over = asyncio.Event()
        self._failure: OSError | None = None

    async def run(self) -> Loaded:
        """Connect, and only then begin."""
        loop, where = asyncio.get_running_loop(), urlsplit(self._load.url)
        host, port = where.hostname or "", where.port or 80
        for _ in range(self._load.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), host, port)
            self._free.append(connection)
        connections = list(self._free)
        began_s = time.perf_counter()
        try:
            await (self._closed_loop() if self._load.rate_per_s is None else self._open_loop(self._load.rate_per_s))
        finally:
            seconds = time.perf_counter() - began_s
            for connection in connections:
                connection.close()
        if self._failure is not None:
            raise self._failure
        return Loaded(
            seconds=seconds, cpu_s=0.0, statuses=dict(self._statuses), latency_ms=latency_of(self._latencies_ms)
        )

    def answered(self, connection: _Connection, status: int, due_s: float) -> None:
        """An answer is whole; the connection is free for what waits."""
        self._latencies_ms.append((time.perf_counter() - due_s) * 1000)
        self._statuses[status] += 1
        self._answered += 1
        if self._answered == self._load.total:
            self._over.set()
        elif self._load.rate_per_s is None:
            self._send_next(connection)
        else:
            self._free.append(connection)
            self._send_due()

    def failed(self, error: OSError) -> None:
        """A connection was lost: there is nothing to measure any more."""
        self._failure = self._failure or error
        self._over.set()

    async def _closed_loop(self) -> None:
        for connection in list(self._free):
            self._send_next(connection)
        await self._over.wait()

    async def _open_loop(self, rate_per_s: float) -> None:
        began_s = time.perf_counter()
        for number in range(self._load.total):
            due_s = began_s + number / rate_per_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            self._due.append(due_s)
            self._send_due()
        await self._over.wait()

    def _send_due(self) -> None:
        while self._free and self._due:
            self._send(self._free.popleft(), self._due.popleft())

    def _send_next(self, connection: _Connection) -> None:
        if self._sent < self._load.total:
            self._send(connection, time.perf_counter())

    def _send(self, connection: _Connection, due_s: float) -> None:
        connection.send(self._load.requests[self._sent % len(self._load.requests)], due_s)
        self._sent += 1


class _Connection(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._wanted = 0
        self._status = 0
        self._due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.failed(ConnectionError(f"the server closed the connection: {exc}"))

    def send(self, request: bytes, due_s: float) -> None:
        """Send a request that was to be sent at `due_s`."""
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._wanted:
            end = self._received.find(_HEAD_END)
            if end < 0:
                return
            length = _LENGTH.search(self._received, 0, end + 2)
            self._status = int(self._received[9:12])
            self._wanted = end + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(self._received) >= self._wanted:
            del self._received[: self._wanted]
            self._wanted = 0
            self._sender.answered(self, self._status, self._due_s)

    def close(self) -> None:
        """Let go of it."""
        if self._transport is not None:
            self._transport.close()
