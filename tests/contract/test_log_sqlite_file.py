"""The log's contract, kept by the embedded store in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.log_contract import LogContract
from tests.contract.log_sqlite_harness import SqliteLogHarness


class TestLogSqliteFile(LogContract):
    """Each store object has its own connections."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SqliteLogHarness]:
        """A log in a fresh directory."""
        harness = SqliteLogHarness(tmp_path / "log.db")
        yield harness
        harness.close()
