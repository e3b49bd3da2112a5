"""What the tests on real servers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.redis_servers import RedisServers, redis_servers


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    """A Redis Cluster to be disturbed; whoever takes it empties it first, see `RedisSuite`."""
    with redis_servers(tmp_path_factory.mktemp("redis")) as servers:
        yield servers
