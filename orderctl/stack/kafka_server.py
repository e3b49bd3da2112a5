"""The log's server: one Kafka node, broker and controller in one."""

from __future__ import annotations

from pathlib import Path

from orderctl.stack.jars import Jars
from orderctl.stack.layout import HOST, Layout
from orderctl.stack.probes import lists_a_broker
from orderctl.stack.server import Part, Server, make_once, nothing, program, template
from orderctl.stack.waiting import Wait

NAME = "kafka"
CLUSTER_ID = "b3JkZXJjdGwtc3RhY2stMQ"
"""16 bytes in URL-safe base64, as Kafka wants a cluster to be named."""


def kafka_part(layout: Layout, folder: Path, jars: Jars) -> Part:
    """The broker."""
    at = folder / NAME
    port, controller_port = layout.kafka_port, layout.kafka_port + 1
    logging = f"-Dlog4j2.configurationFile={at / 'log4j2.properties'}"
    java = (program("java"), f"@{at / 'java.options'}", logging, "-cp", f"{jars.of(NAME)}/*")
    properties = str(at / "server.properties")
    server = Server(
        name=NAME,
        folder=at,
        addresses=((HOST, port), (HOST, controller_port)),
        command=(*java, "kafka.Kafka", properties),
        files={
            "server.properties": template(
                "kafka.properties", host=HOST, port=port, controller_port=controller_port, data=at / "data"
            ),
            "log4j2.properties": template("kafka.log4j2.properties"),
            "java.options": template("kafka.options"),
        },
        answers=lists_a_broker,
        healthy=lists_a_broker,
    )
    formatting = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties]

    def make(wait: Wait) -> None:
        jars.fetch(NAME, wait)
        make_once(at, server.data, lambda: wait.run(formatting, log=server.log, what="given its first data"))

    there = jars.are_there(NAME)
    return Part(
        name=NAME,
        servers=(server,),
        programs=("java",) if there else ("java", "mvn"),
        make=make,
        join=nothing,
        limit_s=120 if there else 600,
    )
