"""The archive's contract suite: one set of tests against the Protocol, which every backend inherits and none changes."""

from __future__ import annotations

import pytest

from orderctl.stores.archive import ArchiveStore
from tests.contract.archive_contract_sharing import SharingContract
from tests.contract.archive_contract_versions import VersionContract
from tests.contract.archive_contract_writing import WritingContract
from tests.contract.archive_harness import ArchiveHarness


class ArchiveContract(WritingContract, VersionContract, SharingContract):
    """A backend's test class inherits this and gives a fixture named `harness`: an `ArchiveHarness` over an empty archive."""

    @pytest.fixture
    def store(self, harness: ArchiveHarness) -> ArchiveStore:
        """The store under test."""
        return harness.open()
