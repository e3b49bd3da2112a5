"""The contract folders (daemons, http, sql, cql): one reader, whether they come in a wheel or lie in a checkout.

A file of named queries holds statements, each introduced by its name and by one line that describes it:

    -- name: claim_reference
    -- Take the merchant's reference for this order, unless it is taken.
    INSERT INTO …;
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from orderctl.errors import OrderctlError

FOLDERS: Final = ("daemons", "http", "sql", "cql")

_PACKAGE: Final = Path(__file__).parent
_REINSTALL: Final = "the installation is incomplete: install orderctl again"
_NAME: Final = re.compile(r"^-- name:(.*)$", re.MULTILINE)
_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]*").fullmatch


class Query(Struct, frozen=True):
    """A statement's text, and the line that describes it."""

    text: str
    description: str


def contract_path(folder: str, name: str = ".") -> Path:
    """Where a contract file or folder lies; `name` is relative to the contract folder.

    Raises:
        OrderctlError: there is none.

    """
    if folder not in FOLDERS:
        raise OrderctlError(f"{folder!r} is no contract folder; they are {', '.join(FOLDERS)}")
    packaged = _PACKAGE / "contracts_data" / folder
    path = (packaged if packaged.is_dir() else _PACKAGE.parent / folder) / name
    if not path.exists():
        raise OrderctlError(f"the contract file {folder}/{name} is missing", hint=_REINSTALL)
    return path


def contract_text(folder: str, name: str) -> str:
    """A contract file's text.

    Raises:
        OrderctlError: there is no such file, or it is not UTF-8.

    """
    try:
        return contract_path(folder, name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OrderctlError(f"the contract file {folder}/{name} cannot be read: {error}", hint=_REINSTALL) from error


def contract_names(folder: str, pattern: str) -> tuple[str, ...]:
    """The files that match a glob such as `*.toml` or `sqlite/hot/*.sql`, relative to the contract folder, sorted."""
    root = contract_path(folder)
    return tuple(sorted(path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file()))


@lru_cache
def named_queries(folder: str, name: str) -> Mapping[str, Query]:
    """The named queries of one file.

    Raises:
        OrderctlError: the file is missing, or is not written as this module says.

    """
    return MappingProxyType(parse_queries(contract_text(folder, name), source=f"{folder}/{name}"))


def parse_queries(text: str, *, source: str) -> dict[str, Query]:
    """The named queries in `text`; `source` names it in errors. Comments may stand above the first.

    Raises:
        OrderctlError: a statement without a name, a name that is none or is there twice, a query without a description.

    """
    preamble, *parts = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in preamble.splitlines()):
        raise OrderctlError(f"{source}: a statement stands above the first `-- name:`")
    queries: dict[str, Query] = {}
    for name, block in zip(map(str.strip, parts[::2]), parts[1::2], strict=True):
        if _IDENTIFIER(name) is None:
            raise OrderctlError(f"{source}: {name!r} is no name for a query; use a-z, 0-9 and _")
        if name in queries:
            raise OrderctlError(f"{source}: two queries are named {name}")
        queries[name] = _query(block, where=f"{source}: {name}")
    return queries


def _query(block: str, *, where: str) -> Query:
    description, _, statement = block.lstrip("\n").partition("\n")
    if not description.startswith("-- ") or not description[3:].strip():
        raise OrderctlError(f"{where} has no description: expected `-- …` on the line below its name")
    if not statement.strip():
        raise OrderctlError(f"{where} has no statement")
    return Query(statement.strip().removesuffix(";"), description[3:].strip())
