"""`HotHarness` over a `ShardedHotStore` of two databases in memory, which share the groups unequally."""

from __future__ import annotations

from orderctl.contracts import Query
from orderctl.stores.sharded import Shard, ShardedHotStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.registry import SqliteRegistry, found_deployment
from orderctl.stores.sqlite.schema import HOT
from tests.contract.hot_harness import GROUPS, Opened
from tests.contract.hot_sqlite_harness import SET_EPOCH, SqliteHarness

RANGES = (range(24), range(24, GROUPS))


class ShardedHarness(SqliteHarness):
    """Every store object is a router of its own over the same two shards; the registry is the first shard's."""

    def __init__(self) -> None:
        super().__init__()
        self._databases = [Database(None, HOT) for _ in RANGES]
        for database in self._databases:
            database.share()

    def open(self, *, groups: int = GROUPS) -> Opened:
        for database in self._databases:
            found_deployment(database, groups)
        shards = [
            Shard(f"shard-{number}", own, SqliteHotStore(database))
            for number, (own, database) in enumerate(zip(RANGES, self._databases, strict=True))
        ]
        registry = SqliteRegistry(self._databases[0], self._clock)
        return self._keep(Opened(ShardedHotStore(shards, groups=groups), registry))

    def set_epoch(self, epoch: int) -> None:
        self._run(SET_EPOCH, {"epoch": epoch})

    def close(self) -> None:
        """Let the databases go."""
        self.restart()
        for database in self._databases:
            database.release()

    def _run(self, query: Query, parameters: dict[str, object]) -> None:
        for database in self._databases:
            with database.transaction() as transaction:
                transaction.rows(query, parameters)
