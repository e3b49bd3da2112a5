"""What a process says once it is ready, to people and, in a file, to programs that wait for it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from orderctl.errors import UsageRefused


class Ready(Struct, frozen=True, kw_only=True):
    """The process and its servers' URLs; None where a server was not asked for. `data_dir` is the embedded tiers'."""

    pid: int
    command: str | None = None
    query: str | None = None
    admin: str | None = None
    data_dir: str | None = None


class ReadyFile:
    """A file that is there while the process is ready, and whole whenever it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.{os.getpid()}")

    def reserve(self) -> None:
        """See to it that the file can be written later, and that nobody takes an earlier run's for ours.

        Raises:
            UsageRefused: it cannot be written.

        """
        try:
            self._path.unlink(missing_ok=True)
            self._draft.write_bytes(b"")
        except OSError as error:
            raise UsageRefused(f"the ready file {self._path} cannot be written: {error.strerror}") from error

    def write(self, ready: Ready) -> None:
        """Put the file there, whole, at once."""
        self._draft.write_bytes(msgspec.json.encode(ready) + b"\n")
        self._draft.replace(self._path)

    def remove(self) -> None:
        """Take the file away, and what `reserve` left."""
        self._path.unlink(missing_ok=True)
        self._draft.unlink(missing_ok=True)
