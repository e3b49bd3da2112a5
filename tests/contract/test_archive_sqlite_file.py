"""The archive's contract, kept by SQLite in a file: as it is, and playing one that syncs later."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.errors import DataDirError, TierUnavailable
from orderctl.stores.sqlite.archive import open_embedded_archive
from tests.contract.archive_contract import ArchiveContract
from tests.contract.archive_harness import a_final
from tests.contract.archive_sqlite_harness import SqliteArchiveHarness


class TestArchiveSqliteFile(ArchiveContract):
    """Each store object has its own connections."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SqliteArchiveHarness]:
        """An archive in a fresh directory."""
        harness = SqliteArchiveHarness(tmp_path / "archive.db")
        yield harness
        harness.close()

    def test_an_archive_without_a_folder_cannot_be_opened(self, harness: SqliteArchiveHarness, tmp_path: Path) -> None:
        """The folder is not made: it may be a disk that is not there."""
        with pytest.raises(TierUnavailable, match="cannot make"):
            open_embedded_archive(tmp_path / "missing" / "archive.db", clock=harness.clock)
        assert not (tmp_path / "missing").exists()

    def test_an_archive_of_a_newer_schema_is_refused(self, harness: SqliteArchiveHarness, tmp_path: Path) -> None:
        """And left as it is."""
        harness.open()
        harness.restart()
        with closing(sqlite3.connect(tmp_path / "archive.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA user_version = 99")
        with pytest.raises(DataDirError, match="schema 99"):
            harness.open()


class TestArchiveThatSyncsLater(ArchiveContract):
    """As long as the power stays, nobody notices."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[SqliteArchiveHarness]:
        """An archive that is synced ten seconds after a write."""
        harness = SqliteArchiveHarness(tmp_path / "archive.db", sync_period_s=10)
        yield harness
        harness.close()

    def test_a_write_can_be_read_back_at_once(self, harness: SqliteArchiveHarness) -> None:
        """Which proves nothing about the disk."""
        store, order = harness.open(), a_final()
        store.write([order])
        assert store.load([order.order_id]) == [order]
        assert store.lose_power() == 2
        assert store.load([order.order_id]) == [None]
