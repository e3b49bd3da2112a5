"""`replay` over MySQL, Redis Cluster, Kafka and Cassandra."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.replay_contract import ReplayContract
from tests.real.real_flow import RealFlow, real_flow
from tests.stack import RunningStack, needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

MANY = 1_000


@pytest.fixture
def flow(stack: RunningStack, tmp_path: Path) -> Iterator[RealFlow]:
    """On the stack."""
    with real_flow(stack.config, tmp_path / "audit.jsonl") as flow:
        yield flow


@pytest.fixture
def many(pytestconfig: pytest.Config) -> int:
    """As many as are asked for."""
    return pytestconfig.getoption("orders") or MANY


class TestReal(ReplayContract):
    """The real servers."""
