"""The hot tier's contract suite: one set of tests against the Protocols, which every backend inherits and none changes."""

from __future__ import annotations

import pytest

from orderctl.stores.hot import HotStore
from orderctl.stores.registry import Registry
from tests.contract.hot_contract_changing import ChangingContract
from tests.contract.hot_contract_creating import CreatingContract
from tests.contract.hot_contract_epochs import EpochContract
from tests.contract.hot_contract_moving import MovingContract
from tests.contract.hot_contract_paging import PagingContract
from tests.contract.hot_contract_races import RaceContract
from tests.contract.hot_contract_reading import ReadingContract
from tests.contract.hot_contract_registry import RegistryContract
from tests.contract.hot_harness import HotHarness, Opened


class HotContract(
    CreatingContract,
    ChangingContract,
    ReadingContract,
    PagingContract,
    MovingContract,
    EpochContract,
    RaceContract,
    RegistryContract,
):
    """A backend's test class inherits this and gives a fixture named `harness`: a `HotHarness` over an empty database."""

    @pytest.fixture
    def opened(self, harness: HotHarness) -> Opened:
        """What one process has open."""
        return harness.open()

    @pytest.fixture
    def store(self, opened: Opened) -> HotStore:
        """The store under test."""
        return opened.store

    @pytest.fixture
    def registry(self, opened: Opened) -> Registry:
        """The registry under test."""
        return opened.registry
