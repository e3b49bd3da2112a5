"""The embedded cache under the contract suite: in a file or in memory, by a clock that moves when told to."""

from __future__ import annotations

from pathlib import Path

from orderctl.clock import ManualClock
from orderctl.contracts import Query
from orderctl.stores.sqlite.cache import USED_BYTES_MAX, SqliteCacheStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.schema import CACHE

BOOT = "this run"

_PUT = Query("INSERT OR REPLACE INTO entries (order_id, value, expires_at_us) VALUES (:key, :value, :expires)", "")
_PEEK = Query("SELECT value, expires_at_us FROM entries WHERE order_id = :key AND expires_at_us > :now", "")
_EVICT = Query("DELETE FROM entries WHERE order_id = :key", "")
_COUNT = Query("SELECT count(*) FROM entries", "")


def key(order_id: str) -> bytes:
    """The entry's primary key."""
    return bytes.fromhex(order_id.replace("-", ""))


class SqliteCacheHarness:
    """A `CacheHarness`. Stores on a file have a connection each, as if they were in other processes; in memory they share it."""

    def __init__(self, path: Path | None) -> None:
        self.clock = ManualClock()
        self._path = path
        self._database = Database(path, CACHE, synchronous="NORMAL")
        self._database.share()
        self._opened: list[SqliteCacheStore] = []

    def open(self, *, boot: str | None = BOOT, used_bytes_max: int = USED_BYTES_MAX) -> SqliteCacheStore:
        database = self._database if self._path is None else Database(self._path, CACHE, synchronous="NORMAL")
        store = SqliteCacheStore(database, clock=self.clock, boot=boot, used_bytes_max=used_bytes_max)
        self._opened.append(store)
        return store

    def now_us(self) -> int:
        return self.clock.now_us()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def put_bytes(self, order_id: str, value: bytes) -> None:
        with self._database.transaction() as transaction:
            expires = self.now_us() + 60_000_000
            transaction.rows(_PUT, {"key": key(order_id), "value": value, "expires": expires})

    def peek(self, order_id: str) -> tuple[bytes, int] | None:
        with self._database.snapshot() as snapshot:
            row = snapshot.row(_PEEK, {"key": key(order_id), "now": self.now_us()})
        return None if row is None else (row[0], row[1])

    def evict(self, order_id: str) -> None:
        with self._database.transaction() as transaction:
            transaction.rows(_EVICT, {"key": key(order_id)})

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
