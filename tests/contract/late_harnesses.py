"""Every backend of the late results, over the harness of the orders that they stand beside."""

from __future__ import annotations

from pathlib import Path

from orderctl.clock import ManualClock
from orderctl.stores.cassandra_late import CassandraLateArchive
from orderctl.stores.hot import HotStore
from orderctl.stores.late import LateStore
from orderctl.stores.mysql_driver import MysqlServer
from orderctl.stores.mysql_hot import MysqlHot, open_mysql_hot
from orderctl.stores.sharded import Shard, ShardedHotStore
from orderctl.stores.sharded_late import ShardedLateStore
from orderctl.stores.sqlite.embedded import EmbeddedHot, open_embedded_hot
from orderctl.stores.sqlite.late_archive import SqliteLateArchive
from tests.contract.archive_cassandra_harness import CassandraArchiveHarness
from tests.contract.archive_sqlite_harness import SqliteArchiveHarness
from tests.contract.hot_harness import GROUPS
from tests.contract.hot_mysql_harness import MysqlHarness
from tests.contract.hot_sharded_harness import RANGES


class FileLateHarness:
    """Every store has connections of its own, as if it were another process's; without a path all share one memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._opened: list[EmbeddedHot] = []

    def open(self) -> LateStore:
        return self._embedded().late

    def hot(self) -> HotStore:
        return self._embedded().store

    def restart(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def _embedded(self) -> EmbeddedHot:
        if self._path is None and self._opened:
            return self._opened[0]
        self._opened.append(open_embedded_hot(self._path, groups=GROUPS, clock=ManualClock()))
        return self._opened[-1]


class ShardedLateHarness:
    """Two files, which share the groups unequally."""

    def __init__(self, folder: Path) -> None:
        self._shards = [FileLateHarness(folder / f"shard-{number}.db") for number in range(len(RANGES))]
        self._opened: list[ShardedHotStore] = []

    def open(self) -> LateStore:
        shards = zip(RANGES, self._shards, strict=True)
        return ShardedLateStore([(own, shard.open()) for own, shard in shards], groups=GROUPS)

    def hot(self) -> HotStore:
        shards = zip(RANGES, self._shards, strict=True)
        hot = ShardedHotStore([Shard(f"{own}", own, shard.hot()) for own, shard in shards], groups=GROUPS)
        self._opened.append(hot)
        return hot

    def restart(self) -> None:
        while self._opened:
            self._opened.pop().close()
        for shard in self._shards:
            shard.restart()


class MysqlLateHarness:
    """A database of its own; every store has a pool of its own."""

    def __init__(self, server: MysqlServer) -> None:
        self._harness = MysqlHarness(server)
        self._opened: list[MysqlHot] = []

    def open(self) -> LateStore:
        return self._open().late

    def hot(self) -> HotStore:
        return self._open().store

    def restart(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def close(self) -> None:
        """Drop the database."""
        self.restart()
        self._harness.close()

    def _open(self) -> MysqlHot:
        self._opened.append(open_mysql_hot(self._harness.server, groups=GROUPS))
        return self._opened[-1]


class SqliteLateArchiveHarness(SqliteArchiveHarness):
    """The late results of its stores."""

    def open(self) -> SqliteLateArchive:  # type: ignore[override]
        return super().open().late()


class CassandraLateArchiveHarness(CassandraArchiveHarness):
    """The late results of its stores."""

    def open(self) -> CassandraLateArchive:  # type: ignore[override]
        return super().open().late()

    def close(self) -> None:
        """Let everything go."""
        self.restart()
