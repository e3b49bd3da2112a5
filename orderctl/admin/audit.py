"""The audit log: one JSON line for everything that an operator changed, appended and on the disk before the verb returns.

Each line holds on to the one before it, see `audit_chain`. Several processes may append at once: the file is locked meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from orderctl.admin.audit_chain import NOTHING_BEFORE, seal, seal_of
from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.errors import UsageRefused

BLOCK_BYTES: Final = 64 * 1024


class AuditLog:
    """An audit log that is open for appending."""

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._descriptor = descriptor
        self._clock = clock

    def append(self, action: str, *, reason: str | None, **facts: Any) -> None:
        """Add a line: when, what, who, where, why, and the facts of this action. It is on the disk when this returns."""
        said = {"at": rfc3339(self._clock.now_us()), "action": action, "by": _user(), "host": socket.gethostname()}
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            size = os.fstat(self._descriptor).st_size
            # A line that a crash cut short is ended first, so that it spoils no other.
            start = b"\n" if size and self._read(size - 1, size) != b"\n" else b""
            line = seal({**said, "reason": reason, **facts}, prev=self._digest_before(size, start))
            _write_all(self._descriptor, start + line + b"\n")
            os.fsync(self._descriptor)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _digest_before(self, size: int, start: bytes) -> str:
        """What the line behind `size` bytes, and `start`, holds on to."""
        if not size:
            return NOTHING_BEFORE
        found = None if start else seal_of(self._last_line(size))
        if found is not None:
            return found.digest
        everything = sha256()
        for at in range(0, size, BLOCK_BYTES):
            everything.update(self._read(at, min(at + BLOCK_BYTES, size)))
        everything.update(start)
        return everything.hexdigest()

    def _last_line(self, size: int) -> bytes:
        """The last line, without its end, which is there."""
        end = begin = size - 1
        tail = b""
        while begin > 0 and b"\n" not in tail:
            begin = max(0, begin - BLOCK_BYTES)
            tail = self._read(begin, end)
        return tail.rpartition(b"\n")[2]

    def _read(self, begin: int, end: int) -> bytes:
        return os.pread(self._descriptor, end - begin, begin)


@contextmanager
def audit_log(path: Path, clock: Clock) -> Iterator[AuditLog]:
    """Open the log at `path`, made for the owner only where there is none, as is its folder: before anything is changed.

    Raises:
        UsageRefused: it cannot be opened.

    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # over real servers nothing else may have made the data directory
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageRefused(
            f"{path}: the audit log cannot be opened: {error.strerror}", hint="`[audit] path` says where it is"
        ) from error
    try:
        yield AuditLog(descriptor, clock)
    finally:
        os.close(descriptor)


def plan_digest(plan: Any) -> str:
    """What stands for a plan in the log: the SHA-256 of its JSON. What was carried out can be compared with what was shown."""
    return sha256(msgspec.json.encode(plan)).hexdigest()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return str(os.getuid())
