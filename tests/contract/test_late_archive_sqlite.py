"""The late archive's contract, kept by SQLite in a file and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.late_archive_contract import LateArchiveContract
from tests.contract.late_harness import a_late
from tests.contract.late_harnesses import SqliteLateArchiveHarness


class TestLateArchiveSqliteFile(LateArchiveContract):
    """Each store object has its own connections."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SqliteLateArchiveHarness]:
        """An archive in a fresh directory."""
        harness = SqliteLateArchiveHarness(tmp_path / "archive.db")
        yield harness
        harness.close()

    def test_it_is_there_after_a_restart(self, harness: SqliteLateArchiveHarness) -> None:
        """What was acknowledged is in the file."""
        result = a_late()
        harness.open().write([result])
        harness.restart()
        assert harness.open().load([result.order_id]) == [[result]]


class TestLateArchiveSqliteMemory(LateArchiveContract):
    """All store objects share one connection, in turns."""

    @pytest.fixture
    def harness(self) -> Iterator[SqliteLateArchiveHarness]:
        """An archive of its own."""
        harness = SqliteLateArchiveHarness(None)
        yield harness
        harness.close()
