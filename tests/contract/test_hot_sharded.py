"""The hot tier's contract, kept by two shards as if they were one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.hot_contract import HotContract
from tests.contract.hot_sharded_harness import ShardedHarness


class TestHotSharded(HotContract):
    """Batches are spread over both, and put together again."""

    @pytest.fixture
    def harness(self) -> Iterator[ShardedHarness]:
        """Two databases of its own."""
        harness = ShardedHarness()
        yield harness
        harness.close()
