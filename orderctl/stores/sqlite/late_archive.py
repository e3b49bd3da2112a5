"""Late results in the embedded archive: of one key the earliest received stays, as on Cassandra."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from orderctl.contracts import named_queries
from orderctl.stores.late import LateResult
from orderctl.stores.late_rows import late_of, late_row, of_each
from orderctl.stores.rows import id_bytes
from orderctl.stores.sqlite.archive_power import QUERIES
from orderctl.stores.sqlite.database import Database


class SqliteLateArchive:
    """`LateArchive` over the `Database` of an archive, which closes it. What it has acknowledged is on the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = named_queries("sql", QUERIES)

    def write(self, results: Sequence[LateResult]) -> None:
        if not results:
            return
        with self._database.transaction() as transaction:
            for result in results:
                transaction.rows(self._sql["archive_late"], late_row(result))

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        if not order_ids:
            return []
        query = self._sql["archived_late"]
        with self._database.snapshot() as snapshot:
            found = [snapshot.rows(query, {"order_id": id_bytes(order_id)}) for order_id in set(order_ids)]
        return of_each(order_ids, map(late_of, chain.from_iterable(found)))
