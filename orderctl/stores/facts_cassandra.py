"""What the Cassandra nodes say of themselves and of our keyspace, for `doctor`: nothing is written, and no order is read."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from msgspec import Struct

from orderctl.contracts import named_queries
from orderctl.errors import ConfigError
from orderctl.stores.cassandra_driver import CassandraAccess, CassandraConnection, connect
from orderctl.stores.cassandra_flight import Row
from orderctl.stores.cassandra_schema import QUERIES as SCHEMA_QUERIES
from orderctl.stores.cassandra_schema import Layout, require_schema

QUERIES: Final = "doctor_queries.cql"
KEYSPACE_MISSING: Final = "there is no such keyspace"


class PeerFacts(Struct, frozen=True):
    """A node, as the one that answered knows it."""

    address: str
    datacenter: str
    release: str
    schema: str


class TableFacts(Struct, frozen=True):
    """A table: the class of its compaction, and how long its rows live, in seconds (0: for ever)."""

    compaction: str
    ttl_s: int


class ArchiveFacts(Struct, frozen=True, kw_only=True):
    """The cluster and our keyspace. `settings` holds those of several nodes, as each answered.

    `schema_fault` is what the keyspace lacks. Where there is none at all, it has no tables and `replication` is empty.
    """

    nodes: tuple[PeerFacts, ...]
    settings: tuple[dict[str, str], ...]
    replication: dict[str, str]
    durable_writes: bool
    tables: dict[str, TableFacts]
    schema_fault: str | None = None


def archive_facts(access: CassandraAccess, layout: Layout) -> ArchiveFacts:
    """Look at the cluster, and at our keyspace.

    Raises:
        TierUnavailable: no node answers.

    """
    queries = {**named_queries("cql", SCHEMA_QUERIES), **named_queries("cql", QUERIES)}
    with closing(connect(access, queries)) as connection:
        if not connection.has_table("schema_migrations"):
            return ArchiveFacts(
                nodes=(), settings=(), replication={}, durable_writes=True, tables={}, schema_fault=KEYSPACE_MISSING
            )
        return _look(connection, layout)


def _look(connection: CassandraConnection, layout: Layout) -> ArchiveFacts:
    mine = {"of_keyspace": connection.access.keyspace}
    [local] = connection.ask("local_node")
    nodes = tuple(_peer(row) for row in [local, *connection.ask("other_nodes")])
    [(replication, durable_writes)] = connection.ask("copies", mine)
    tables = {
        name: TableFacts(str(compaction.get("class", "")), int(ttl_s or 0))
        for name, compaction, ttl_s in connection.ask("tables", mine)
    }
    # Statements that belong to no partition go to one node after the other, so that each is asked.
    settings = tuple({str(name): str(value) for name, value in connection.ask("settings")} for _ in nodes)
    return ArchiveFacts(
        nodes=nodes,
        settings=settings,
        replication=dict(replication),
        durable_writes=bool(durable_writes),
        tables=tables,
        schema_fault=_schema_fault(connection, layout),
    )


def _peer(row: Row) -> PeerFacts:
    return PeerFacts(*(str(value) for value in row))


def _schema_fault(connection: CassandraConnection, layout: Layout) -> str | None:
    try:
        require_schema(connection, layout)
    except ConfigError as error:
        return error.message
    return None
