"""What the tests of the cache on a real Redis Cluster share: the cluster, emptied for each test, and a store on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest

from orderctl.errors import TierUnavailable
from orderctl.stores.redis import RedisCacheStore
from tests.contract.cache_harness import GROUPS, CacheSuite
from tests.real.redis_servers import RedisServers, Server


class RedisSuite(CacheSuite):
    """A test class inherits this."""

    @pytest.fixture
    def servers(self, redis_cluster: RedisServers) -> RedisServers:
        """The cluster."""
        redis_cluster.flush()
        return redis_cluster

    @pytest.fixture
    def cache(self, servers: RedisServers) -> Iterator[RedisCacheStore]:
        """A store that has not asked the cluster for anything yet."""
        store = servers.open()
        yield store
        store.close()


def took_s(call: Callable[[], Any]) -> float:
    """How long a call took that found a server away."""
    begin = monotonic()
    with pytest.raises(TierUnavailable, match="cache"):
        call()
    return monotonic() - begin


def group_on(servers: RedisServers, server: Server) -> int:
    """A group that the server owns."""
    return next(group for group in range(GROUPS) if servers.owner(group) is server)


def is_answered(cache: RedisCacheStore, *groups: int) -> bool:
    """Whether the groups' owners answer."""
    with suppress(TierUnavailable):
        return len(cache.marks(groups)) == len(groups)
    return False
