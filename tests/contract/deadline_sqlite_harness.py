"""`DeadlineHarness` over SQLite, in a file or in memory, and over two shards in memory."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from orderctl.clock import ManualClock
from orderctl.stores.deadlines import DeadlineStore
from orderctl.stores.sharded import Shard, ShardedHotStore
from orderctl.stores.sharded_deadlines import DeadlineShard, ShardedDeadlineStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.deadlines import SqliteDeadlineStore
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.feed import SqliteChangeFeed
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.registry import found_deployment
from orderctl.stores.sqlite.schema import HOT
from tests.contract.deadline_harness import OpenedDeadlines
from tests.contract.feed_harness import SHARD
from tests.contract.hot_harness import GROUPS
from tests.contract.hot_sharded_harness import RANGES
from tests.contract.hot_sqlite_harness import SET_EPOCH


class SqliteDeadlines:
    """What all have in common. The database's clock is moved by hand."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._opened = ExitStack()

    def now_us(self) -> int:
        return self._clock.now_us()

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def close(self) -> None:
        """Close everything that was opened."""
        self._opened.close()

    def _set_epoch(self, database: Database, epoch: int) -> None:
        with database.transaction() as transaction:
            transaction.rows(SET_EPOCH, {"epoch": epoch})

    def _memory(self) -> Database:
        database = Database(None, HOT)
        database.share()
        self._opened.callback(database.release)
        found_deployment(database, GROUPS)
        return database


class FileDeadlines(SqliteDeadlines):
    """Every store has connections of its own, as if it were another process's."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def open(self) -> OpenedDeadlines:
        hot = self._opened.enter_context(closing(open_embedded_hot(self._path, groups=GROUPS, clock=self._clock)))
        feed = self._opened.enter_context(closing(hot.open_feed(shard=SHARD, clock=self._clock)))
        return OpenedDeadlines(hot.store, hot.open_deadlines(self._clock), lambda: feed.open(None))

    def set_epoch(self, epoch: int) -> None:
        with closing(Database(self._path, HOT)) as database:
            self._set_epoch(database, epoch)


class MemoryDeadlines(SqliteDeadlines):
    """Every store shares the one database."""

    def __init__(self) -> None:
        super().__init__()
        self._database = self._memory()

    def open(self) -> OpenedDeadlines:
        hot = self._opened.enter_context(closing(SqliteHotStore(self._database)))
        deadlines = SqliteDeadlineStore(self._database, self._clock)
        feed = self._opened.enter_context(closing(SqliteChangeFeed(self._database, clock=self._clock, shard=SHARD)))
        return OpenedDeadlines(hot, deadlines, lambda: feed.open(None))

    def set_epoch(self, epoch: int) -> None:
        self._set_epoch(self._database, epoch)


class ShardedDeadlines(SqliteDeadlines):
    """Every store is a router of its own over the same two shards."""

    def __init__(self) -> None:
        super().__init__()
        self._databases = [self._memory() for _ in RANGES]

    def open(self) -> OpenedDeadlines:
        parts = list(zip(("a", "b"), RANGES, self._databases, strict=True))
        hots = [Shard(name, own, SqliteHotStore(database)) for name, own, database in parts]
        stores: list[tuple[str, range, DeadlineStore]] = [
            (name, own, SqliteDeadlineStore(database, self._clock)) for name, own, database in parts
        ]
        shards = [DeadlineShard(*part) for part in stores]
        hot = self._opened.enter_context(closing(ShardedHotStore(hots, groups=GROUPS)))
        deadlines = self._opened.enter_context(closing(ShardedDeadlineStore(shards, groups=GROUPS)))
        return OpenedDeadlines(hot, deadlines, None)

    def set_epoch(self, epoch: int) -> None:
        for database in self._databases:
            self._set_epoch(database, epoch)
