"""Late results in the embedded hot store: a table beside the orders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import msgspec

from orderctl.contracts import named_queries
from orderctl.stores.late import LateResult
from orderctl.stores.late_rows import late_of, late_row, of_each
from orderctl.stores.rows import id_bytes
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.hot import QUERIES

_START: Final = {"received_at": -1, "order_id": b"", "status": "", "reason_digest": b""}


class SqliteLateStore:
    """`LateStore` over the `Database` of a hot store, which closes it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = named_queries("sql", QUERIES)

    def keep(self, results: Sequence[LateResult]) -> None:
        self._each("keep_late", results)

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        if not order_ids:
            return []
        query = self._sql["late_of_order"]
        with self._database.snapshot() as snapshot:
            found = [snapshot.rows(query, {"order_id": id_bytes(order_id)}) for order_id in set(order_ids)]
        return of_each(order_ids, map(late_of, chain.from_iterable(found)))

    def oldest(self, groups: frozenset[int] | None, *, after: LateResult | None, limit: int) -> list[LateResult]:
        parameters = {
            **(_START if after is None else late_row(after)),
            "count": max(limit, 0),
            "groups": None if groups is None else msgspec.json.encode(sorted(groups)).decode(),
        }
        with self._database.snapshot() as snapshot:
            return [late_of(row) for row in snapshot.rows(self._sql["oldest_late"], parameters)]

    def remove(self, results: Sequence[LateResult]) -> None:
        self._each("remove_late", results)

    def _each(self, query: str, results: Sequence[LateResult]) -> None:
        if not results:
            return
        with self._database.transaction() as transaction:
            for result in results:
                transaction.rows(self._sql[query], late_row(result))
