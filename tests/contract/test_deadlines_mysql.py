"""The contract of deadlines, kept by a real MariaDB and by a real MySQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderctl.stores.mysql_hot import MysqlHot, open_mysql_hot, server_of
from tests.contract.deadline_contract import DeadlineContract
from tests.contract.deadline_harness import OpenedDeadlines
from tests.contract.feed_mysql_harness import MysqlFeedHarness
from tests.contract.hot_harness import GROUPS
from tests.stack import RunningStack, needs


class MysqlDeadlines:
    """`DeadlineHarness` over a database of its own. The database's clock is the server's."""

    def __init__(self, feeds: MysqlFeedHarness) -> None:
        self._feeds = feeds
        self._opened: list[MysqlHot] = []

    def open(self) -> OpenedDeadlines:
        hot = open_mysql_hot(self._feeds.server, groups=GROUPS)
        self._opened.append(hot)
        return OpenedDeadlines(hot.store, hot.deadlines, lambda: self._feeds.keep(self._feeds.open_feed().open(None)))

    def now_us(self) -> int:
        return self._feeds.hot.now_us()

    def pass_time(self, seconds: float) -> None:
        self._feeds.hot.pass_time(seconds)

    def set_epoch(self, epoch: int) -> None:
        self._feeds.hot.set_epoch(epoch)

    def close(self) -> None:
        """Drop the database."""
        for hot in self._opened:
            hot.close()
        self._feeds.close()


class RealDeadlineContract(DeadlineContract):
    """Each store object has its own connections, and each test a database of its own."""

    @pytest.fixture
    def servers(self) -> RunningStack:
        """Where the server is."""
        raise NotImplementedError

    @pytest.fixture
    def harness(self, servers: RunningStack) -> Iterator[MysqlDeadlines]:
        """An empty database."""
        harness = MysqlDeadlines(MysqlFeedHarness(server_of(servers.config.mysql.shards[0])))
        yield harness
        harness.close()


@needs("sql")
class TestDeadlinesMariadb(RealDeadlineContract):
    """MariaDB 10.11 or later."""

    @pytest.fixture
    def servers(self, stack: RunningStack) -> RunningStack:
        return stack


@needs("mysql")
class TestDeadlinesMysql(RealDeadlineContract):
    """MySQL 8."""

    @pytest.fixture
    def servers(self, mysql_stack: RunningStack) -> RunningStack:
        return mysql_stack
