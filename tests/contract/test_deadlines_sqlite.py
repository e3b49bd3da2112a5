"""The contract of deadlines, kept by SQLite in a file and in memory, and by two shards as if they were one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.deadline_contract import DeadlineContract
from tests.contract.deadline_sqlite_harness import FileDeadlines, MemoryDeadlines, ShardedDeadlines


class TestDeadlinesSqliteFile(DeadlineContract):
    """Each store object has its own connections."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[FileDeadlines]:
        """A database in a fresh directory."""
        harness = FileDeadlines(tmp_path / "hot.db")
        yield harness
        harness.close()


class TestDeadlinesSqliteMemory(DeadlineContract):
    """All store objects share one connection, in turns."""

    @pytest.fixture
    def harness(self) -> Iterator[MemoryDeadlines]:
        """A database of its own."""
        harness = MemoryDeadlines()
        yield harness
        harness.close()


class TestDeadlinesSharded(DeadlineContract):
    """Batches are spread over both shards, and put together again."""

    @pytest.fixture
    def harness(self) -> Iterator[ShardedDeadlines]:
        """Two databases of its own."""
        harness = ShardedDeadlines()
        yield harness
        harness.close()
