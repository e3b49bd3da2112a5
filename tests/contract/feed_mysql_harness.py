"""`FeedHarness` over a real MySQL or MariaDB: a database of its own, whose feed begins where the database was made."""

from __future__ import annotations

from typing import Final

from orderctl.clock import SystemClock
from orderctl.stores.binlog import BinlogFeed, BinlogReader
from orderctl.stores.binlog_positions import parse_mariadb, parse_mysql
from orderctl.stores.feed import FeedItem, FeedReader
from orderctl.stores.hot import HotStore
from orderctl.stores.mysql_driver import MysqlServer, connect, drop, send
from tests.contract.feed_harness import PATIENCE_S, SHARD
from tests.contract.hot_mysql_harness import MysqlHarness

ENDS: Final = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('gtid_binlog_pos', 'gtid_executed')"
LOOK_S: Final = 0.02


class MysqlFeedHarness:
    """What was committed takes a moment until it is in the stream, and the suite looks at once: its readers catch up first."""

    def __init__(self, server: MysqlServer) -> None:
        self.hot = MysqlHarness(server)
        self.server = self.hot.server
        self.begin = end_of_binlog(self.server)
        self._readers: list[FeedReader] = []

    def open_store(self) -> HotStore:
        return self.hot.open().store

    def open_feed(self) -> FeedFromHere:
        return FeedFromHere(self.server, self.begin)

    def keep(self, reader: FeedReader) -> FeedReader:
        assert isinstance(reader, BinlogReader)
        caught_up = CaughtUpReader(reader, self.server)
        self._readers.append(caught_up)
        return caught_up

    def raise_epoch(self) -> None:
        assert self.hot.open().registry.raise_epoch(above=0)

    def restart(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        self.hot.restart()

    def close(self) -> None:
        """Drop the database."""
        self.restart()
        self.hot.close()


class FeedFromHere(BinlogFeed):
    """Its oldest change is this database's, so that the whole server's history is not read again by each test."""

    def __init__(self, server: MysqlServer, begin: str) -> None:
        super().__init__(server, shard=SHARD, clock=SystemClock())
        self._begin = begin

    def open(self, position: str | None) -> BinlogReader:
        return super().open(position or self._begin or None)


class CaughtUpReader:
    """A reader that finds what was committed before it is asked, as an embedded one does, also where it is not to wait."""

    def __init__(self, reader: BinlogReader, server: MysqlServer) -> None:
        self._reader = reader
        self._server = server
        self._clock = SystemClock()

    def read(self, limit: int, wait_s: float) -> list[FeedItem]:
        if items := self._reader.read(limit, 0.0):
            return items
        end = end_of_binlog(self._server)
        deadline_s = self._clock.monotonic_s() + PATIENCE_S
        while not includes(self._reader.position, end):
            assert self._clock.monotonic_s() < deadline_s, f"{self._reader.position} does not come to {end}"
            if items := self._reader.read(limit, LOOK_S):
                return items
        return self._reader.read(limit, wait_s)

    def close(self) -> None:
        self._reader.close()


def end_of_binlog(server: MysqlServer) -> str:
    """The position behind everything that was committed, as the server says it."""
    connection = connect(server)
    try:
        known: dict[str, str] = dict(send(connection, ENDS)[1])
        return known.get("gtid_binlog_pos", known.get("gtid_executed", ""))
    finally:
        drop(connection)


def includes(position: str, end: str) -> bool:
    """Whether a reader at `position` has read all up to `end`."""
    if ":" in position + end:
        return parse_mysql(position).includes(parse_mysql(end))
    return parse_mariadb(position).includes(parse_mariadb(end))
