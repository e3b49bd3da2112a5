"""The log's contract suite: one set of tests against the Protocol, which every backend inherits and none changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.log_contract_groups import GroupContract
from tests.contract.log_contract_keeping import KeepingContract
from tests.contract.log_contract_publishing import PublishingContract
from tests.contract.log_contract_races import RaceContract
from tests.contract.log_contract_rebalancing import RebalancingContract
from tests.contract.log_contract_seeking import SeekingContract
from tests.contract.log_contract_tailing import TailingContract
from tests.contract.log_contract_taking_over import TakingOverContract
from tests.contract.log_harness import LogHarness, Stage


class LogContract(
    PublishingContract,
    KeepingContract,
    GroupContract,
    RebalancingContract,
    TakingOverContract,
    TailingContract,
    SeekingContract,
    RaceContract,
):
    """A backend's test class inherits this and gives a fixture named `harness`: a `LogHarness`."""

    @pytest.fixture
    def stage(self, harness: LogHarness) -> Iterator[Stage]:
        """A topic of this test's own, not made yet."""
        stage = Stage(harness)
        yield stage
        stage.close()
