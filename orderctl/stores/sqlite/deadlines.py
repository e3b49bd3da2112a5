"""Timing orders out in the embedded hot store, by the clock of the machine, which is its database's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import structs

from orderctl.clock import Clock
from orderctl.contracts import named_queries
from orderctl.order import Status
from orderctl.stores.deadlines import NotDue, Settled, TimedOut, TimeOutOutcome
from orderctl.stores.hot import OldEpoch
from orderctl.stores.rows import id_bytes, order_of
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Transaction

QUERIES: Final = "sqlite/deadline_queries.sql"


class SqliteDeadlineStore:
    """`DeadlineStore` over a `Database`, which is the hot store's and is closed with that.

    SQLite has one writer at a time and no row locks, so the sweep has nothing to pass over: it waits for its turn.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._sql = named_queries("sql", QUERIES)

    def time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome]:
        return self._time_out([id_bytes(order_id) for order_id in order_ids])

    def time_out_overdue(
        self, groups: frozenset[int] | None, *, limit: int, late_by_us: int = 0
    ) -> list[TimedOut | OldEpoch]:
        parameters: dict[str, object] = {"late_by_us": late_by_us, "count": max(limit, 0)}
        query = self._sql["overdue"]
        if groups is not None:
            query = self._sql["overdue_of_groups"]
            parameters["groups"] = msgspec.json.encode(sorted(groups)).decode()
        # Looking needs no turn to write, and mostly there is nothing to do; what is found is looked at again when it is held.
        with self._database.snapshot() as snapshot:
            found = snapshot.rows(query, {**parameters, "now_us": self._clock.now_us()})
        outcomes = self._time_out([key for [key] in found])
        return [outcome for outcome in outcomes if isinstance(outcome, TimedOut | OldEpoch)]

    def oldest_overdue_us(self) -> int:
        with self._database.snapshot() as snapshot:
            row = snapshot.row(self._sql["oldest_overdue"], {"now_us": self._clock.now_us()})
        return max(0, row[0]) if row is not None and row[0] is not None else 0

    def close(self) -> None:
        return

    def _time_out(self, keys: Iterable[bytes]) -> list[TimeOutOutcome]:
        if not (keys := list(keys)):
            return []
        with self._database.transaction() as transaction:
            now_us = self._clock.now_us()
            return [self._decide(transaction, key, now_us) for key in keys]

    def _decide(self, transaction: Transaction, key: bytes, now_us: int) -> TimeOutOutcome:
        row = transaction.row(self._sql["order_by_id"], {"order_id": key})
        if row is None or (order := order_of(row)).status.is_final:
            return Settled()
        if order.deadline_at > now_us:
            return NotDue(order.deadline_at - now_us)
        if not transaction.wrote:
            transaction.rows(self._sql["begin_changes"], {"now_us": now_us})
        written = transaction.row(self._sql["time_out"], {"order_id": key, "now_us": now_us})
        if written is None:
            return OldEpoch(order)
        timed_out = structs.replace(
            order,
            status=Status.TIMEOUT,
            status_reason=None,
            version=written[0],
            updated_at=max(order.updated_at, now_us),
        )
        return TimedOut(timed_out, now_us - order.deadline_at)
