"""The contract of expirations, kept by keyspace events of a real Redis Cluster of three primaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from orderctl.clock import SystemClock
from orderctl.stores.expirations import Expirations
from orderctl.stores.redis_expirations import open_redis_expirations
from orderctl.stores.redis_nodes import Access
from tests.contract.cache_harness import GROUPS
from tests.contract.cache_redis_harness import RedisCacheHarness
from tests.contract.expirations_contract import ExpirationsContract
from tests.real.redis_servers import TIMEOUT_S, RedisServers, Server, redis_servers, wait_for
from tests.stack import needs

pytestmark = needs()


class Harness(RedisCacheHarness):
    """An `ExpirationsHarness`. The servers begin without telling of anything."""

    def __init__(self, servers: RedisServers) -> None:
        super().__init__(servers)
        self._listeners: list[Expirations] = []

    def listen(self) -> Expirations:
        listener = open_redis_expirations(
            self._servers.addresses, groups=GROUPS, access=Access(timeout_s=TIMEOUT_S), clock=SystemClock()
        )
        self._listeners.append(listener)
        listener.poll(0)
        return listener

    def run_out_of_memory(self) -> None:
        for server in self._servers.servers:
            server.client.config_set("maxmemory", 1)
            # A server evicts before it does something else, and for half a millisecond at a time.
            wait_for(partial(self._is_emptied, server), "all that may go was evicted")
            server.client.config_set("maxmemory", "128mb")

    def _is_emptied(self, server: Server) -> bool:
        return b"expires=" not in server.ask("INFO", "keyspace") or b"expires=0" in server.ask("INFO", "keyspace")

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        super().close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    with redis_servers(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


@pytest.fixture
def harness(servers: RedisServers) -> Iterator[Harness]:
    for server in servers.servers:
        server.client.config_set("notify-keyspace-events", "")
    with closing(Harness(servers)) as harness:
        yield harness


class TestOnACluster(ExpirationsContract):
    """The whole suite."""
