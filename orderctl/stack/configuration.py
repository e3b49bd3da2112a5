"""The `orderctl.toml` that a stack writes: where its servers are, for the daemons that use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from orderctl.stack.layout import HOST, Layout
from orderctl.stack.sql_server import DATABASE, USER

FILE: Final = "orderctl.toml"
DATA_CENTRE: Final = "datacenter1"
"""What Cassandra's SimpleSnitch calls the only one it knows."""
_HEAD: Final = (
    "# Written by `orderctl stack up`, anew each time: `orderctl serve --config` of this file runs on the stack.\n"
)


def configuration(layout: Layout, password_file: Path) -> str:
    """The configuration's text, with a section for each part of the stack."""
    sections = {
        "sql": _table(
            "[[mysql.shards]]",
            name="main",
            host=HOST,
            port=layout.sql_port,
            user=USER,
            password_file=str(password_file),
            database=DATABASE,
        ),
        "redis": _table("[redis]", nodes=[f"{HOST}:{port}" for port in layout.redis_ports]),
        "kafka": _table("[kafka]", brokers=[f"{HOST}:{layout.kafka_port}"], replication=1),
        "cassandra": _table(
            "[cassandra]",
            hosts=list(layout.cassandra_hosts),
            port=layout.cassandra_port,
            keyspace=DATABASE,
            datacenter=DATA_CENTRE,
            replication=layout.cassandra_nodes,
        ),
    }
    # Cassandra answers when a write is on the disk, so that there is little to wait for; the move can be watched.
    archiver = _table("[archiver]", settle_s="1s")
    return "\n".join([_HEAD, *(sections[part] for part in layout.parts), archiver])


def _table(header: str, /, **values: str | int | list[str]) -> str:
    """A table of TOML; JSON's texts, numbers and lists are TOML's as well."""
    return "".join([f"{header}\n", *(f"{key} = {json.dumps(value)}\n" for key, value in values.items())])
