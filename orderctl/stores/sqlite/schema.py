"""What the embedded databases are made of: numbered migrations, applied forward only, each once."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderctl.contracts import contract_names, contract_text
from orderctl.errors import DataDirError
from orderctl.stores.sqlite.driver import BUSY_WAIT_S, insist, roll_back

NEWER_HINT: Final = "use the orderctl that wrote it, or a later one"


class Schema(Struct, frozen=True):
    """One kind of database: the tier it keeps, its migrations' folder in `sql/`, and the number in its files' headers."""

    tier: str
    folder: str
    application_id: int

    @property
    def migrations(self) -> tuple[str, ...]:
        """The migrations' files, in the order in which they are applied."""
        return contract_names("sql", f"{self.folder}/[0-9]*.sql")

    @property
    def version(self) -> int:
        """The number of the last migration that this program knows."""
        return len(self.migrations)


HOT: Final = Schema("hot", "sqlite/hot", int.from_bytes(b"ordH"))
CACHE: Final = Schema("cache", "sqlite/cache", int.from_bytes(b"ordC"))
LOG: Final = Schema("log", "sqlite/log", int.from_bytes(b"ordL"))
ARCHIVE: Final = Schema("archive", "sqlite/archive", int.from_bytes(b"ordA"))


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration that was applied to this database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    """Apply the migrations that are missing, all or none. Of two processes that start at once, the second finds nothing to do.

    Raises:
        DataDirError: the database knows more migrations than this program.

    """
    if schema_version(connection) == schema.version:
        return
    insist(connection, "BEGIN IMMEDIATE")
    try:
        applied = schema_version(connection)
        if applied > schema.version:
            raise DataDirError(
                f"the {schema.tier} database has schema {applied}; this orderctl knows up to {schema.version}",
                hint=NEWER_HINT,
            )
        for name in schema.migrations[applied:]:
            for statement in _statements(contract_text("sql", name)):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.application_id}")
        connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    finally:
        roll_back(connection)


def make_file(path: Path, schema: Schema) -> None:
    """Make an empty database at `path`, unless there is a file.

    It is made under another name and moved when it is complete, so a process that is killed here leaves no half-made file
    behind, and a file of no length is always a damaged one.
    """
    if path.exists():
        return
    with _locked(path.parent) as folder:
        if path.exists():
            return
        new = path.with_name(f"{path.name}.new")
        for suffix in ("", "-wal", "-shm", "-journal"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        new.touch(mode=0o600)
        # A database in WAL mode that is closed by its only user is one whole, synced file.
        with closing(sqlite3.connect(new, isolation_level=None, timeout=BUSY_WAIT_S)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, schema)
        new.rename(path)
        os.fsync(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one at a time: sqlite3's own `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
        raise sqlite3.OperationalError(f"a migration ends in the middle of a statement: {statement.strip()[:80]}")
