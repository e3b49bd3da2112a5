"""The late results' contract, kept by SQLite in a file and in memory, and by two shards as if they were one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.late_contract import LateContract
from tests.contract.late_contract_keeping import DurableContract
from tests.contract.late_harnesses import FileLateHarness, ShardedLateHarness


class TestLateSqliteFile(LateContract, DurableContract):
    """Each store object has its own connections."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[FileLateHarness]:
        """A database in a fresh directory."""
        harness = FileLateHarness(tmp_path / "hot.db")
        yield harness
        harness.restart()


class TestLateSqliteMemory(LateContract):
    """All store objects share one connection, in turns."""

    @pytest.fixture
    def harness(self) -> Iterator[FileLateHarness]:
        """A database of its own."""
        harness = FileLateHarness(None)
        yield harness
        harness.restart()


class TestLateSharded(LateContract, DurableContract):
    """Batches are spread over both, and put together again."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[ShardedLateHarness]:
        """Two databases in a fresh directory."""
        harness = ShardedLateHarness(tmp_path)
        yield harness
        harness.restart()
