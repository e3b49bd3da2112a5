"""The cache's contract, kept by the store on a real Redis Cluster of three primaries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.cache_contract import CacheContract
from tests.contract.cache_redis_harness import RedisCacheHarness
from tests.real.redis_servers import RedisServers, redis_servers
from tests.stack import needs

pytestmark = needs()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    with redis_servers(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


@pytest.fixture
def harness(servers: RedisServers) -> Iterator[RedisCacheHarness]:
    harness = RedisCacheHarness(servers)
    yield harness
    harness.close()


class TestOnACluster(CacheContract):
    """The whole suite, each store with connections of its own."""
