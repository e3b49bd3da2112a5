"""Each daemon as a process of its own, on one data directory: what `Server` is for one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.acceptance.server import Answer, Server

DAEMONS = ("command", "query", "cdc", "cache-sync", "archiver", "expiry", "timeouts")


class Fleet:
    """One `orderctl serve DAEMON` for each daemon."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.servers = {name: Server(data_dir, name, settings=settings) for name in DAEMONS}

    def __enter__(self) -> Self:
        first, *others = self.servers.values()
        first.start()
        for server in others:
            server.spawn()
        for server in others:
            server.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.__exit__()

    def stop(self) -> set[int]:
        """SIGTERM to all; their exit codes."""
        return {server.stop() for server in self.servers.values()}

    def command(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the command server."""
        return self.servers["command"].command(method, target, key, body, **headers)

    def query(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the query server."""
        return self.servers["query"].query(method, target, key, body, **headers)
