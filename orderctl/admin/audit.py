"""The audit log: one JSON line for everything that an operator changed, appended and on the disk before the verb returns."""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.errors import UsageRefused


class AuditLog:
    """An audit log that is open for appending."""

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._descriptor = descriptor
        self._clock = clock

    def append(self, action: str, *, reason: str | None, **facts: Any) -> None:
        """Add a line: when, what, who, why, and the facts of this action. It is on the disk when this returns."""
        line = {"at": rfc3339(self._clock.now_us()), "action": action, "by": _user(), "reason": reason, **facts}
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            # A line that a crash cut short is ended first, so that it spoils no other.
            start = b"\n" if self._is_cut_short() else b""
            os.write(self._descriptor, start + msgspec.json.encode(line) + b"\n")
            os.fsync(self._descriptor)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _is_cut_short(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"


@contextmanager
def audit_log(path: Path, clock: Clock) -> Iterator[AuditLog]:
    """Open the log at `path`, made for the owner only where there is none: before anything is changed that it is to tell of.

    Raises:
        UsageRefused: it cannot be opened.

    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageRefused(
            f"{path}: the audit log cannot be opened: {error.strerror}", hint="`[audit] path` says where it is"
        ) from error
    try:
        yield AuditLog(descriptor, clock)
    finally:
        os.close(descriptor)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return str(os.getuid())
