"""`ArchiveHarness` over SQLite: a file that each `open` opens anew, or one database in memory."""

from __future__ import annotations

from pathlib import Path

from orderctl.clock import ManualClock
from orderctl.stores.sqlite.archive import SqliteArchiveStore, open_embedded_archive
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.schema import ARCHIVE


class SqliteArchiveHarness:
    """Stores on a file have connections of their own, as if they were other processes'; in memory they share them."""

    def __init__(self, path: Path | None, *, sync_period_s: float = 0.0) -> None:
        self.clock = ManualClock()
        self._path = path
        self._sync_period_s = sync_period_s
        self._opened: list[SqliteArchiveStore] = []
        self._memory = Database(None, ARCHIVE) if path is None else None
        if self._memory is not None:
            self._memory.share()

    def open(self) -> SqliteArchiveStore:
        period_s = self._sync_period_s
        if self._memory is not None:
            store = SqliteArchiveStore(self._memory, clock=self.clock, sync_period_s=period_s)
        else:
            store = open_embedded_archive(self._path, clock=self.clock, sync_period_s=period_s)
        self._opened.append(store)
        return store

    def restart(self) -> None:
        for store in self._opened:
            store.close()
        self._opened.clear()

    def close(self) -> None:
        """Let everything go."""
        self.restart()
        if self._memory is not None:
            self._memory.release()
