"""A database as a value: the rows of all its tables, to be compared, kept, and put back."""

from __future__ import annotations

from typing import Any

from orderctl.contracts import Query
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Transaction

Rows = tuple[tuple[Any, ...], ...]
Content = tuple[Rows, ...]

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_COLUMNS = "SELECT name FROM pragma_table_xinfo(:name) WHERE hidden = 0"


class Tables:
    """The tables of one database in memory.

    `watched` is the table whose triggers write to others: it is put back before them, and they are whenever it is.
    """

    def __init__(self, database: Database, *, watched: str | None = None) -> None:
        self._database = database
        with database.snapshot() as snapshot:
            found = {row[0] for row in snapshot.rows(_query(_TABLES))}
            names = ([] if watched is None else [watched]) + sorted(found - {watched})
            columns = {name: [row[0] for row in snapshot.rows(_query(_COLUMNS), {"name": name})] for name in names}
        self._watched = watched
        self._names = tuple(names)
        self._select = {name: _query(f"SELECT {', '.join(columns[name])} FROM {name}") for name in names}
        self._delete = {name: _query(f"DELETE FROM {name}") for name in names}
        self._insert = {name: _insert(name, columns[name]) for name in names}
        self._current: Content = ()
        self.dump()

    def dump(self) -> Content:
        """What is in the database now."""
        with self._database.snapshot() as snapshot:
            self._current = tuple(self._rows(snapshot, name) for name in self._names)
        return self._current

    def restore(self, content: Content) -> None:
        """Put this content back, in the place of what was there when it was last dumped or restored."""
        pairs = zip(self._names, self._current, content, strict=True)
        changed = [name for name, now, then in pairs if now is not then and now != then]
        if self._watched in changed:
            changed = list(self._names)
        if changed:
            with self._database.transaction() as transaction:
                for name, rows in zip(self._names, content, strict=True):
                    if name in changed:
                        transaction.rows(self._delete[name])
                        for row in rows:
                            transaction.rows(self._insert[name], {f"c{at}": value for at, value in enumerate(row)})
        self._current = content

    def _rows(self, snapshot: Transaction, name: str) -> Rows:
        return tuple(sorted(map(tuple, snapshot.rows(self._select[name])), key=repr))


def _insert(name: str, columns: list[str]) -> Query:
    places = ", ".join(f":c{at}" for at in range(len(columns)))
    return _query(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({places})")


def _query(text: str) -> Query:
    return Query(text, "")
