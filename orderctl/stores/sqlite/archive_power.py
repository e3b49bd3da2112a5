"""What a loss of power takes from an archive that acknowledges before it syncs.

Cassandra with `commitlog_sync: periodic` acknowledges a write that is in memory and in a file that nobody has synced yet: it can
be read back at once, and is gone when the power fails. Whoever removes an order's original as soon as it has read the copy back
loses orders, and no store that is always durable could show it. So the embedded archive can play this part too: it keeps what
each row held before, until the sync would have happened, and puts it back when a test takes the power away.

The notes are in the same database, so that all processes on it share one commit log, and a process that is killed leaves its
notes behind: its writes are still not synced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from orderctl.clock import US_PER_S, Clock
from orderctl.contracts import named_queries
from orderctl.order import Order
from orderctl.stores.rows import id_text, order_of, row_of
from orderctl.stores.sqlite.driver import Transaction

QUERIES: Final = "sqlite/archive_queries.sql"
ORDERS: Final = "orders"
ORDERS_BY_REF: Final = "orders_by_ref"

_Parameters = Mapping[str, object]


def everything(_table: str, _order_id: str) -> bool:
    """Every unsynced row is lost."""
    return True


class Unsynced:
    """The writes that were acknowledged and are not on the disk yet. The commit log is synced `period_s` after each."""

    def __init__(self, clock: Clock, period_s: float) -> None:
        self._clock = clock
        self._period_us = round(period_s * US_PER_S)
        self._sql = named_queries("sql", QUERIES)

    def note(self, transaction: Transaction, rows: Sequence[_Parameters]) -> None:
        """Keep what every table holds of these orders, right before they are written."""
        self._forget_synced(transaction)
        for row in rows:
            order = transaction.row(self._sql["archived_order"], row)
            reference = transaction.row(self._sql["archived_reference"], row)
            self._keep(transaction, ORDERS, row, None if order is None else order_of(order))
            self._keep(transaction, ORDERS_BY_REF, row, None if reference is None else reference[0])

    def undo(self, transaction: Transaction, lost: Callable[[str, str], bool]) -> int:
        """Put back what the rows held that were not synced and are `lost`. What is left counts as synced."""
        self._forget_synced(transaction)
        # Newest first, so a row that was written several times ends as it was before the first of these writes.
        went_back: set[tuple[str, bytes]] = set()
        for table, order_id, merchant_id, merchant_ref, held in transaction.rows(self._sql["unsynced"]):
            if lost(table, id_text(order_id)):
                key = {"order_id": order_id, "merchant_id": merchant_id, "merchant_ref": merchant_ref}
                self._put_back(transaction, table, key, held)
                went_back.add((table, order_id))
        transaction.rows(self._sql["forget_unsynced"])
        return len(went_back)

    def _keep(self, transaction: Transaction, table: str, row: _Parameters, held: Order | int | None) -> None:
        parameters = {
            "table_name": table,
            "held": None if held is None else msgspec.json.encode(held).decode(),
            "written_us": self._now_us(),
        }
        transaction.rows(self._sql["note_unsynced"], {**row, **parameters})

    def _put_back(self, transaction: Transaction, table: str, key: _Parameters, held: str | None) -> None:
        if table == ORDERS:
            transaction.rows(self._sql["lose_order"], key)
            if held is not None:
                transaction.rows(self._sql["archive_order"], row_of(msgspec.json.decode(held, type=Order)))
        else:
            transaction.rows(self._sql["lose_reference"], key)
            if held is not None:
                parameters = {**key, "version": msgspec.json.decode(held, type=int)}
                transaction.rows(self._sql["archive_reference"], parameters)

    def _forget_synced(self, transaction: Transaction) -> None:
        transaction.rows(self._sql["forget_synced"], {"synced_us": self._now_us() - self._period_us})

    def _now_us(self) -> int:
        # All processes of a machine share its monotonic clock, and setting the wall clock syncs nothing.
        return round(self._clock.monotonic_s() * US_PER_S)
