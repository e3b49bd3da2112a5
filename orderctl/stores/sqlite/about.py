"""What the embedded stores run on, for `--version`."""

from __future__ import annotations

import sqlite3

from orderctl.stores.sqlite.schema import ARCHIVE, CACHE, HOT, LOG

SQLITE_VERSION = sqlite3.sqlite_version
"""The version of the SQLite library, which is not that of Python's module."""


def schema_versions() -> dict[str, int]:
    """The newest schema of each embedded tier."""
    return {schema.tier: schema.version for schema in (HOT, CACHE, LOG, ARCHIVE)}
