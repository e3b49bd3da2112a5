"""The one place that knows sqlite3's errors, and how long to wait for another process."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from orderctl.contracts import Query
from orderctl.errors import ConfigError, OutcomeUnknown, TierError, TierRejected, TierUnavailable

BUSY_WAIT_S: Final = 0.25
"""SQLite holds back signals while it waits for a lock, so each wait is short …"""
PATIENCE_S: Final = 5.0
"""… and repeated for about so long."""

OLDEST_SQLITE: Final = (3, 37, 0)
"""RETURNING came with 3.35, STRICT tables with 3.37."""

Row = tuple[Any, ...]
# Besides sqlite3's own: an integer above 64 bits, and a text with half of a surrogate pair.
DRIVER_ERRORS: Final = (sqlite3.Error, OverflowError, UnicodeEncodeError)

_AWAY: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
# The commit record was not written, so the transaction did not happen, also for whoever reads the file after a crash.
# An I/O error is not one of these: the record may be in the file, only not known to be on the disk.
_NOT_COMMITTED: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
)


def require_sqlite(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> None:
    """Refuse an SQLite library that is too old for the statements in `sql/`.

    Raises:
        ConfigError: it is older than `OLDEST_SQLITE`.

    """
    if version < OLDEST_SQLITE:
        needed, found = (".".join(map(str, number)) for number in (OLDEST_SQLITE, version))
        raise ConfigError(f"this Python has SQLite {found}; the embedded stores need {needed} or later")


def translate(tier: str, error: Exception) -> TierError:
    """What `error`, raised before COMMIT, is in our words."""
    message = f"{_name(error)}: {error}"
    return TierUnavailable(tier, message) if _code(error) in _AWAY else TierRejected(tier, message)


def translate_at_commit(tier: str, error: sqlite3.Error) -> TierError:
    """What `error`, raised by COMMIT itself, is in our words."""
    if _code(error) in _NOT_COMMITTED:
        return translate(tier, error)
    return OutcomeUnknown(tier, f"COMMIT failed with {_name(error)}: {error}")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way, and may soon be out of it."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_out_of_reach(error: sqlite3.Error) -> bool:
    """Whether the file could not even be opened."""
    return _code(error) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


def insist(connection: sqlite3.Connection, statement: str, *, patience_s: float = PATIENCE_S) -> None:
    """Run a statement that another process can be in the way of, such as BEGIN IMMEDIATE, for `patience_s` or so."""
    attempts = max(1, round(patience_s / BUSY_WAIT_S))
    for attempt in range(1, attempts + 1):
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if not is_busy(error) or attempt == attempts:
                raise
        else:
            return


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what was begun, unless SQLite has done so by itself."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class Transaction:
    """What runs between BEGIN and COMMIT. Only `Database` makes one."""

    def __init__(self, connection: sqlite3.Connection, tier: str) -> None:
        self._connection = connection
        self._tier = tier
        self._changes_before = connection.total_changes

    @property
    def wrote(self) -> bool:
        """Whether any row was changed: otherwise COMMIT has nothing to write."""
        return self._connection.total_changes != self._changes_before

    def rows(self, query: Query, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Run a statement; returns all its rows.

        Raises:
            TierUnavailable: the database cannot be used now.
            TierRejected: it refuses the statement or the values.

        """
        try:
            return self._connection.execute(query.text, parameters or {}).fetchall()
        except DRIVER_ERRORS as error:
            raise translate(self._tier, error) from error

    def row(self, query: Query, parameters: Mapping[str, object] | None = None) -> Row | None:
        """As `rows`, for a statement that has one row or none."""
        found = self.rows(query, parameters)
        return found[0] if found else None


def _code(error: Exception) -> int:
    # The extended codes (SQLITE_BUSY_SNAPSHOT and the like) hold the plain one in their lowest byte.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _name(error: Exception) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
