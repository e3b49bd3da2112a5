"""The hot tier's contract, kept by SQLite in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.hot_contract import HotContract
from tests.contract.hot_sqlite_harness import MemoryHarness


class TestHotSqliteMemory(HotContract):
    """All store objects share one connection, in turns."""

    @pytest.fixture
    def harness(self) -> Iterator[MemoryHarness]:
        """A database of its own."""
        harness = MemoryHarness()
        yield harness
        harness.close()
