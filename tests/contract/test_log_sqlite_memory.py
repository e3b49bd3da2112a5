"""The log's contract, kept by the embedded store in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.log_contract import LogContract
from tests.contract.log_sqlite_harness import SqliteLogHarness


class TestLogSqliteMemory(LogContract):
    """Store objects share the one database."""

    @pytest.fixture
    def harness(self) -> Iterator[SqliteLogHarness]:
        """A log of its own."""
        harness = SqliteLogHarness(None)
        yield harness
        harness.close()
