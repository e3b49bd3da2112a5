"""The embedded hot store: open orders in one SQLite file, by the same steps as on MySQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from orderctl.contracts import Query, named_queries
from orderctl.order import OPEN, Change, Order, Transition, decide
from orderctl.stores.hot import (
    Changed,
    ChangeOutcome,
    Created,
    CreateOutcome,
    Cursor,
    Draft,
    Moved,
    OldEpoch,
    Ref,
    ReferenceReused,
    Removal,
    Replayed,
    do_nothing,
)
from orderctl.stores.rows import id_bytes, id_text, order_of, row_of
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Transaction
from orderctl.version import epoch_of

QUERIES = "sqlite/hot_queries.sql"

_RefKey = tuple[str, str]
_START = Cursor(-1, "")


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
                transaction.rows(self._sql["claim_reference"], {**row_of(draft.order), "digest": draft.digest})
            if transaction.wrote:
                self._begin_changes(transaction, max(draft.order.updated_at for draft in drafts))
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
            epoch = self._epoch(transaction)
            outcomes = [self._decide(transaction, change, orders, epoch, now_us) for change in changes]
        self._count(transaction)
        return outcomes

    def touch(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        if not removals:
            return []
        with self._database.transaction() as transaction:
            outcomes = [self._touch(transaction, removal, now_us) for removal in removals]
        self._count(transaction)
        return outcomes

    def discard(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        return self._remove_all(self._sql["reference_of_discardable"], removals, now_us)

    def of_older_epochs(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        after_id = b"" if after is None else id_bytes(after)
        parameters: dict[str, object] = {"after": after_id, "count": max(limit, 0)}
        return self._orders_of(self._sql["of_older_epochs"], self._sql["of_older_epochs_of_groups"], groups, parameters)

    def open_orders(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        after_id = b"" if after is None else id_bytes(after)
        parameters: dict[str, object] = {"after": after_id, "count": max(limit, 0)}
        return self._orders_of(self._sql["open_orders"], self._sql["open_orders_of_groups"], groups, parameters)

    def references(self, groups: frozenset[int] | None, *, after: Ref | None, limit: int) -> list[tuple[Ref, str]]:
        ref = after or Ref("", "")
        parameters: dict[str, object] = {
            "merchant_id": ref.merchant_id,
            "merchant_ref": ref.merchant_ref,
            "count": max(limit, 0),
            "groups": None if groups is None else msgspec.json.encode(sorted(groups)).decode(),
        }
        with self._database.snapshot() as snapshot:
            rows = snapshot.rows(self._sql["references"], parameters)
        return [(Ref(merchant_id, merchant_ref), id_text(order_id)) for merchant_id, merchant_ref, order_id in rows]

    def count_open(self) -> int:
        with self._database.snapshot() as snapshot:
            [[count]] = snapshot.rows(self._sql["count_open"])
        return int(count)

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
        return [None if row is None else id_text(row[0]) for row in rows]

    def finals(self, groups: frozenset[int] | None, *, after: Cursor | None, limit: int) -> list[Order]:
        after = after or _START
        parameters = {"updated_at": after.updated_at, "order_id": id_bytes(after.order_id), "count": max(limit, 0)}
        return self._orders_of(self._sql["finals"], self._sql["finals_of_groups"], groups, parameters)

    def remove(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        return self._remove_all(self._sql["reference_of_removable"], removals, now_us)

    def purge_references(self, *, moved_before_us: int, limit: int) -> int:
        parameters = {"moved_before_us": moved_before_us, "count": max(limit, 0)}
        with self._database.transaction() as transaction:
            purged = len(transaction.rows(self._sql["purge_references"], parameters))
        self._count(transaction)
        return purged

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()

    def _settle(self, transaction: Transaction, draft: Draft, owners: dict[_RefKey, _Owner]) -> CreateOutcome:
        """One draft's outcome, its reference being claimed by somebody; updates `owners` for the drafts after it."""
        key = _ref_key(draft)
        owner = owners[key]
        if owner.is_new and owner.order_id == draft.order.order_id:
            row = transaction.row(self._sql["insert_order"], row_of(draft.order))
            assert row is not None
            order = msgspec.structs.replace(draft.order, version=row[0])
            owners[key] = _Owner(order.order_id, draft.digest, has_moved=False, order=order)
            return Created(order)
        if owner.digest != draft.digest:
            return ReferenceReused(owner.order_id)
        return Moved(owner.order_id) if owner.order is None else Replayed(owner.order)

    def _decide(
        self, transaction: Transaction, change: Change, orders: dict[str, Order | None], epoch: int, now_us: int
    ) -> ChangeOutcome:
        """One change's outcome; updates `orders` for the changes after it."""
        order = orders[change.order_id]
        decision = decide(order, change, now_us=now_us)
        # Whoever may not know of the order is not told of its epoch either.
        is_known = isinstance(decision, Transition) or decision.order is not None
        if order is not None and is_known and order.status in OPEN and epoch_of(order.version) < epoch:
            return OldEpoch(order)
        if not isinstance(decision, Transition):
            return decision
        assert order is not None
        if not transaction.wrote:
            self._begin_changes(transaction, now_us)
        parameters = msgspec.structs.asdict(decision) | {"order_id": id_bytes(change.order_id)}
        row = transaction.row(self._sql["change_order"], parameters)
        assert row is not None
        orders[change.order_id] = changed = decision.of(order, row[0])
        return Changed(changed)

    def _touch(self, transaction: Transaction, removal: Removal, now_us: int) -> bool:
        key = {"order_id": id_bytes(removal.order_id), "version": removal.version}
        if transaction.row(self._sql["reference_of_discardable"], key) is None:
            return False
        if not transaction.wrote:
            self._begin_changes(transaction, now_us)
        return transaction.row(self._sql["touch_order"], key) is not None

    def _remove_all(self, which: Query, removals: Sequence[Removal], now_us: int) -> list[bool]:
        """Remove those whose references this query finds."""
        if not removals:
            return []
        with self._database.transaction() as transaction:
            outcomes = [self._remove(transaction, which, removal, now_us) for removal in removals]
        self._count(transaction)
        return outcomes

    def _remove(self, transaction: Transaction, which: Query, removal: Removal, now_us: int) -> bool:
        key = {"order_id": id_bytes(removal.order_id)}
        reference = transaction.row(which, {**key, "version": removal.version})
        if reference is None:
            return False
        if not transaction.wrote:
            self._begin_changes(transaction, now_us)
        transaction.rows(self._sql["remove_order"], key)
        merchant_id, merchant_ref = reference
        parameters = {**key, "merchant_id": merchant_id, "merchant_ref": merchant_ref, "now_us": now_us}
        transaction.rows(self._sql["mark_moved"], parameters)
        return True

    def _orders_of(
        self, of_all: Query, of_groups: Query, groups: frozenset[int] | None, parameters: dict[str, Any]
    ) -> list[Order]:
        """What the one query finds, or the other, which is for some groups."""
        if groups is not None:
            parameters["groups"] = msgspec.json.encode(sorted(groups)).decode()
        with self._database.snapshot() as snapshot:
            rows = snapshot.rows(of_all if groups is None else of_groups, parameters)
        return [order_of(row) for row in rows]

    def _epoch(self, transaction: Transaction) -> int:
        """The epoch in force: nobody else writes while this transaction lasts."""
        row = transaction.row(self._sql["epoch"])
        return row[0] if row else 0

    def _begin_changes(self, transaction: Transaction, now_us: int) -> None:
        """To be called once in a transaction, before it writes its first order and not if it writes none."""
        transaction.rows(self._sql["begin_changes"], {"now_us": now_us})

    def _owner(self, transaction: Transaction, key: _RefKey) -> _Owner:
        merchant_id, merchant_ref = key
        row = transaction.row(
            self._sql["owner_of_reference"], {"merchant_id": merchant_id, "merchant_ref": merchant_ref}
        )
        assert row is not None
        order_id, digest, has_moved, *order = row
        return _Owner(id_text(order_id), digest, bool(has_moved), None if order[0] is None else order_of(tuple(order)))

    def _order(self, transaction: Transaction, order_id: str) -> Order | None:
        row = transaction.row(self._sql["order_by_id"], {"order_id": id_bytes(order_id)})
        return None if row is None else order_of(row)

    def _count(self, transaction: Transaction) -> None:
        if transaction.wrote:
            with self._guard:
                self._transactions += 1


class _Owner(msgspec.Struct, frozen=True):
    """Whom a reference stands for; `order` is None while its row is not written, and when it has moved."""

    order_id: str
    digest: bytes
    has_moved: bool
    order: Order | None

    @property
    def is_new(self) -> bool:
        """Whether the reference was claimed in this transaction, and its row is still to be written."""
        return self.order is None and not self.has_moved


def _ref_key(draft: Draft) -> _RefKey:
    return draft.order.merchant_id, draft.order.merchant_ref
