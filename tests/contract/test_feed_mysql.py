"""The change feed's contract, kept by the binlog of a real MariaDB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.feed_contract import FeedContract
from tests.contract.feed_mysql_harness import MysqlFeedHarness
from tests.real.mariadb_server import MariadbServer, mariadb
from tests.stack import needs

__all__ = ["mariadb"]

pytestmark = needs()


class TestFeedMysql(FeedContract):
    """Each reader has a connection of its own, and so has each store."""

    @pytest.fixture
    def harness(self, mariadb: MariadbServer) -> Iterator[MysqlFeedHarness]:
        """A database of its own."""
        with mariadb.session() as run:
            run("SET GLOBAL binlog_row_metadata = FULL")
        harness = MysqlFeedHarness(mariadb.server)
        yield harness
        harness.close()
