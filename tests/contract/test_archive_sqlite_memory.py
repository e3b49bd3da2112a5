"""The archive's contract, kept by SQLite in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import structs

from tests.contract.archive_contract import ArchiveContract
from tests.contract.archive_harness import a_final
from tests.contract.archive_sqlite_harness import SqliteArchiveHarness


class TestArchiveSqliteMemory(ArchiveContract):
    """All store objects share one connection, in turns."""

    @pytest.fixture
    def harness(self) -> Iterator[SqliteArchiveHarness]:
        """An archive of its own."""
        harness = SqliteArchiveHarness(None)
        yield harness
        harness.close()

    def test_of_two_contents_under_one_version_the_first_stays(self, harness: SqliteArchiveHarness) -> None:
        """Which never happens, since one version has one content; Cassandra would mix the two."""
        store, order = harness.open(), a_final()
        store.write([order])
        store.write([structs.replace(order, status_reason="zzz")])
        assert store.load([order.order_id]) == [order]
