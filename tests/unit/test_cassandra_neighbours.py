"""References go to Cassandra together where the same nodes hold them, by the driver's own map of a ring; no server is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.connection import DefaultEndPoint  # type: ignore[import-untyped]
from cassandra.metadata import KeyspaceMetadata, Metadata  # type: ignore[import-untyped]
from cassandra.policies import SimpleConvictionPolicy  # type: ignore[import-untyped]
from cassandra.pool import Host  # type: ignore[import-untyped]
from cassandra.query import Statement  # type: ignore[import-untyped]

from orderctl.stores.cassandra import TOGETHER_MAX, neighbours
from orderctl.stores.cassandra_driver import CassandraAccess, CassandraConnection, key_of
from orderctl.stores.hot import Ref

KEYSPACE = "k"
DATACENTER = "here"
TOKENS_MIN = -(2**63)
REFS = [Ref("mär", f"ref-{number}") for number in range(1_000)]


def ring(*, copies: int) -> Metadata:
    """Three nodes with sixteen ranges each."""
    metadata = Metadata()
    places = {DATACENTER: str(copies)}
    metadata.keyspaces = {KEYSPACE: KeyspaceMetadata(KEYSPACE, True, "NetworkTopologyStrategy", places)}
    tokens: dict[Host, list[str]] = {}
    for node in range(3):
        host = Host(DefaultEndPoint(f"127.0.0.{node + 1}"), SimpleConvictionPolicy)
        host.set_location_info(DATACENTER, "rack")
        metadata.add_or_return_host(host)
        tokens[host] = [str(TOKENS_MIN + (3 * number + node) * 2**64 // 48) for number in range(16)]
    metadata.rebuild_token_map("org.apache.cassandra.dht.Murmur3Partitioner", tokens)
    return metadata


def connection(metadata: Any) -> CassandraConnection:
    """One that knows the ring, and sends nothing."""
    return CassandraConnection(
        SimpleNamespace(metadata=metadata), session=None, access=CassandraAccess(keyspace=KEYSPACE), queries={}
    )


@pytest.mark.parametrize(("copies", "sets"), [(1, 3), (2, 3), (3, 1)])
def test_together_are_those_with_the_same_holders(copies: int, sets: int) -> None:
    """Each once, and no more at a time than a node takes without a warning."""
    metadata = ring(copies=copies)
    together = list(neighbours(connection(metadata), REFS))
    assert sorted(ref for refs in together for ref in refs) == sorted(REFS)
    holders = [
        {frozenset(metadata.get_replicas(KEYSPACE, key_of(ref.merchant_id, ref.merchant_ref))) for ref in refs}
        for refs in together
    ]
    assert all(len(of_these) == 1 for of_these in holders)
    assert len({held for of_these in holders for held in of_these}) == sets
    assert max(map(len, together)) == TOGETHER_MAX
    assert len(together) <= len(REFS) // TOGETHER_MAX + sets


def test_without_a_map_they_go_together_anywhere() -> None:
    """The driver has none before it has read the ring, or if it does not know the partitioner."""
    together = list(neighbours(connection(Metadata()), REFS))
    assert [len(refs) for refs in together] == [TOGETHER_MAX] * (len(REFS) // TOGETHER_MAX)


@pytest.mark.parametrize("columns", [("m", "r"), ("", "ü" * 300), ("a\0", "\0\0")])
def test_a_key_is_packed_as_the_driver_packs_it(columns: tuple[str, ...]) -> None:
    """Otherwise the nodes would be the wrong ones."""
    statement = Statement()
    statement.routing_key = [column.encode() for column in columns]
    assert key_of(*columns) == statement.routing_key
