"""The protocol on a real Redis: random walks through the scenarios that the simulation goes through whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from orderctl.stores.redis import RedisCacheStore
from tests.contract.cache_harness import GROUPS
from tests.contract.cache_redis_harness import RedisCacheHarness
from tests.real.redis_servers import RedisServers
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.walk import walk
from tests.simulation.world import World
from tests.stack import needs

pytestmark = needs()

WALKS = 40
"""Of each scenario."""


class RedisNode:
    """The cache of a simulated world on a real cluster, emptied for each walk."""

    def __init__(self, servers: RedisServers) -> None:
        self._harness = RedisCacheHarness(servers)
        self.store: RedisCacheStore = self._harness.open()

    def evict(self, order_id: str) -> None:
        self._harness.evict(order_id)

    def content(self) -> Any:
        return self._harness.snapshot()

    def put_back(self, content: Any) -> None:
        self._harness.put_back(content)

    def close(self) -> None:
        self._harness.close()


@pytest.fixture
def servers(redis_cluster: RedisServers) -> Iterator[RedisServers]:
    redis_cluster.flush()
    yield redis_cluster
    redis_cluster.flush()


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.is_real])
def test_nothing_goes_wrong_on_any_walk(
    name: str, servers: RedisServers, record_property: Callable[[str, object], None]
) -> None:
    """Different walks, each to its end."""
    random, trails = Random(7), set[str]()
    for _ in range(WALKS):
        world = World(node=RedisNode(servers), groups=GROUPS)
        trails.add("\n".join(walk(SCENARIOS[name], world, random)))
        world.close()
    record_property("walks", len(trails))
    assert len(trails) > 1
