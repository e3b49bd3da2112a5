"""Late results on MySQL 8 or MariaDB, in a table beside the orders of their shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orderctl.contracts import named_queries
from orderctl.stores.late import LateResult
from orderctl.stores.late_rows import by_key, firsts, late_of, late_row, of_each
from orderctl.stores.mysql import group_mask
from orderctl.stores.mysql_database import MysqlDatabase
from orderctl.stores.mysql_driver import Parameters
from orderctl.stores.rows import id_bytes

QUERIES: Final = "mysql/late_queries.sql"

_START: Final = {"received_at": -1, "order_id": b"", "status": b"", "reason_digest": b""}


class MysqlLateStore:
    """`LateStore` over the `MysqlDatabase` of a hot store, which closes it. Rows are locked in the order of their keys."""

    def __init__(self, database: MysqlDatabase) -> None:
        self._database = database
        self._sql = named_queries("sql", QUERIES)

    def keep(self, results: Sequence[LateResult]) -> None:
        if results:
            rows = [_row_of(result) for result in firsts(results)]
            self._database.write(lambda session: session.changed(self._sql["keep_late"], each=rows))

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        if not order_ids:
            return []
        wanted = [{"order_id": id_bytes(order_id)} for order_id in sorted(set(order_ids))]
        rows = self._database.read(lambda session: session.rows(self._sql["late_of_orders"], each=wanted))
        return of_each(order_ids, map(late_of, rows))

    def oldest(self, groups: frozenset[int] | None, *, after: LateResult | None, limit: int) -> list[LateResult]:
        parameters = {
            **(_START if after is None else _row_of(after)),
            "count": max(limit, 0),
            "groups": None if groups is None else group_mask(groups),
        }
        rows = self._database.read(lambda session: session.rows(self._sql["oldest_late"], parameters))
        return [late_of(row) for row in rows]

    def remove(self, results: Sequence[LateResult]) -> None:
        if results:
            rows = [_row_of(result) for result in sorted(set(results), key=by_key)]
            self._database.write(lambda session: session.changed(self._sql["remove_late"], each=rows))


def _row_of(result: LateResult) -> Parameters:
    return late_row(result) | {"status": result.status.value.encode()}
