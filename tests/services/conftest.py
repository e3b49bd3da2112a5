"""Fixtures of the services' tests."""

from collections.abc import Iterator

import pytest

from tests.services.tiers import Bench, open_bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Both services over tiers in memory."""
    with open_bench() as opened:
        yield opened
