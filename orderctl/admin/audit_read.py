"""`audit list` and `audit verify`: what was done, and whether the log still says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from orderctl.admin.audit_chain import Verification, verify
from orderctl.errors import NotFound, UsageRefused

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def audit_list(path: Path, *, last: int | None = None) -> list[dict[str, Any]]:
    """The lines, oldest first; only the `last` so many, if given. What is no line of the log is passed over: `verify` tells.

    Where there is no log, nothing was changed yet.

    Raises:
        UsageRefused: it cannot be read.

    """
    if not path.exists():
        return []
    with _opened(path) as file:
        lines = [line for raw in file if (line := _read(raw)) is not None]
    return lines if last is None else lines[max(0, len(lines) - last) :]


def audit_verify(path: Path, *, expected: str | None = None) -> Verification:
    """Whether each line follows the one before it. `expected` is a digest that `verify` gave as the head before.

    Raises:
        NotFound: there is no log.
        UsageRefused: it cannot be read.

    """
    with _opened(path) as file:
        return verify(file, expected=expected)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no audit log {path}", hint="the first change that an operator makes begins it"
        ) from error
    except OSError as error:
        raise UsageRefused(f"{path}: the audit log cannot be read: {error.strerror}") from error


def _read(raw: bytes) -> dict[str, Any] | None:
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        return None
