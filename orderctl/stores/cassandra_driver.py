"""The one place that knows cassandra-driver: how to connect, what its errors mean, and how statements are sent together."""

from __future__ import annotations

import logging
import re
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from cassandra import (  # type: ignore[import-untyped]
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    RequestExecutionException,
    Unauthorized,
    UnresolvableContactPoints,
)
from cassandra.auth import PlainTextAuthProvider  # type: ignore[import-untyped]
from cassandra.cluster import (  # type: ignore[import-untyped]
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
)
from cassandra.connection import ConnectionBusy, ConnectionException  # type: ignore[import-untyped]
from cassandra.policies import (  # type: ignore[import-untyped]
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.pool import NoConnectionsAvailable  # type: ignore[import-untyped]
from cassandra.protocol import ErrorMessage, ServerError  # type: ignore[import-untyped]
from cassandra.protocol import RequestExecutionException as ServerRefusal
from cassandra.query import (  # type: ignore[import-untyped]
    BatchStatement,
    BatchType,
    BoundStatement,
    SimpleStatement,
    tuple_factory,
)
from msgspec import Struct

from orderctl.contracts import Query
from orderctl.errors import TierError, TierRejected, TierUnavailable
from orderctl.stores.cassandra_flight import Flight, Row, Silence

TIER: Final = "archive"
CLOSED: Final = "the store is closed"
PROTOCOL: Final = 5
"""Cassandra 4.0 and later. It lets a statement name its keyspace, so that no connection needs a USE."""
IN_FLIGHT_MAX: Final = 256
"""Statements of one call that wait for their answers at a time."""
BATCH_BYTES_MAX: Final = 40_000
"""Values of one batch: below the server's `batch_size_fail_threshold` (50 KiB), whatever it counts."""
GRACE_S: Final = 1.0
"""How much later than the driver we give up waiting: its own time-outs say more, and end with its event loop."""
RECONNECT_S: Final = 1.0
HEARTBEAT_S: Final = 5
SCHEMA_ANSWER_S: Final = 40.0
"""How long a change of the schema may take, all nodes included."""

Statement = Any
Parameters = Mapping[str, object]

# What the driver raises; RuntimeError comes from its thread pool when somebody else has just closed it.
DRIVER_ERRORS: Final = (
    *(DriverException, ErrorMessage, NoHostAvailable, NoConnectionsAvailable, ConnectionException, ConnectionBusy),
    *(UnresolvableContactPoints, OSError, RuntimeError),
)
_AWAY: Final = (
    *(NoHostAvailable, NoConnectionsAvailable, ConnectionException, ConnectionBusy, UnresolvableContactPoints),
    *(OperationTimedOut, RequestExecutionException, ServerRefusal, ServerError, AuthenticationFailed),
    *(OSError, RuntimeError, Silence),
)


class CassandraAccess(Struct, frozen=True, kw_only=True):
    """How to come to the cluster, and which keyspace of it is ours.

    `hosts` are where to begin; the driver learns of the others. Only nodes of `datacenter` are asked. Connecting to one of the
    hosts may take `connect_s`, and one answer `answer_s`, retries included.
    """

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    keyspace: str = "orderctl"
    datacenter: str = "datacenter1"
    user: str | None = None
    password: str = ""
    connect_s: float = 2.0
    answer_s: float = 3.0

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return f"{','.join(self.hosts)}:{self.port}/{self.keyspace}"


class CassandraConnection:
    """A session with the cluster, its connections and threads, and the named queries that it can send. For several threads.

    When nodes go away it comes back to them by itself, trying once in `RECONNECT_S`; until then each call fails at once, or
    where a node hangs after `answer_s`.
    """

    def __init__(self, cluster: Cluster, session: Any, access: CassandraAccess, queries: Mapping[str, Query]) -> None:
        self._cluster = cluster
        self._session = session
        self._queries = queries
        self._prepared: dict[str, Any] = {}
        self._guard = threading.Lock()
        self._flights: set[Flight] = set()
        self._is_closed = False
        self.access = access

    @property
    def release(self) -> tuple[int, ...]:
        """The oldest release among the nodes, major and minor."""
        hosts = self._cluster.metadata.all_hosts()
        releases = [re.findall(r"\d+", host.release_version or "") for host in hosts]
        return min((tuple(map(int, numbers[:2])) for numbers in releases if numbers), default=(0, 0))

    def has_table(self, table: str) -> bool:
        """Whether the keyspace is there, with this table in it, by what was read at the start and what has changed since."""
        keyspace = self._cluster.metadata.keyspaces.get(self.access.keyspace)
        return keyspace is not None and table in keyspace.tables

    def learn(self, names: Iterable[str]) -> None:
        """Let the servers learn these queries now, rather than when they are used for the first time."""
        for name in names:
            self._prepare(name)

    def holders(self, partition_key: bytes) -> frozenset[object]:
        """The nodes that hold a partition, by its key as `key_of` makes it; empty where the driver does not know."""
        return frozenset(self._cluster.metadata.get_replicas(self.access.keyspace, partition_key))

    def bind(self, name: str, parameters: Parameters, *, partition_key: bytes | None = None) -> Statement:
        """A named query with its values; it is sent to a node that holds `partition_key`, or what the values say.

        Raises:
            TierRejected: a value does not fit its column's type, or the query does not fit the schema.
            TierUnavailable: it had to be sent to a server, and none answered.

        """
        prepared = self._prepared.get(name) or self._prepare(name)
        statement = BoundStatement(prepared) if partition_key is None else _Towards(prepared, partition_key)
        # Not by its `bind`, which asks of each value whether its column is encrypted: a fifth of what an order cost the archiver.
        try:
            statement.values = [
                None if (value := parameters[column.name]) is None else column.type.serialize(value, PROTOCOL)
                for column in prepared.column_metadata
            ]
        except (TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
            raise TierRejected(TIER, f"{name}: {error}") from error
        return statement

    def run(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Send the statements, many at a time; returns the rows of each. After the first error no more are sent.

        Raises:
            TierUnavailable: one was not answered, or not by a quorum.
            TierRejected: the server does not understand one.

        """
        flight = Flight(self._session.execute_async, statements, DRIVER_ERRORS)
        with self._guard:
            if self._is_closed:
                raise TierUnavailable(TIER, CLOSED)
            self._flights.add(flight)
        try:
            return flight.rows(at_a_time=IN_FLIGHT_MAX, patience_s=self.access.answer_s + GRACE_S)
        except (*DRIVER_ERRORS, Silence) as error:
            raise translate(error) from error
        finally:
            with self._guard:
                self._flights.discard(flight)

    def ask(self, name: str, parameters: Parameters | None = None) -> list[Row]:
        """Run one prepared statement; returns its rows."""
        return self.run([self.bind(name, parameters or {})])[0]

    def change_schema(self, statement: str) -> None:
        """Run a statement that changes the schema; returns when all nodes that are up have it.

        Raises:
            TierUnavailable: it cannot be known whether they have. The statement can be repeated.
            TierRejected: it is refused.

        """
        try:
            future = self._session.execute_async(SimpleStatement(statement), timeout=SCHEMA_ANSWER_S)
            future.result()
        except DRIVER_ERRORS as error:
            raise translate(error) from error
        if not future.is_schema_agreed:
            raise TierUnavailable(TIER, f"the nodes of {self.access.address} do not agree on the schema")

    def close(self) -> None:
        """Close every connection, and end the driver's threads. Calls that wait for an answer end first."""
        with self._guard:
            self._is_closed = True
            flights = list(self._flights)
        for flight in flights:
            flight.end(TierUnavailable(TIER, CLOSED))
        self._cluster.shutdown()

    def _prepare(self, name: str) -> Any:
        try:
            prepared = self._session.prepare(self._queries[name].text, keyspace=self.access.keyspace)
        except DRIVER_ERRORS as error:
            raise translate(error) from error
        # All are repeatable: versions and compare-and-set see to that.
        prepared.is_idempotent = True
        # No paging: what is read is bounded by what was asked for, and a second page would be read by nobody.
        prepared.fetch_size = None
        # Two threads may do this at once; they prepare the same.
        self._prepared[name] = prepared
        return prepared


def connect(access: CassandraAccess, queries: Mapping[str, Query], *, agreement_s: float = 0) -> CassandraConnection:
    """Connect to the cluster; `agreement_s` is how long to wait for nodes to agree on a schema that was changed.

    Raises:
        TierUnavailable: none of the hosts answers, or lets us in, or is of our data centre.

    """
    # What fails is raised, and said by whoever catches it; the driver would log it as well, with tracebacks.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(access.datacenter), shuffle_replicas=True),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=access.answer_s,
        row_factory=tuple_factory,
    )
    cluster = Cluster(
        contact_points=access.hosts,
        port=access.port,
        auth_provider=None if access.user is None else PlainTextAuthProvider(access.user, access.password),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=PROTOCOL,
        connect_timeout=access.connect_s,
        control_connection_timeout=access.connect_s,
        # Without an end: the default gives up after 64 attempts, and with it the node.
        reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, max_attempts=None),
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=access.connect_s,
        max_schema_agreement_wait=agreement_s,
        monitor_reporting_enabled=False,
        application_name="orderctl",
    )
    try:
        session = cluster.connect()
    except DRIVER_ERRORS as error:
        cluster.shutdown()
        raise TierUnavailable(TIER, f"{access.address}: {_words(error)}", hint=_hint(error)) from error
    except BaseException:
        cluster.shutdown()
        raise
    # Statements are prepared within this, and not within what the profile says; no other key leads there.
    session._default_timeout = access.answer_s  # noqa: SLF001
    return CassandraConnection(cluster, session, access, queries)


def batched(statements: Sequence[Statement]) -> Iterator[Statement]:
    """Statements put together to unlogged batches (`BATCH_BYTES_MAX`): on one partition, or on some with the same holders.

    Within one partition a batch is one mutation: applied at once, and cheaper than its parts. Of several each stays a mutation of
    its own, but one of their holders takes all in one request; a node that held few of them would only pass the others on.
    """
    together: list[Statement] = []
    size = 0
    for statement in statements:
        bytes_ = sum(len(value) for value in statement.values if value)
        if together and size + bytes_ > BATCH_BYTES_MAX:
            yield _batch(together)
            together, size = [], 0
        together.append(statement)
        size += bytes_
    if together:
        yield _batch(together)


def key_of(*columns: str) -> bytes:
    """A partition's key of several text columns, as Cassandra puts them together (CompositeType)."""
    packed = (column.encode() for column in columns)
    return b"".join(len(column).to_bytes(2, "big") + column + b"\0" for column in packed)


def translate(error: Exception) -> TierError:
    """What the driver's `error` is in our words.

    Never `OutcomeUnknown`. A write that was not answered may have happened, on some replicas or on all, and may still happen
    later. But it carries its order's version as its timestamp, so whenever and however often it happens, the rows end the
    same: whoever is told that the archive is not available writes again, and need not know. Nothing else rests on the answer.
    """
    if isinstance(error, _AWAY):
        return TierUnavailable(TIER, _words(error), hint=_hint(error))
    return TierRejected(TIER, _words(error), hint=_hint(error))


class _Towards(BoundStatement):  # type: ignore[misc]
    """A statement of several partitions with the same holders; the driver would see none, and send it to any node."""

    def __init__(self, prepared: Any, partition_key: bytes) -> None:
        super().__init__(prepared)
        self._partition_key = partition_key

    @property
    def routing_key(self) -> bytes:
        return self._partition_key


def _batch(statements: Sequence[Statement]) -> Statement:
    if len(statements) == 1:
        return statements[0]
    batch = BatchStatement(BatchType.UNLOGGED)
    batch.is_idempotent = True
    for statement in statements:
        batch.add(statement)
    return batch


def _causes(error: Exception) -> list[Exception]:
    if not isinstance(error, NoHostAvailable):
        return [error]
    return list(error.errors.values()) if isinstance(error.errors, dict) else []


def _words(error: Exception) -> str:
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) and error.errors:
        return "; ".join(f"{host}: {type(cause).__name__}: {cause}" for host, cause in error.errors.items())
    return f"{type(error).__name__}: {error.args[0] if isinstance(error, NoHostAvailable) else error}"


def _hint(error: Exception) -> str | None:
    causes = _causes(error)
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        return "see user and password of [cassandra] in the configuration"
    if any(isinstance(cause, Unauthorized) for cause in causes):
        return "the Cassandra role may not do this"
    if any(isinstance(cause, InvalidRequest) for cause in causes):
        return "is the schema what it should be? see orderctl migrate --dry-run"
    if isinstance(error, NoHostAvailable) and not causes:
        return "is the data centre the cluster's? see datacenter of [cassandra] in the configuration"
    return None
