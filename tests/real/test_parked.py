"""Parked messages on MySQL, Redis Cluster, Kafka and Cassandra."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.parked_contract import ParkedContract
from tests.real.real_flow import RealFlow, real_flow
from tests.stack import RunningStack, needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")


@pytest.fixture
def flow(stack: RunningStack, tmp_path: Path) -> Iterator[RealFlow]:
    """On the stack."""
    with real_flow(stack.config, tmp_path / "audit.jsonl") as flow:
        yield flow


class TestReal(ParkedContract):
    """The real servers."""
