"""The archive's servers: one Cassandra node, or three on addresses of their own."""

from __future__ import annotations

from pathlib import Path

from orderctl.stack.jars import Jars
from orderctl.stack.layout import Layout
from orderctl.stack.probes import answers_cql, knows_peers
from orderctl.stack.server import Part, Server, nothing, program, template
from orderctl.stack.waiting import Wait

NAME = "cassandra"


def cassandra_part(layout: Layout, folder: Path, jars: Jars) -> Part:
    """The nodes: all seeds, each with a token of its own, so that they can start together."""
    servers = tuple(_node(at, layout, folder, jars) for at in range(layout.cassandra_nodes))

    def make(wait: Wait) -> None:
        jars.fetch(NAME, wait)
        for server in servers:
            server.data.mkdir(mode=0o700, exist_ok=True)

    there = jars.are_there(NAME)
    return Part(
        name=NAME,
        servers=servers,
        programs=("java",) if there else ("java", "mvn"),
        make=make,
        join=nothing,
        limit_s=180 if there else 600,
    )


def _node(at: int, layout: Layout, folder: Path, jars: Jars) -> Server:
    host = layout.cassandra_hosts[at]
    name = NAME if layout.cassandra_nodes == 1 else f"{NAME}-{at + 1}"
    place = folder / name
    archives = jars.of(NAME)
    options = (
        f"-javaagent:{archives / 'jamm.jar'}",
        f"-Dcassandra.config={(place / 'cassandra.yaml').as_uri()}",
        f"-Dcassandra.storagedir={place / 'data'}",
        f"-Dlogback.configurationFile={place / 'logback.xml'}",
    )
    yaml = template(
        "cassandra.yaml",
        host=host,
        port=layout.cassandra_port,
        gossip_port=layout.gossip_port,
        seeds=",".join(f"{seed}:{layout.gossip_port}" for seed in layout.cassandra_hosts),
        token=-(2**63) + 2**64 // layout.cassandra_nodes * at,
        data=place / "data",
    )
    return Server(
        name=name,
        folder=place,
        addresses=((host, layout.cassandra_port), (host, layout.gossip_port)),
        command=(
            program("java"),
            f"@{place / 'java.options'}",
            *options,
            "-cp",
            f"{archives}/*",
            "org.apache.cassandra.service.CassandraDaemon",
        ),
        files={
            "cassandra.yaml": yaml,
            "logback.xml": template("cassandra.logback.xml"),
            "java.options": template("cassandra.options"),
        },
        answers=answers_cql,
        healthy=lambda address: knows_peers(address, layout.cassandra_nodes - 1),
    )
