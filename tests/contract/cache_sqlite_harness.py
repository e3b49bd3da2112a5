"""The embedded cache under the contract suite: in a file or in memory, by a clock that moves when told to."""

from __future__ import annotations

from pathlib import Path

from orderctl.clock import ManualClock
from orderctl.contracts import Query
from orderctl.ids import group_of
from orderctl.stores.rows import id_bytes
from orderctl.stores.sqlite.cache import USED_BYTES_MAX, SqliteCacheStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Row
from orderctl.stores.sqlite.schema import CACHE
from tests.contract.cache_harness import GROUPS

BOOT = "this run"

_PUT = Query("INSERT OR REPLACE INTO entries VALUES (:group_no, :order_id, :value, :expires)", "")
_PEEK = Query("SELECT value, expires_at_us FROM entries WHERE order_id = :order_id AND expires_at_us > :now", "")
_EVICT = Query("DELETE FROM entries WHERE order_id = :order_id", "")
_COUNT = Query("SELECT count(*) FROM entries", "")
_COLUMNS = {
    "entries": ("group_no", "order_id", "value", "expires_at_us"),
    "marks": ("group_no", "reached"),
    "timers": ("group_no", "order_id", "at_us"),
}
_SELECT = {table: Query(f"SELECT {', '.join(names)} FROM {table}", "") for table, names in _COLUMNS.items()}
_DELETE = {table: Query(f"DELETE FROM {table}", "") for table in _COLUMNS}
_INSERT = {table: Query(f"INSERT INTO {table} VALUES (:{', :'.join(names)})", "") for table, names in _COLUMNS.items()}

Past = dict[str, list[Row]]
"""Every table's rows, as they were at one moment."""


class SqliteCacheHarness:
    """A `CacheHarness`. Stores on a file have a connection each, as if they were in other processes; in memory they share it."""

    def __init__(self, path: Path | None) -> None:
        self.clock = ManualClock()
        self._path = path
        self._database = Database(path, CACHE, synchronous="NORMAL")
        self._database.share()
        self._opened: list[SqliteCacheStore] = []

    def open(
        self, *, groups: int = GROUPS, boot: str | None = BOOT, used_bytes_max: int = USED_BYTES_MAX
    ) -> SqliteCacheStore:
        database = self._database if self._path is None else Database(self._path, CACHE, synchronous="NORMAL")
        store = SqliteCacheStore(database, groups=groups, clock=self.clock, boot=boot, used_bytes_max=used_bytes_max)
        self._opened.append(store)
        return store

    def now_us(self) -> int:
        return self.clock.now_us()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def put_bytes(self, order_id: str, value: bytes) -> None:
        with self._database.transaction() as transaction:
            place = {"group_no": group_of(order_id, GROUPS), "order_id": id_bytes(order_id)}
            transaction.rows(_PUT, place | {"value": value, "expires": self.now_us() + 60_000_000})

    def peek(self, order_id: str) -> tuple[bytes, int] | None:
        with self._database.snapshot() as snapshot:
            row = snapshot.row(_PEEK, {"order_id": id_bytes(order_id), "now": self.now_us()})
        return None if row is None else (row[0], row[1])

    def evict(self, order_id: str) -> None:
        with self._database.transaction() as transaction:
            transaction.rows(_EVICT, {"order_id": id_bytes(order_id)})

    def snapshot(self) -> Past:
        with self._database.snapshot() as snapshot:
            return {table: snapshot.rows(query) for table, query in _SELECT.items()}

    def put_back(self, past: Past) -> None:
        with self._database.transaction() as transaction:
            for table, rows in past.items():
                transaction.rows(_DELETE[table])
                for row in rows:
                    transaction.rows(_INSERT[table], dict(zip(_COLUMNS[table], row, strict=True)))

    def rows(self) -> int:
        """How many rows there are, expired ones too."""
        with self._database.snapshot() as snapshot:
            row = snapshot.row(_COUNT)
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Close every store that was opened, and the cache."""
        for store in self._opened:
            store.close()
        self._database.release()
