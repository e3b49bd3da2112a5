"""Cassandra by its driver alone: prepared inserts, many at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final

from cassandra import ConsistencyLevel, DriverException  # type: ignore[import-untyped]
from cassandra.auth import PlainTextAuthProvider  # type: ignore[import-untyped]
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile  # type: ignore[import-untyped]
from cassandra.concurrent import execute_concurrent  # type: ignore[import-untyped]
from cassandra.policies import DCAwareRoundRobinPolicy  # type: ignore[import-untyped]
from cassandra.query import BatchStatement, BatchType  # type: ignore[import-untyped]

from orderctl.bench.measuring import Measure, measured
from orderctl.config import Config
from orderctl.contracts import named_queries
from orderctl.errors import TierUnavailable
from orderctl.ids import created_ms, group_of
from orderctl.order import Order
from orderctl.secret import read_secret
from orderctl.stores.cassandra_driver import PROTOCOL
from orderctl.stores.cassandra_schema import Layout
from orderctl.stores.rows import row_of

CONCURRENCY: Final = 128
PARTITION_ROWS: Final = 15


def insert_raw(config: Config, orders: Sequence[Order]) -> Measure:
    """A row in each of the two tables for every order, a statement each; the values are made before."""
    layout = Layout(config.deployment.groups)
    with ExitStack() as stack:
        session = _session(config, stack)
        queries = named_queries("cql", "archive_queries.cql")
        statements = []
        order_of, reference_of = (
            session.prepare(queries[name].text) for name in ("archive_order", "archive_reference")
        )
        for order in orders:
            group, slot = layout.partition(group_of(order.order_id, layout.groups), created_ms(order.order_id))
            row = row_of(order)
            statements.append((order_of, row | {"order_group": group, "slot": slot}))
            statements.append(
                (reference_of, {name: row[name] for name in ("merchant_id", "merchant_ref", "order_id", "version")})
            )

        def work() -> int:
            for _ in execute_concurrent(session, statements, concurrency=CONCURRENCY, results_generator=True):
                pass
            return len(orders)

        return measured(work)


def fill_orders(config: Config, many: Iterable[Sequence[Order]]) -> None:
    """Write orders by rows of one partition at a time, many such batches in flight; references are left out.

    Raises:
        TierUnavailable: a batch was not taken.

    """
    layout = Layout(config.deployment.groups)
    with ExitStack() as stack:
        session = _session(config, stack)
        insert = session.prepare(named_queries("cql", "archive_queries.cql")["archive_order"].text)
        try:
            for orders in many:
                statements = ((one, ()) for one in _partitioned(insert, layout, orders))
                for _ in execute_concurrent(session, statements, concurrency=CONCURRENCY, results_generator=True):
                    pass
        except DriverException as error:
            raise TierUnavailable("archive", str(error)) from error


def _partitioned(insert: Any, layout: Layout, orders: Sequence[Order]) -> Iterator[BatchStatement]:
    """Batches of one partition each, which a node takes as one mutation; small enough not to be warned of."""
    partitions: defaultdict[tuple[int, int], list[Order]] = defaultdict(list)
    for order in orders:
        group = group_of(order.order_id, layout.groups)
        partitions[layout.partition(group, created_ms(order.order_id))].append(order)
    for (group, slot), of_partition in partitions.items():
        for start in range(0, len(of_partition), PARTITION_ROWS):
            batch = BatchStatement(BatchType.UNLOGGED)
            for order in of_partition[start : start + PARTITION_ROWS]:
                batch.add(insert, row_of(order) | {"order_group": group, "slot": slot})
            yield batch


def versions(config: Config) -> dict[str, str]:
    """What answers."""
    with ExitStack() as stack:
        row = _session(config, stack).execute("SELECT release_version FROM system.local").one()
        return {"Cassandra": str(row[0])}


def _session(config: Config, stack: ExitStack) -> Any:
    section = config.cassandra
    password = read_secret(section.password, section.password_file)
    profile = ExecutionProfile(
        DCAwareRoundRobinPolicy(section.datacenter), consistency_level=ConsistencyLevel.LOCAL_QUORUM, request_timeout=30
    )
    cluster = Cluster(
        list(section.hosts),
        port=section.port,
        protocol_version=PROTOCOL,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        auth_provider=PlainTextAuthProvider(section.user, password) if section.user else None,
        connect_timeout=20,
        control_connection_timeout=20,
    )
    stack.callback(cluster.shutdown)
    return cluster.connect(section.keyspace)
