"""Parked messages on the embedded stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderctl.clock import ManualClock
from orderctl.stores.tiers import Tiers
from tests.admin.flowing import Flow
from tests.admin.parked_contract import ParkedContract


@pytest.fixture
def flow(tiers: Tiers, clock: ManualClock, tmp_path: Path) -> Flow:
    """Tiers with nothing in them yet."""
    return Flow(tiers, clock, tmp_path / "audit.jsonl")


class TestEmbedded(ParkedContract):
    """The embedded stores."""
