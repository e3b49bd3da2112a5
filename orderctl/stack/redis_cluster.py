"""The cache's servers: a Redis Cluster of three primaries, each with a replica where that is asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from orderctl.stack.layout import HOST, Layout
from orderctl.stack.probes import Address, redis
from orderctl.stack.server import Part, Server, program, template
from orderctl.stack.waiting import Wait

PRIMARIES: Final = 3
SLOTS: Final = 16384
BUS_OFFSET: Final = 100
"""From a node's port to the one on which it talks to the others."""


def redis_part(layout: Layout, folder: Path) -> Part:
    """The nodes; together they hold every slot."""
    ports = layout.redis_ports
    servers = tuple(_node(at, port, folder, nodes=len(ports)) for at, port in enumerate(ports, start=1))
    return Part(
        name="redis",
        servers=servers,
        programs=("redis-server",),
        make=partial(_make, servers),
        join=partial(_join, servers),
        limit_s=60,
    )


def _node(number: int, port: int, folder: Path, *, nodes: int) -> Server:
    at = folder / f"redis-{number}"
    configuration = template("redis.conf", host=HOST, port=port, bus_port=port + BUS_OFFSET, data=at / "data")
    return Server(
        name=at.name,
        folder=at,
        addresses=((HOST, port), (HOST, port + BUS_OFFSET)),
        command=(program("redis-server"), str(at / "redis.conf")),
        files={"redis.conf": configuration},
        answers=lambda address: redis(address, "PING") == "PONG",
        healthy=lambda address: _serves(address, nodes=nodes),
    )


def _serves(address: Address, *, nodes: int) -> bool:
    info = _cluster_info(address)
    if info["cluster_state"] != "ok" or int(info["cluster_known_nodes"]) != nodes:
        return False
    replication = redis(address, "INFO", "replication")
    return "role:master" in replication or "master_link_status:up" in replication


def _make(servers: tuple[Server, ...], _wait: Wait) -> None:
    for server in servers:
        server.data.mkdir(mode=0o700, exist_ok=True)


def _join(servers: tuple[Server, ...], wait: Wait) -> None:
    """Make one cluster of nodes that know nothing of each other. Done once: each remembers the others."""
    joined = servers[0].folder / "joined"
    if not joined.exists():
        _form([server.addresses[0] for server in servers], wait)
        joined.touch()


def _form(nodes: list[Address], wait: Wait) -> None:
    for node in nodes:  # an attempt that was interrupted may have left something
        redis(node, "FLUSHALL")
        redis(node, "CLUSTER", "RESET", "HARD")
    for at, node in enumerate(nodes):
        redis(node, "CLUSTER", "SET-CONFIG-EPOCH", str(at + 1))
    for at, node in enumerate(nodes[:PRIMARIES]):
        first, behind = SLOTS * at // PRIMARIES, SLOTS * (at + 1) // PRIMARIES
        redis(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(behind - 1))
    for host, port in nodes[1:]:
        redis(nodes[0], "CLUSTER", "MEET", host, str(port), str(port + BUS_OFFSET))
    wait.until(lambda: all(_knows(node, len(nodes)) for node in nodes), what="acquainted with the other nodes")
    for primary, replica in zip(nodes, nodes[PRIMARIES:], strict=False):
        redis(replica, "CLUSTER", "REPLICATE", redis(primary, "CLUSTER", "MYID"))


def _knows(node: Address, count: int) -> bool:
    """Whether the node has met all the others. One whose name it does not know yet is still in handshake."""
    lines = redis(node, "CLUSTER", "NODES").splitlines()
    return len(lines) == count and not any("handshake" in line for line in lines)


def _cluster_info(node: Address) -> dict[str, str]:
    pairs = (line.partition(":") for line in redis(node, "CLUSTER", "INFO").splitlines())
    return {name: value for name, _, value in pairs}
