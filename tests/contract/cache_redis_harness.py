"""The cache on Redis under the contract suite: a real cluster, emptied for each test, on a clock that nobody can move."""

from __future__ import annotations

import threading
from typing import Any

from orderctl.ids import group_of
from orderctl.stores.redis import RedisCacheStore, entry_key
from tests.contract.cache_harness import GROUPS, TTL_MS
from tests.real.redis_servers import RedisServers, Server

# A slot's keys at one instant, and back again at one: as a script, since MULTI is for keys of one slot.
_SNAPSHOT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  found[#found + 1] = {key, redis.call('DUMP', key), redis.call('PEXPIRETIME', key)}
end
return found
"""
_PUT_BACK = """
redis.call('FLUSHALL')
for i = 1, #ARGV, 3 do redis.call('RESTORE', ARGV[i], math.max(ARGV[i + 2], 0), ARGV[i + 1], 'ABSTTL') end
return #ARGV
"""
Past = dict[int, list[Any]]
"""By each server's port its keys, their contents and expiries (Unix ms), one after another."""


class RedisCacheHarness:
    """A `CacheHarness`. Each store has connections of its own, as if it were in another process."""

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers
        self._opened: list[RedisCacheStore] = []
        servers.flush()

    def open(self) -> RedisCacheStore:
        store = self._servers.open()
        self._opened.append(store)
        return store

    def now_us(self) -> int:
        seconds, us = self._servers.servers[0].ask("TIME")
        return int(seconds) * 1_000_000 + int(us)

    def pass_time(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def put_bytes(self, order_id: str, value: bytes) -> None:
        self._server(order_id).ask("SET", entry_key(order_id, GROUPS), value, "PX", TTL_MS)

    def peek(self, order_id: str) -> tuple[bytes, int] | None:
        server, key = self._server(order_id), entry_key(order_id, GROUPS)
        value = server.ask("GET", key)
        return None if value is None else (value, server.ask("PEXPIRETIME", key) * 1000)

    def evict(self, order_id: str) -> None:
        self._server(order_id).ask("DEL", entry_key(order_id, GROUPS))

    def snapshot(self) -> Past:
        past: Past = {}
        for server in self._servers.servers:
            past[server.port] = [one for found in server.ask("EVAL", _SNAPSHOT, 0) for one in found]
        return past

    def put_back(self, past: Past) -> None:
        for server in self._servers.servers:
            server.ask("EVAL", _PUT_BACK, 0, *(past[server.port]))

    def close(self) -> None:
        """Close every store that was opened."""
        for store in self._opened:
            store.close()

    def _server(self, order_id: str) -> Server:
        return self._servers.owner(group_of(order_id, GROUPS))
