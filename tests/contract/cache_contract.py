"""The cache's contract suite: one set of tests against the Protocol, which every backend inherits and none changes."""

from __future__ import annotations

import pytest

from orderctl.stores.cache import CacheStore
from tests.contract.cache_contract_applying import ApplyingContract
from tests.contract.cache_contract_batches import BatchContract, RaceContract
from tests.contract.cache_contract_following import FollowingContract
from tests.contract.cache_contract_loading import LoadingContract
from tests.contract.cache_contract_scanning import ScanningContract
from tests.contract.cache_contract_syncing import SyncingContract, SyncingRaceContract
from tests.contract.cache_contract_timers import TimerContract
from tests.contract.cache_contract_writing import WritingContract
from tests.contract.cache_harness import CacheHarness


class CacheContract(
    WritingContract,
    ApplyingContract,
    LoadingContract,
    BatchContract,
    RaceContract,
    SyncingContract,
    SyncingRaceContract,
    FollowingContract,
    TimerContract,
    ScanningContract,
):
    """A backend's test class inherits this and gives a fixture named `harness`: a `CacheHarness` over an empty cache."""

    @pytest.fixture
    def cache(self, harness: CacheHarness) -> CacheStore:
        """The store under test."""
        return harness.open()
