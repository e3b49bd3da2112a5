"""The late results' contract, kept by a real MariaDB and by a real MySQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderctl.stores.mysql_hot import server_of
from tests.contract.late_contract import LateContract
from tests.contract.late_contract_keeping import DurableContract
from tests.contract.late_harnesses import MysqlLateHarness
from tests.stack import RunningStack, needs


class RealLateContract(LateContract, DurableContract):
    """Each store object has its own connections, and each test a database of its own."""

    @pytest.fixture
    def servers(self) -> RunningStack:
        """Where the server is."""
        raise NotImplementedError

    @pytest.fixture
    def harness(self, servers: RunningStack) -> Iterator[MysqlLateHarness]:
        """An empty database."""
        harness = MysqlLateHarness(server_of(servers.config.mysql.shards[0]))
        yield harness
        harness.close()


@needs("sql")
class TestLateMariadb(RealLateContract):
    """MariaDB 10.11 or later."""

    @pytest.fixture
    def servers(self, stack: RunningStack) -> RunningStack:
        return stack


@needs("mysql")
class TestLateMysql(RealLateContract):
    """MySQL 8."""

    @pytest.fixture
    def servers(self, mysql_stack: RunningStack) -> RunningStack:
        return mysql_stack
