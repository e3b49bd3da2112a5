"""What the verbs of `orderctl bench` share: files for what is found, and an end that leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def require_writable(file: Path | None) -> None:
    """Before an hour's work, not after it.

    Raises:
        UsageRefused: nothing can be written there.

    """
    from orderctl.errors import UsageRefused

    if file is None:
        return
    try:
        file.open("ab").close()
    except OSError as error:
        raise UsageRefused(f"{file} cannot be written: {error.strerror}") from error


def save_json(report: object, file: Path | None) -> None:
    """Write a report, if there is a file for it."""
    import msgspec

    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: servers and databases of the bench's own are taken away before it ends."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
