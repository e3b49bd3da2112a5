"""What goes to stdout: a value as a table for people, or as JSON for programs; and the few lines for stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from orderctl.errors import OrderctlError


class Format(StrEnum):
    """How a value is written to stdout."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class OutputClosed(OrderctlError):
    """Whoever read the output has seen enough."""

    exit_code = 0


class OutputFailed(OrderctlError):
    """The output cannot be written."""


def write(data: str | bytes) -> None:
    """Write to stdout, at once.

    Raises:
        OutputClosed: nobody reads it any more.
        OutputFailed: it cannot be written, for example because a disk is full.

    """
    if sys.stdout is None:  # started with stdout closed
        return
    try:
        if isinstance(data, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(data)
        sys.stdout.flush()
    except BrokenPipeError as error:
        give_up_stdout()
        raise OutputClosed from error
    except OSError as error:
        give_up_stdout()
        raise OutputFailed(f"stdout cannot be written: {error.strerror}") from error


def give_up_stdout() -> None:
    """Point stdout at nothing, so that what is left in its buffer does not fail again when the process ends."""
    if sys.stdout is not None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def note(text: str) -> None:
    """A line for people, to stderr."""
    if sys.stderr is not None:
        print(f"orderctl: {printable(text)}", file=sys.stderr, flush=True)


def emit(value: Any, output: Format, *, table: str) -> None:
    """Write `value`: as `table`, as one JSON document, or a line for each item of a list."""
    match output:
        case Format.TABLE:
            write(table if not table or table.endswith("\n") else table + "\n")
        case Format.JSON:
            write(_json(value, indent=2))
        case Format.JSONL:
            write(b"".join(_json(item, indent=0) for item in (value if isinstance(value, list) else [value])))


def pairs(rows: Mapping[str, object] | Iterable[tuple[str, object]]) -> str:
    """Names and values below each other."""
    items = list(rows.items() if isinstance(rows, Mapping) else rows)
    width = max((len(name) for name, _ in items), default=0)
    return "".join(f"{name:<{width}}  {cell(value)}".rstrip() + "\n" for name, value in items)


def columns(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a line of titles."""
    lines = [[title.upper() for title in titles], *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(titles))]
    return "".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def cell(value: object) -> str:
    """A value as a table shows it: `-` where there is none, and nothing that a terminal would obey."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


def printable(text: str) -> str:
    """`text` with control characters spelt out: what merchants sent must not steer an operator's terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _json(value: Any, *, indent: int) -> bytes:
    import msgspec

    encoded = msgspec.json.encode(value, enc_hook=str)
    return (msgspec.json.format(encoded, indent=indent) if indent else encoded) + b"\n"
