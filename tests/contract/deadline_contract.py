"""The contract of deadlines: one set of tests against the Protocol, which every backend inherits and none changes."""

from __future__ import annotations

import pytest

from orderctl.stores.deadlines import DeadlineStore
from orderctl.stores.hot import HotStore
from tests.contract.deadline_contract_races import DeadlineRaceContract
from tests.contract.deadline_contract_sweeping import SweepingContract
from tests.contract.deadline_contract_timing_out import TimingOutContract
from tests.contract.deadline_harness import DeadlineHarness, OpenedDeadlines


class DeadlineContract(TimingOutContract, SweepingContract, DeadlineRaceContract):
    """A backend's test class inherits this and gives a fixture named `harness`: a `DeadlineHarness` over an empty database."""

    @pytest.fixture
    def opened(self, harness: DeadlineHarness) -> OpenedDeadlines:
        """What one process has open."""
        return harness.open()

    @pytest.fixture
    def hot(self, opened: OpenedDeadlines) -> HotStore:
        """The orders."""
        return opened.hot

    @pytest.fixture
    def deadlines(self, opened: OpenedDeadlines) -> DeadlineStore:
        """The store under test."""
        return opened.deadlines
