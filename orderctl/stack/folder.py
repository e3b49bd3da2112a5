"""The stack's folder, for one command at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from orderctl.errors import UsageRefused
from orderctl.stack.waiting import Wait

_PASSWORD = "password"  # noqa: S105 - the name of a file


@contextmanager
def alone(folder: Path, wait: Wait) -> Iterator[None]:
    """Hold the folder, made where it is not there, against other commands. One that is empty in the end is taken away.

    The lock is on the folder itself, so nothing has to be left in it; the kernel lets go of it when this process ends.

    Raises:
        UsageRefused: the folder cannot be made or opened.
        TierUnavailable: somebody else holds it for too long.

    """
    descriptor = _opened(folder, wait)
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty, which is the usual case
            folder.rmdir()
        os.close(descriptor)


def password_file(folder: Path) -> Path:
    """The file with the password that the stack's servers ask for, readable by its owner only."""
    return folder / _PASSWORD


def make_password(folder: Path) -> str:
    """The password; invented the first time."""
    path = password_file(folder)
    if not path.exists():
        new = path.with_name(f".{_PASSWORD}.new")
        new.touch(mode=0o600)
        new.write_text(secrets.token_urlsafe(24) + "\n", "ascii")
        new.replace(path)
    return path.read_text("ascii").strip()


def _opened(folder: Path, wait: Wait) -> int:
    """A descriptor of the folder that holds its lock."""
    while True:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageRefused(f"{folder} cannot be used: {error.strerror}") from error
        try:
            wait.until(partial(_locked, descriptor), what="let in: another `orderctl stack` works on it")
            # Whoever held it before may have taken the folder away, and ours is then one that nobody can find any more.
            if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
