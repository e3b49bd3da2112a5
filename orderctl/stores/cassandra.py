"""The archive on Cassandra: final orders, in partitions of one group and one time slot, the larger version wins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from orderctl.clock import Clock
from orderctl.contracts import named_queries
from orderctl.errors import TierUnavailable
from orderctl.ids import created_ms, group_of
from orderctl.order import Order
from orderctl.stores.cassandra_driver import CassandraAccess, CassandraConnection, Statement, batched, connect, key_of
from orderctl.stores.cassandra_late import CassandraLateArchive
from orderctl.stores.cassandra_link import CassandraLink
from orderctl.stores.cassandra_schema import QUERIES as SCHEMA_QUERIES
from orderctl.stores.cassandra_schema import Layout, require_schema
from orderctl.stores.hot import Ref
from orderctl.stores.rows import id_bytes, id_text, order_of, row_of

QUERIES: Final = "archive_queries.cql"
TOGETHER_MAX: Final = 10
"""References in one statement: a node warns of batches with more (`unlogged_batch_across_partitions_warn_threshold`)."""

_Partition = tuple[int, int]


def open_cassandra_archive(access: CassandraAccess, layout: Layout, *, clock: Clock) -> CassandraArchiveStore:
    """The archive that `migrate_archive` has made. Where it cannot be reached now it is connected to later, by the first call.

    Raises:
        ConfigError: its schema is not this program's, or it was made for another layout.

    """
    open_ = partial(_open, access, layout)
    try:
        connection = open_()
    except TierUnavailable:
        connection = None
    patience_s = access.connect_s + access.answer_s
    return CassandraArchiveStore(CassandraLink(open_, connection, clock=clock, patience_s=patience_s), layout)


def _open(access: CassandraAccess, layout: Layout) -> CassandraConnection:
    connection = connect(access, {**named_queries("cql", SCHEMA_QUERIES), **named_queries("cql", QUERIES)})
    try:
        require_schema(connection, layout)
        connection.learn(named_queries("cql", QUERIES))
    except BaseException:
        connection.close()
        raise
    return connection


class CassandraArchiveStore:
    """`ArchiveStore` over a `CassandraLink`, which it closes.

    Rows of one partition are written and read together, partitions side by side; references, of which each is a partition, where
    the same nodes hold them. Each call takes as long as its slowest
    partition; one that does not answer fails the call after `CassandraAccess.answer_s`.
    """

    def __init__(self, link: CassandraLink, layout: Layout) -> None:
        self._link = link
        self._layout = layout

    def late(self) -> CassandraLateArchive:
        """The late results of the same orders, over the same link."""
        return CassandraLateArchive(self._link, self._layout)

    def write(self, orders: Sequence[Order]) -> None:
        if not orders:
            return
        connection = self._link.get()
        of_orders: defaultdict[_Partition, list[Statement]] = defaultdict(list)
        of_refs: defaultdict[Ref, list[Statement]] = defaultdict(list)
        # All are bound before any is sent: what cannot be held keeps the whole batch out.
        for order in orders:
            row = row_of(order)
            group, slot = partition = self._partition(order.order_id)
            of_orders[partition].append(connection.bind("archive_order", row | {"order_group": group, "slot": slot}))
            ref = Ref(order.merchant_id, order.merchant_ref)
            of_refs[ref].append(connection.bind("archive_reference", row))
        together = [[one for ref in refs for one in of_refs[ref]] for refs in neighbours(connection, of_refs)]
        connection.run([batch for statements in (*of_orders.values(), *together) for batch in batched(statements)])

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        if not order_ids:
            return []
        connection = self._link.get()
        partitions: defaultdict[_Partition, list[bytes]] = defaultdict(list)
        for order_id in dict.fromkeys(order_ids):
            partitions[self._partition(order_id)].append(id_bytes(order_id))
        reads = [
            connection.bind("archived_orders", {"order_group": group, "slot": slot, "order_ids": keys})
            for (group, slot), keys in partitions.items()
        ]
        found = {id_text(row[0]): order_of(row) for rows in connection.run(reads) for row in rows}
        return [found.get(order_id) for order_id in order_ids]

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        if not refs:
            return []
        connection = self._link.get()
        by_merchant: defaultdict[str, list[Ref]] = defaultdict(list)
        for ref in dict.fromkeys(refs):
            by_merchant[ref.merchant_id].append(ref)
        reads = [
            connection.bind(
                "newest_of_references",
                {"merchant_id": merchant_id, "merchant_refs": [ref.merchant_ref for ref in together]},
                partition_key=_key_of(together[0]),
            )
            for merchant_id, of_merchant in by_merchant.items()
            for together in neighbours(connection, of_merchant)
        ]
        newest = {Ref(*ref): id_text(order_id) for rows in connection.run(reads) for *ref, order_id in rows}
        return [newest.get(ref) for ref in refs]

    def ping(self) -> None:
        self._link.get().ask("sign_of_life")

    def close(self) -> None:
        self._link.close()

    def _partition(self, order_id: str) -> _Partition:
        return self._layout.partition(group_of(order_id, self._layout.groups), created_ms(order_id))


def neighbours(connection: CassandraConnection, refs: Iterable[Ref]) -> Iterator[list[Ref]]:
    """References that the same nodes hold, some at a time: each is a partition, and one of its holders takes all of these."""
    by_holders: defaultdict[frozenset[object], list[Ref]] = defaultdict(list)
    for ref in refs:
        by_holders[connection.holders(_key_of(ref))].append(ref)
    for held in by_holders.values():
        for start in range(0, len(held), TOGETHER_MAX):
            yield held[start : start + TOGETHER_MAX]


def _key_of(ref: Ref) -> bytes:
    return key_of(ref.merchant_id, ref.merchant_ref)
