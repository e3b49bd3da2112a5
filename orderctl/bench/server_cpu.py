"""CPU seconds of the servers, where they run on this machine: found by the ports on which they listen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from orderctl.bench.measuring import cpu_s_of
from orderctl.config import Config
from orderctl.stores.redis_nodes import parse_addresses

LISTENING: Final = "0A"
"""How /proc/net/tcp says it."""


def servers_of(config: Config) -> dict[str, tuple[int, ...]]:
    """The processes of each tier's servers that listen on this machine's own addresses; a tier without any is not named."""
    ports = {
        "mysql": [shard.port for shard in config.mysql.shards],
        "redis": [address.port for address in parse_addresses(config.redis.nodes)] if config.redis.nodes else [],
        "kafka": [int(broker.rpartition(":")[2]) for broker in config.kafka.brokers],
        "cassandra": [config.cassandra.port] if config.cassandra.hosts else [],
    }
    sockets = dict(_listening())
    wanted = {sockets[port]: tier for tier, of_tier in ports.items() for port in of_tier if port in sockets}
    found: dict[str, set[int]] = {}
    for pid, inode in _opened():
        if inode in wanted:
            found.setdefault(wanted[inode], set()).add(pid)
    return {tier: tuple(sorted(pids)) for tier, pids in found.items()}


def cpu_of(servers: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """The CPU seconds that each tier's servers have used so far."""
    return {tier: sum(map(cpu_s_of, pids)) for tier, pids in servers.items()}


def _listening() -> Iterator[tuple[int, str]]:
    """Ports on which somebody listens here, and the inodes of their sockets."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING:
                    yield int(fields[1].rpartition(":")[2], 16), fields[9]


def _opened() -> Iterator[tuple[int, str]]:
    """Every process that we may look into, and the inodes of its sockets."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for link in (folder / "fd").iterdir():
                with suppress(OSError):
                    target = str(link.readlink())
                    if target.startswith("socket:["):
                        yield int(folder.name), target[8:-1]
