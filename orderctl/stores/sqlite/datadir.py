"""The data directory of an embedded deployment: what its files are called, and whether they may be used."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderctl.errors import DataDirError
from orderctl.stores.sqlite.driver import BUSY_WAIT_S, insist, is_busy, is_out_of_reach, translate
from orderctl.stores.sqlite.schema import ARCHIVE, CACHE, HOT, LOG, NEWER_HINT, Schema, schema_version

THOROUGH_BYTES_MAX: Final = 256 << 20
"""Above this size only a file's header and length are looked at: reading all of it would hold up the start."""

_HOT_HINT: Final = "restore it from a backup, or move it away to begin without its orders"
_LOG_HINT: Final = (
    "restore it from a backup; to begin without it, move it and cache.db away: changes not yet applied are in it"
)
_CACHE_HINT: Final = "delete it: it holds nothing that the hot database does not"
_PERMISSION_HINT: Final = "it needs read and write permission, and so does what is in it"
_WAL_HEADER_BYTES: Final = 32
_WAL_FRAME_HEADER_BYTES: Final = 24


class FileState(Struct, frozen=True):
    """One database of a data directory: the schema that it has, None where there is no file yet, and the one to come."""

    path: Path
    schema_version: int | None
    target_version: int


class DataDir:
    """A data directory by its path. Nothing is made or looked at before it is asked for."""

    def __init__(self, path: Path, *, thorough_bytes_max: int = THOROUGH_BYTES_MAX) -> None:
        self.path = path
        self.hot = path / "hot.db"
        self.cache = path / "cache.db"
        self.log = path / "log.db"
        self.archive = path / "archive.db"
        self.keys = path / "keys"
        self.audit = path / "audit.jsonl"
        self._thorough_bytes_max = thorough_bytes_max

    def check(self) -> tuple[FileState, ...]:
        """Make the directory where there is none, and `inspect` it: to be called before anything opens the files.

        Raises:
            DataDirError: it cannot be made, or `inspect` says so.
            TierUnavailable: another process keeps a file from being read.

        """
        self._make()
        for folder in (self.path, self.keys):
            _require_writable_folder(folder)
        if self.audit.exists():
            _require_writable_file(self.audit)
        return self.inspect()

    def inspect(self) -> tuple[FileState, ...]:
        """Look at the databases, and make nothing.

        A file's bytes are left as they are, also where the last process was killed: what that one had committed and not yet
        moved into the file is read from beside it.

        Raises:
            DataDirError: something is damaged, cut short, read-only, of a newer schema, or not ours. The message names it.
            TierUnavailable: another process keeps a file from being read.

        """
        return (
            self._inspect(self.hot, HOT, hint=_HOT_HINT),
            self._inspect(self.cache, CACHE, hint=_CACHE_HINT),
            self._inspect(self.log, LOG, hint=_LOG_HINT),
            self._inspect(self.archive, ARCHIVE, hint=_HOT_HINT),
        )

    def _make(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.keys):
                folder.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise DataDirError(f"{error.filename} is in the way: it is no directory", hint="move it away") from error
        except OSError as error:
            raise DataDirError(f"{error.filename or self.path} cannot be made: {error.strerror}") from error

    def _inspect(self, path: Path, schema: Schema, *, hint: str) -> FileState:
        wal = path.with_name(f"{path.name}-wal")
        if not path.exists() and not path.is_symlink():
            if wal.exists() and wal.stat().st_size > 0:
                raise DataDirError(f"{path} is missing, and {wal.name} beside it is not", hint=hint)
            return FileState(path, None, schema.version)
        _require_writable_file(path)
        if path.stat().st_size == 0:
            # A file is moved here when it is complete, so this is not one that is just being made.
            raise DataDirError(f"{path} is damaged: it is empty", hint=hint)
        try:
            # Opened for writing, SQLite may tidy up a damaged file, and lose what could be saved.
            target = f"{path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(target, uri=True, timeout=BUSY_WAIT_S, isolation_level=None)) as connection:
                version = self._examine(connection, path, wal, schema, hint=hint)
        except sqlite3.Error as error:
            if is_busy(error):
                raise translate(schema.tier, error) from error
            if is_out_of_reach(error):
                raise DataDirError(f"{path} cannot be opened: {error}", hint=_PERMISSION_HINT) from error
            raise DataDirError(f"{path} is damaged: {error}", hint=hint) from error
        return FileState(path, version, schema.version)

    def _examine(self, connection: sqlite3.Connection, path: Path, wal: Path, schema: Schema, *, hint: str) -> int:
        insist(connection, "BEGIN")
        version = schema_version(connection)
        if _pragma(connection, "application_id") != schema.application_id:
            raise DataDirError(f"{path} is no {schema.tier} database of orderctl's", hint="move it away")
        if version > schema.version:
            raise DataDirError(
                f"{path} has schema {version}; this orderctl knows up to {schema.version}", hint=NEWER_HINT
            )
        if missing := _missing_pages(connection, path, wal):
            raise DataDirError(f"{path} is damaged: it is cut short by {missing} pages", hint=hint)
        if path.stat().st_size <= self._thorough_bytes_max and (found := _pragma(connection, "quick_check(1)")) != "ok":
            raise DataDirError(f"{path} is damaged: {str(found).splitlines()[-1]}", hint=hint)
        return version


def _require_writable_folder(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataDirError(f"{folder} cannot be written to: {error.strerror}", hint=_PERMISSION_HINT) from error


def _require_writable_file(path: Path) -> None:
    # The kernel is asked and the file not opened: closing it would drop the locks that SQLite holds on it in this process.
    if not path.is_file():
        raise DataDirError(f"{path} is not a file", hint="move it away")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise DataDirError(f"{path} cannot be read and written", hint=_PERMISSION_HINT)


def _missing_pages(connection: sqlite3.Connection, path: Path, wal: Path) -> int:
    """How many pages can be neither in the file nor in the log beside it. The transaction keeps both from shrinking."""
    page_bytes = int(str(_pragma(connection, "page_size")))
    # The log first: a checkpoint by another process between the two only adds to the file.
    logged_bytes = max(0, wal.stat().st_size - _WAL_HEADER_BYTES) if wal.exists() else 0
    logged = logged_bytes // (page_bytes + _WAL_FRAME_HEADER_BYTES)
    return max(0, int(str(_pragma(connection, "page_count"))) - logged - path.stat().st_size // page_bytes)


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]
