"""A Redis Cluster of three primaries for tests to disturb: started in seconds, on ports of its own, gone with the test run."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from orderctl.clock import SystemClock
from orderctl.stores.redis import RedisCacheStore, mark_key, open_redis_cache
from orderctl.stores.redis_nodes import Access
from tests.contract.cache_harness import GROUPS
from tests.real.ports import claim

PRIMARIES = 3
PORTS = range(26011, 26091, 10)
"""Where a cluster's ports may begin; those of its bus lie 100 above. Below the ports that outgoing connections take."""
DEADLINE_S = 60.0
TIMEOUT_S = 10.0
"""What a store waits for a node that does not answer: longer than a busy machine keeps a healthy one from answering."""

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
cluster-enabled yes
cluster-port {bus}
cluster-config-file nodes.conf
cluster-node-timeout 60000
cluster-require-full-coverage no
repl-diskless-sync-delay 0
dir "{folder}"
logfile "{folder}/redis.log"
save ""
appendonly no
maxmemory 128mb
maxmemory-policy volatile-lfu
"""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` says when it is true at last; a failed test if it never is."""
    clock, pause = SystemClock(), threading.Event()
    deadline_s = clock.monotonic_s() + DEADLINE_S
    while not (value := condition()):
        assert clock.monotonic_s() < deadline_s, f"waited {DEADLINE_S} s in vain until {what}"
        clock.wait(pause, 0.02)
    return value


class Server:
    """One redis-server, empty whenever it starts."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(host="127.0.0.1", port=port, protocol=2)
        folder.mkdir(parents=True)
        text = _CONFIGURATION.format(port=port, bus=port + 100, folder=folder)
        (folder / "redis.conf").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        binary = shutil.which("redis-server")
        assert binary, "there is no redis-server; `apt-get install redis-server` installs it"
        self._process = subprocess.Popen([binary, str(self._folder / "redis.conf")], stdin=subprocess.DEVNULL)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'cat >/dev/null; kill -9 "$1"', "guard", str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests
        )
        wait_for(self._answers, f"the server on port {self.port} answers")

    def kill(self) -> None:
        """End it at once; what it held is gone. Its guard does so, too, when we end without a word."""
        if self._process is not None and self._guard is not None:
            self._guard.communicate(timeout=DEADLINE_S)
            self._process.wait(DEADLINE_S)
            self._process = self._guard = None
        self.client.connection_pool.disconnect()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Meanwhile it lives, takes connections, and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """Meanwhile nothing that needs memory is taken, and nothing evicted."""
        self.client.config_set("maxmemory-policy", "noeviction")
        self.client.config_set("maxmemory", "1mb")
        try:
            yield
        finally:
            self.client.config_set("maxmemory", "128mb")
            self.client.config_set("maxmemory-policy", "volatile-lfu")

    @property
    def node_id(self) -> str:
        """Its name in the cluster."""
        return str(self.ask("CLUSTER", "MYID").decode())

    def ask(self, *words: Any) -> Any:
        """The reply to a command, as the server gives it."""
        # Past the driver's table of commands, which turns replies into something nicer.
        connection: Any = self.client.connection_pool.get_connection()
        try:
            connection.send_command(*words)
            return connection.read_response()
        finally:
            self.client.connection_pool.release(connection)

    def owns(self, slot: int, owner: Server) -> bool:
        """Whether, as far as this server knows, the slot is `owner`'s."""
        return any(
            first <= slot <= last and port == owner.port
            for first, last, (_, port, *_), *_ in self.ask("CLUSTER", "SLOTS")
        )

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError):
            return bool(self.client.ping())
        return False


class RedisServers:
    """The cluster. Tests leave it as they found it, but for its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first_port = claim(_ports())
        self.servers: list[Server] = []

    def start(self) -> None:
        """Start the primaries, and give each a third of the slots."""
        for _ in range(PRIMARIES):
            self.add_server()
        share = -(-REDIS_CLUSTER_HASH_SLOTS // PRIMARIES)
        for at, server in enumerate(self.servers):
            last = min((at + 1) * share, REDIS_CLUSTER_HASH_SLOTS) - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", at * share, last)
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        self.meet()

    def add_server(self) -> Server:
        """Start a further server, which nobody knows as yet."""
        port = self._first_port + len(self.servers)
        server = Server(self._folder / str(port), port)
        self.servers.append(server)
        server.start()
        return server

    def meet(self) -> None:
        """Make all servers known to each other."""
        for one, other in combinations(self.servers, 2):
            one.ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.port + 100)
        wait_for(self._is_whole, "the cluster is one")

    def stop(self) -> None:
        """End all of it."""
        for server in self.servers:
            server.kill()
            server.client.close()

    @property
    def addresses(self) -> list[str]:
        """Where the servers are, as a configuration names them."""
        return [f"127.0.0.1:{server.port}" for server in self.servers]

    def open(self, *, groups: int = GROUPS, timeout_s: float = TIMEOUT_S) -> RedisCacheStore:
        """A store on the cluster, which the caller closes."""
        return open_redis_cache(self.addresses, groups=groups, access=Access(timeout_s=timeout_s), clock=SystemClock())

    def owner(self, group: int) -> Server:
        """The server that owns the group's slot."""
        slot = key_slot(mark_key(group).encode())
        return next(server for server in self.servers if self.servers[0].owns(slot, server))

    def flush(self) -> None:
        """Forget every key."""
        for server in self.servers:
            server.client.flushall()

    def _is_whole(self) -> bool:
        wanted = {"cluster_state:ok", "cluster_slots_assigned:16384", f"cluster_known_nodes:{len(self.servers)}"}
        return all(wanted <= set(server.ask("CLUSTER", "INFO").decode().split()) for server in self.servers)


class Move:
    """A group's slot on its way from its owner to another server."""

    def __init__(self, group: int, source: Server, target: Server) -> None:
        self.slot = key_slot(mark_key(group).encode())
        self.source = source
        self.target = target

    def begin(self) -> None:
        """Both ends know; the keys are at the source."""
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.node_id)
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.node_id)

    def carry(self, *keys: str) -> None:
        """These keys go over; without any, all that are left."""
        wanted = list(keys) or self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, 100_000)
        if wanted:
            self.source.ask("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5_000, "KEYS", *wanted)

    def end(self) -> None:
        """All keys are at the target, which owns the slot from now on."""
        self.carry()
        for server in (self.target, self.source):
            server.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.node_id)


@contextmanager
def redis_servers(folder: Path) -> Iterator[RedisServers]:
    """A cluster that runs meanwhile."""
    servers = RedisServers(folder)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


def _ports() -> Iterator[list[int]]:
    """Rows of ports, for servers and their bus."""
    for first in PORTS:
        yield [port + bus for bus in (0, 100) for port in range(first, first + 6)]
