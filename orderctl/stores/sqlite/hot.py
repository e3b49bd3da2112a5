"""The embedded hot store: open orders in one SQLite file, by the same steps as on MySQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from orderctl.contracts import named_queries
from orderctl.errors import TierRejected
from orderctl.order import Change, Order, Status, Transition, decide
from orderctl.stores.base import (
    Changed,
    ChangeOutcome,
    Created,
    CreateOutcome,
    Draft,
    Ref,
    ReferenceReused,
    Replayed,
    do_nothing,
)
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Row, Transaction

QUERIES = "sqlite/hot_queries.sql"

_RefKey = tuple[str, str]


class SqliteHotStore:
    """`HotStore` over a `Database`, which it shares and, as its last user, closes.

    SQLite has one writer at a time and no row locks, so what MySQL locks row by row is locked whole here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = named_queries("sql", QUERIES)
        self._guard = threading.Lock()
        self._transactions = 0
        self._open = True
        database.share()

    @property
    def transactions(self) -> int:
        return self._transactions

    def create(self, drafts: Sequence[Draft], *, before_commit: Callable[[], None] = do_nothing) -> list[CreateOutcome]:
        if not drafts:
            return []
        with self._database.transaction(before_commit=before_commit) as transaction:
            for draft in drafts:
                transaction.rows(self._sql["claim_reference"], {**_row_of(draft.order), "digest": draft.digest})
            owners = {key: self._owner(transaction, key) for key in dict.fromkeys(map(_ref_key, drafts))}
            outcomes = [self._settle(transaction, draft, owners) for draft in drafts]
        self._count(transaction)
        return outcomes

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        if not changes:
            return []
        with self._database.transaction() as transaction:
            orders = {
                id_: self._order(transaction, id_) for id_ in dict.fromkeys(change.order_id for change in changes)
            }
            outcomes = [self._decide(transaction, change, orders, now_us) for change in changes]
        self._count(transaction)
        return outcomes

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        # No lock is needed here: a commit is seen by everybody from one moment on, after it is on the disk, so whoever has
        # heard of a change finds it in any snapshot that begins later.
        if not order_ids:
            return []
        with self._database.snapshot() as snapshot:
            return [self._order(snapshot, order_id) for order_id in order_ids]

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        if not refs:
            return []
        query = self._sql["order_id_of_reference"]
        with self._database.snapshot() as snapshot:
            rows = [snapshot.row(query, msgspec.structs.asdict(ref)) for ref in refs]
        return [None if row is None else _id_text(row[0]) for row in rows]

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()

    def _settle(self, transaction: Transaction, draft: Draft, owners: dict[_RefKey, _Owner]) -> CreateOutcome:
        """One draft's outcome, its reference being claimed by somebody; updates `owners` for the drafts after it."""
        key = _ref_key(draft)
        owner = owners[key]
        if owner.order is None and owner.order_id == draft.order.order_id:
            row = transaction.row(self._sql["insert_order"], _row_of(draft.order))
            assert row is not None
            order = msgspec.structs.replace(draft.order, version=row[0])
            owners[key] = _Owner(order.order_id, draft.digest, order)
            return Created(order)
        if owner.digest != draft.digest:
            return ReferenceReused(owner.order_id)
        if owner.order is None:
            raise TierRejected(self._database.tier, f"a reference stands for order {owner.order_id}, which is not here")
        return Replayed(owner.order)

    def _decide(
        self, transaction: Transaction, change: Change, orders: dict[str, Order | None], now_us: int
    ) -> ChangeOutcome:
        """One change's outcome; updates `orders` for the changes after it."""
        order = orders[change.order_id]
        decision = decide(order, change, now_us=now_us)
        if not isinstance(decision, Transition):
            return decision
        assert order is not None
        parameters = msgspec.structs.asdict(decision) | {"order_id": _id_bytes(change.order_id)}
        row = transaction.row(self._sql["change_order"], parameters)
        assert row is not None
        orders[change.order_id] = changed = decision.of(order, row[0])
        return Changed(changed)

    def _owner(self, transaction: Transaction, key: _RefKey) -> _Owner:
        merchant_id, merchant_ref = key
        row = transaction.row(
            self._sql["owner_of_reference"], {"merchant_id": merchant_id, "merchant_ref": merchant_ref}
        )
        assert row is not None
        return _Owner(_id_text(row[0]), row[1], None if row[2] is None else _order_of(row[2:]))

    def _order(self, transaction: Transaction, order_id: str) -> Order | None:
        row = transaction.row(self._sql["order_by_id"], {"order_id": _id_bytes(order_id)})
        return None if row is None else _order_of(row)

    def _count(self, transaction: Transaction) -> None:
        if transaction.wrote:
            with self._guard:
                self._transactions += 1


class _Owner(msgspec.Struct, frozen=True):
    """Whom a reference stands for; `order` is None while its row is not written."""

    order_id: str
    digest: bytes
    order: Order | None


def _ref_key(draft: Draft) -> _RefKey:
    return draft.order.merchant_id, draft.order.merchant_ref


def _id_bytes(order_id: str) -> bytes:
    return bytes.fromhex(order_id.replace("-", ""))


def _id_text(order_id: bytes) -> str:
    digits = order_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _row_of(order: Order) -> dict[str, object]:
    return msgspec.structs.asdict(order) | {"order_id": _id_bytes(order.order_id)}


def _order_of(row: Row) -> Order:
    order_id, merchant_id, merchant_ref, amount, currency, method, metadata, status, *rest = row
    return Order(
        _id_text(order_id), merchant_id, merchant_ref, amount, currency, method, metadata, Status(status), *rest
    )
