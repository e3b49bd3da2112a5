"""Late results on Cassandra, partitioned as their orders are: of one key the earliest received stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from orderctl.ids import created_ms, group_of
from orderctl.stores.cassandra_driver import Statement, batched
from orderctl.stores.cassandra_link import CassandraLink
from orderctl.stores.cassandra_schema import Layout
from orderctl.stores.late import LateResult
from orderctl.stores.late_rows import late_of, late_row, of_each
from orderctl.stores.rows import id_bytes
from orderctl.version import VERSION_MAX


class CassandraLateArchive:
    """`LateArchive` over the `CassandraLink` of an archive, which closes it.

    A row's write timestamp is `VERSION_MAX` less the time at which the result was received, so the earlier one wins. It is
    positive until the year 2255.
    """

    def __init__(self, link: CassandraLink, layout: Layout) -> None:
        self._link = link
        self._layout = layout

    def write(self, results: Sequence[LateResult]) -> None:
        if not results:
            return
        connection = self._link.get()
        partitions: defaultdict[tuple[int, int], list[Statement]] = defaultdict(list)
        for result in results:
            group, slot = partition = self._partition(result.order_id)
            place = {"order_group": group, "slot": slot, "precedence": VERSION_MAX - result.received_at}
            partitions[partition].append(connection.bind("archive_late", late_row(result) | place))
        connection.run([batch for statements in partitions.values() for batch in batched(statements)])

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        if not order_ids:
            return []
        connection = self._link.get()
        partitions: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)
        for order_id in dict.fromkeys(order_ids):
            partitions[self._partition(order_id)].append(id_bytes(order_id))
        reads = [
            connection.bind("archived_late", {"order_group": group, "slot": slot, "order_ids": keys})
            for (group, slot), keys in partitions.items()
        ]
        return of_each(order_ids, (late_of(row) for rows in connection.run(reads) for row in rows))

    def _partition(self, order_id: str) -> tuple[int, int]:
        return self._layout.partition(group_of(order_id, self._layout.groups), created_ms(order_id))
