"""A TCP proxy in front of a real server, through which a test lets the network fail: bytes that stop, connections that break."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

CHUNK_BYTES: Final = 65_536
PATIENCE_S: Final = 60


class TcpProxy:
    """Relays every connection to `host:port`, from a port of its own, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._flow = asyncio.Event()
        self._flow.set()
        self._held = threading.Event()
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy")
        self._thread.start()
        self.heal()

    def hang(self) -> None:
        """From now on connections are taken, and nothing comes through them."""
        self._held.clear()
        self._run(self._hang())

    def wait_until_held(self) -> bool:
        """Wait until there is something that would come through; returns whether there is."""
        return self._held.wait(PATIENCE_S)

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self._run(self._cut())

    def heal(self) -> None:
        """Let all through again; what was held back comes first."""
        self._run(self._heal())

    def close(self) -> None:
        """End everything."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _hang(self) -> None:
        self._flow.clear()

    async def _heal(self) -> None:
        self._flow.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        self._flow.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.current_task()
        assert relay is not None
        self._relays.add(relay)
        try:
            there = await asyncio.open_connection(*self._target)
            try:
                await _first(self._pump(reader, there[1]), self._pump(there[0], writer))
            finally:
                await _end(there[1])
        except (OSError, asyncio.CancelledError):
            pass  # a connection that breaks is what this is for
        finally:
            await _end(writer)
            self._relays.discard(relay)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if not self._flow.is_set():
                self._held.set()
                await self._flow.wait()
            writer.write(data)
            await writer.drain()


async def _first(*pumps: Coroutine[Any, Any, None]) -> None:
    """Run until one of them ends; then the connection is of no use to the other."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
