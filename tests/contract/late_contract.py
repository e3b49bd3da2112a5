"""The late results' contract suite: one set of tests against the Protocol, which every backend inherits and none changes."""

from __future__ import annotations

import pytest

from orderctl.stores.late import LateStore
from tests.contract.late_contract_keeping import KeepingContract
from tests.contract.late_contract_paging import PagingContract
from tests.contract.late_harness import LateHarness


class LateContract(KeepingContract, PagingContract):
    """A backend's test class inherits this and gives a fixture named `harness`: a `LateHarness` over an empty database."""

    @pytest.fixture
    def late(self, harness: LateHarness) -> LateStore:
        """The store under test."""
        return harness.open()
