"""The hot tier's contract, kept by SQLite in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hot_contract import HotContract
from tests.contract.hot_sqlite_harness import FileHarness


class TestHotSqliteFile(HotContract):
    """Each store object has its own connections."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[FileHarness]:
        """A database in a fresh directory."""
        harness = FileHarness(tmp_path / "hot.db")
        yield harness
        harness.restart()
