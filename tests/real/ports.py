"""Ports for servers that tests start by themselves: each is one run's alone from when it is looked for until the run ends."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final

_CLAIMS: Final[dict[int, IO[str]]] = {}
"""The rows, by their first ports, that no other process takes as long as this one lives."""


def claim(rows: Iterable[Sequence[int]]) -> int:
    """The first port of the first row of ports that nobody uses, and that no other run of the tests is about to use."""
    for row in rows:
        if _is_ours(row[0]) and all(map(_is_free, row)):
            return row[0]
    raise AssertionError("all ports for test servers are taken")


def _is_ours(first: int) -> bool:
    if first not in _CLAIMS:
        lock = (Path(tempfile.gettempdir()) / f"orderctl-tests-{first}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        _CLAIMS[first] = lock
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
