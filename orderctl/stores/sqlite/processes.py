"""Which process somebody is, told apart from those that had its number before it; and whether it is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

UNKNOWN: Final = ""
"""Where the kernel does not tell. Nobody says of such a process that it is gone."""

_PROC: Final = Path("/proc")
_STATE, _START_TICKS = 0, 19
"""Fields of `/proc/PID/stat`, counted from behind the command's name."""
_DEAD: Final = ("Z", "X")


def own_identity() -> str:
    """This process: the namespace that its number belongs to, the number, and when it started."""
    pid = os.getpid()
    try:
        return f"{_namespace()} {pid} {_stat(pid)[_START_TICKS]}"
    except OSError:
        return UNKNOWN


def is_gone(identity: str) -> bool:
    """Whether the process is known to have ended. One that was killed and not yet waited for has."""
    try:
        if identity == UNKNOWN or identity == own_identity():
            return False
        namespace, pid, start_ticks = identity.split()
        # A container that shares the file counts its processes by itself: its numbers mean others here.
        if namespace != _namespace():
            return False
        stat = _stat(int(pid))
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    return stat[_STATE] in _DEAD or stat[_START_TICKS] != start_ticks


def _namespace() -> str:
    return str((_PROC / "self" / "ns" / "pid").readlink())


def _stat(pid: int) -> list[str]:
    # The command's name stands in parentheses and may hold anything, parentheses and blanks too.
    return (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
