"""A server's process: started apart from the terminal, told from others by its number and its start, ended for certain."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

_PROC: Final = Path("/proc")
_STATE, _START_TICKS = 0, 19
"""Fields of `/proc/PID/stat`, counted from behind the command's name."""
_DEAD: Final = ("Z", "X")

# The process notes itself down before it becomes the server. If we did that after starting it, a kill between the two would leave
# a server that nobody knows of.
_LAUNCH: Final = """\
cd "$(dirname "$0")" &&
echo "$$ $(cut -d ' ' -f 22 "/proc/$$/stat")" >"$0.new" && mv "$0.new" "$0" &&
exec "$@"
"""


class Process(Struct, frozen=True):
    """A process; its start, in the kernel's ticks, tells it from a later one with the same number."""

    pid: int
    start_ticks: int

    def is_running(self) -> bool:
        """Whether it has not ended. One that has and was not waited for yet does not run."""
        return _alive(self.pid) == self


def start(command: Sequence[str], *, pid_file: Path, log: Path) -> Process:
    """Start a server that outlives this process and its terminal; it runs in `pid_file`'s folder.

    What it writes is appended to `log`. It gets nothing to read.
    """
    arguments = ["/bin/sh", "-c", _LAUNCH, str(pid_file), *command]
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), appending, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Process(pid, _start_ticks(pid))


def running(pid_file: Path) -> Process | None:
    """The process that `pid_file` names, None where it has ended or never was."""
    try:
        pid, start_ticks = pid_file.read_text("ascii").split()
        noted = Process(int(pid), int(start_ticks))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return noted if noted.is_running() else None


def stop(process: Process, *, grace_s: float) -> bool:
    """End a process: SIGTERM, and SIGKILL where it has not ended in `grace_s`. Returns whether SIGTERM was enough.

    A signal can only reach the process that is meant: the kernel's handle on it is opened first, then compared.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    with closing(os.fdopen(handle, "rb", buffering=0)):
        if not process.is_running():
            return True
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        graceful = True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            graceful = bool(ended.poll(grace_s * 1000))
            if not graceful:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                ended.poll()
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return graceful


def describe(pid: int) -> str:
    """A process's number and command, for people."""
    try:
        name = (_PROC / str(pid) / "comm").read_text("utf-8", "backslashreplace").strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({name})"


def listener(port: int) -> int | None:
    """The process that listens on a TCP port of this machine, None where there is none or we may not know."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(_PROC / "net" / table, port)}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in _PROC.glob("[0-9]*/fd") if sockets else ():
        with suppress(OSError):
            for descriptor in folder.iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in sockets:
                        return int(folder.parent.name)
    return None


def _listening(table: Path, port: int) -> set[str]:
    """The inodes of the sockets that listen on `port`, from the kernel's table of sockets."""
    try:
        rows = [line.split() for line in table.read_text("ascii").splitlines()[1:]]
    except FileNotFoundError:
        return set()
    listening = "0A"
    return {row[9] for row in rows if row[3] == listening and int(row[1].rpartition(":")[2], 16) == port}


def _alive(pid: int) -> Process | None:
    try:
        stat = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if stat[_STATE] in _DEAD else Process(pid, int(stat[_START_TICKS]))


def _start_ticks(pid: int) -> int:
    return int(_stat(pid)[_START_TICKS])


def _stat(pid: int) -> list[str]:
    # The command's name stands in parentheses and may hold anything, parentheses and blanks too.
    return (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
