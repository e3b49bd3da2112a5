"""The end of a log, without reading all that comes before it; and what comes after."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 16
_FOLLOWED_BYTES_MAX: Final = 1 << 20


def last_lines(log: Path, count: int) -> list[str]:
    """The last `count` lines of a file, none where there is no file."""
    try:
        stream = log.open("rb")
    except FileNotFoundError:
        return []
    with stream:
        at = stream.seek(0, os.SEEK_END)
        end = b""
        while at and end.count(b"\n") <= count:
            step = min(_BLOCK, at)
            at = stream.seek(at - step)
            end = stream.read(step) + end
    return end.decode("utf-8", "replace").splitlines()[-count:]


class Follower:
    """What is appended to logs from now on, whole lines only."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._logs = logs
        self._read = {name: log.stat().st_size if log.exists() else 0 for name, log in logs.items()}

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """Each server's new lines, with its name."""
        for name, log in self._logs.items():
            if not log.exists():
                continue
            with log.open("rb") as stream:
                stream.seek(self._read[name])
                whole, end, _ = stream.read(_FOLLOWED_BYTES_MAX).rpartition(b"\n")
            self._read[name] += len(whole) + len(end)
            yield from ((name, line) for line in whole.decode("utf-8", "replace").splitlines() if end)
