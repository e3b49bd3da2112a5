"""`config init`: a configuration file with every key, its default and its meaning, generated from the sections."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Struct

from orderctl.config import Config, as_values, key_types, section_types
from orderctl.config_keys import describe, keys_of
from orderctl.errors import UsageRefused

_WIDTH = 78
_HEAD = """\
# The configuration of orderctl. Every key stands here with its default; one
# that you delete keeps it. The environment comes before this file:
# ORDERCTL_SECTION__KEY, for example ORDERCTL_LOG__LEVEL=debug.
"""


def config_text() -> str:
    """A configuration file's text that says what the defaults say."""
    defaults = as_values(Config())
    sections = ("\n".join(_section(name, defaults[name])) for name in section_types())
    return _HEAD + "\n" + "\n\n".join(sections) + "\n"


def write_new(path: Path, text: str) -> None:
    """Write a file that was not there: all of it or nothing, and never over another.

    Raises:
        UsageRefused: there is one already, or it cannot be written.

    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, "utf-8")
        try:
            path.hardlink_to(new)
        finally:
            new.unlink()
    except FileExistsError as error:
        raise UsageRefused(f"{path} is there already, and is left as it is") from error
    except OSError as error:
        raise UsageRefused(f"{path} cannot be written: {error.strerror}") from error


def _section(name: str, defaults: dict[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    yield from _comment(str(section_types()[name].__doc__).strip())
    for key, wanted in key_types(name).items():
        yield ""
        meaning, expected = describe(wanted)
        yield from _comment(f"{meaning}: {expected}.")
        if table := (get_args(wanted)[1].extra or {}).get("tables"):
            yield from _table(f"{name}.{key}", table)
        elif defaults[key] in {None, ()}:
            yield f"# {key} = " + ('"…"' if defaults[key] is None else '["…"]')
        else:
            yield f"{key} = {json.dumps(defaults[key])}"


def _table(header: str, table: type[Struct]) -> Iterator[str]:
    """A table that may be there several times, as a comment: by default there is none."""
    yield "#"
    yield f"# [[{header}]]"
    for field, wanted in zip(msgspec.structs.fields(table), keys_of(table).values(), strict=True):
        meaning, expected = describe(wanted)
        yield from _comment(f"   {meaning}: {expected}.")
        yield f"# {field.name} = {_example(field.default)}"


def _example(default: object) -> str:
    return '"…"' if default in {None, msgspec.NODEFAULT} else json.dumps(default)


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(text, _WIDTH))
