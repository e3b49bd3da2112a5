"""`HotHarness` over SQLite: a file that each `open` opens anew, or one database in memory."""

from __future__ import annotations

from pathlib import Path

from orderctl.clock import ManualClock
from orderctl.contracts import Query
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.registry import SqliteRegistry, found_deployment
from orderctl.stores.sqlite.schema import HOT
from tests.contract.hot_harness import GROUPS, Opened

SET_EPOCH = Query("UPDATE deployment SET epoch = :epoch", "Raise the epoch.")


class SqliteHarness:
    """What both harnesses have in common. The database's clock is moved by hand."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._opened: list[Opened] = []

    def restart(self) -> None:
        for opened in self._opened:
            opened.store.close()
            opened.registry.close()
        self._opened.clear()

    def now_us(self) -> int:
        return self._clock.now_us()

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def _keep(self, opened: Opened) -> Opened:
        self._opened.append(opened)
        return opened


class FileHarness(SqliteHarness):
    """Every store has connections of its own, as if it were another process's."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def open(self, *, groups: int = GROUPS) -> Opened:
        embedded = open_embedded_hot(self._path, groups=groups, clock=self._clock)
        return self._keep(Opened(embedded.store, embedded.registry))

    def set_epoch(self, epoch: int) -> None:
        database = Database(self._path, HOT)
        with database.transaction() as transaction:
            transaction.rows(SET_EPOCH, {"epoch": epoch})
        database.close()


class MemoryHarness(SqliteHarness):
    """Every store shares the one database, which lives as long as the harness."""

    def __init__(self) -> None:
        super().__init__()
        self._database = Database(None, HOT)
        self._database.share()

    def open(self, *, groups: int = GROUPS) -> Opened:
        found_deployment(self._database, groups)
        return self._keep(Opened(SqliteHotStore(self._database), SqliteRegistry(self._database, self._clock)))

    def set_epoch(self, epoch: int) -> None:
        with self._database.transaction() as transaction:
            transaction.rows(SET_EPOCH, {"epoch": epoch})

    def close(self) -> None:
        """Let the database go."""
        self.restart()
        self._database.release()
