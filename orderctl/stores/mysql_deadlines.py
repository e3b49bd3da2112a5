"""Timing orders out on MySQL 8 or MariaDB: rows are locked by their keys and judged by the server's clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from orderctl.contracts import named_queries
from orderctl.order import Order, Status
from orderctl.stores.deadlines import NotDue, Settled, TimedOut, TimeOutOutcome
from orderctl.stores.hot import NotPromoted, OldEpoch
from orderctl.stores.mysql_database import MysqlDatabase, Session
from orderctl.stores.mysql_driver import Parameters, Row, text_of
from orderctl.stores.rows import id_bytes, id_text, order_of

QUERIES: Final = "mysql/deadline_queries.sql"

_Place = tuple[int, bytes]
_START: Final[_Place] = (-1, b"")


class _Locked(Struct, frozen=True):
    """A row that is ours until the transaction ends; `is_older` is None on another server than the epoch's."""

    order: Order
    is_older: bool | None
    now_us: int


class MysqlDeadlineStore:
    """`DeadlineStore` over a `MysqlDatabase`, which is the hot store's and is closed with that.

    The sweep looks for rows without a lock and then locks those that are free, by their keys and in their order, as changes
    do. So it never waits, two of them share the work, and neither can be in a circle with a change.
    """

    def __init__(self, database: MysqlDatabase) -> None:
        self._database = database
        self._sql = named_queries("sql", QUERIES)

    def time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome]:
        if not order_ids:
            return []

        def work(session: Session) -> list[TimeOutOutcome]:
            rows = session.rows(self._sql["lock"], each=_keys(sorted(set(order_ids))))
            outcomes = self._decide(session, list(map(_locked, rows)))
            # Whoever asks for the same twice is told the second time that nothing is left to do.
            return [outcomes.pop(order_id, Settled()) for order_id in order_ids]

        return self._database.write(work)[0]

    def time_out_overdue(
        self, groups: frozenset[int] | None, *, limit: int, late_by_us: int = 0
    ) -> list[TimedOut | OldEpoch]:
        wish = {"late_by_us": late_by_us, "groups": None if groups is None else _mask(groups)}

        def work(session: Session) -> list[TimedOut | OldEpoch]:
            outcomes = self._decide(session, self._lock_overdue(session, wish, limit))
            return [outcome for outcome in outcomes.values() if isinstance(outcome, TimedOut | OldEpoch)]

        found = self._database.write(work)[0] if limit > 0 else []
        return sorted(found, key=lambda outcome: (outcome.order.deadline_at, outcome.order.order_id))

    def oldest_overdue_us(self) -> int:
        row = self._database.read(lambda session: session.row(self._sql["oldest_overdue"]))
        return max(0, int(row[0])) if row is not None and row[0] is not None else 0

    def close(self) -> None:
        return

    def _lock_overdue(self, session: Session, wish: Mapping[str, object], limit: int) -> list[_Locked]:
        """The earliest overdue orders that nobody holds, locked."""
        locked: list[_Locked] = []
        behind = _START
        while len(locked) < limit:
            deadline_at, order_id = behind
            parameters = {**wish, "deadline_at": deadline_at, "order_id": order_id, "count": limit - len(locked)}
            page = session.rows(self._sql["overdue"], parameters)
            if not page:
                break
            keys = [{"order_id": key} for key in sorted(key for key, _ in page)]
            locked += map(_locked, session.rows(self._sql["lock_free"], each=keys))
            behind = (page[-1][1], page[-1][0])
        return locked

    def _decide(self, session: Session, locked: Sequence[_Locked]) -> dict[str, TimeOutOutcome]:
        """Time out those that are open, due by the clock when they were locked, and of the epoch in force."""
        outcomes: dict[str, TimeOutOutcome] = {}
        due: dict[str, Order] = {}
        for row in locked:
            order = row.order
            if order.status.is_final:
                outcomes[order.order_id] = Settled()
            elif order.deadline_at > row.now_us:
                outcomes[order.order_id] = NotDue(order.deadline_at - row.now_us)
            elif row.is_older is None:
                raise self._not_promoted(session)
            elif row.is_older:
                outcomes[order.order_id] = OldEpoch(order)
            else:
                due[order.order_id] = order
        now_us = max((row.now_us for row in locked), default=0)
        return outcomes | self._write(session, due, now_us)

    def _not_promoted(self, session: Session) -> NotPromoted:
        server, epoch_server = session.row(self._sql["servers"]) or (None, None)
        return NotPromoted(self._database.server.address, text_of(server), text_of(epoch_server))

    def _write(self, session: Session, due: Mapping[str, Order], now_us: int) -> dict[str, TimeOutOutcome]:
        ids = _keys(sorted(due))
        if session.changed(self._sql["time_out"], {"now_us": now_us}, each=ids) == len(ids):
            return {id_: _outcome(order, order.version + 1, now_us) for id_, order in due.items()}
        # The epoch was raised between our two statements.
        versions = {id_text(key): version for key, version in session.rows(self._sql["versions"], each=ids)}
        return {id_: _outcome(order, versions[id_], now_us) for id_, order in due.items()}


def _outcome(order: Order, version: int, now_us: int) -> TimedOut | OldEpoch:
    """What became of an order that was due, by the version that it has now."""
    if version == order.version:
        return OldEpoch(order)
    updated_at = max(order.updated_at, now_us)
    timed_out = structs.replace(
        order, status=Status.TIMEOUT, status_reason=None, version=version, updated_at=updated_at
    )
    return TimedOut(timed_out, now_us - order.deadline_at)


def _locked(row: Row) -> _Locked:
    order_id, merchant_id, merchant_ref, *rest, is_older, now_us = row
    order = order_of((order_id, merchant_id.decode(), merchant_ref.decode(), *rest))
    return _Locked(order, None if is_older is None else bool(is_older), now_us)


def _keys(order_ids: Iterable[str]) -> list[Parameters]:
    return [{"order_id": id_bytes(order_id)} for order_id in order_ids]


def _mask(groups: frozenset[int]) -> str:
    """A 1 in the place of each of the groups, and a 0 in that of each other."""
    return "".join("01"[group in groups] for group in range(max(groups, default=-1) + 1))
