"""What tests of the operators' verbs are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.stores.tiers import Tiers, open_tiers


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when told to."""
    return ManualClock()


@pytest.fixture
def tiers(clock: ManualClock) -> Iterator[Tiers]:
    """Embedded tiers in memory."""
    opened = open_tiers(Config(), None, clock)
    yield opened
    opened.close()
