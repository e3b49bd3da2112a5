"""The hot store on MySQL 8 or MariaDB: open orders, by the same steps as in the embedded one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from orderctl.contracts import named_queries
from orderctl.errors import TierRejected
from orderctl.order import Change, Order, Transition
from orderctl.stores.hot import (
    Changed,
    ChangeOutcome,
    Created,
    CreateOutcome,
    Cursor,
    Draft,
    Moved,
    NotPromoted,
    OldEpoch,
    Ref,
    ReferenceReused,
    Removal,
    Replayed,
    do_nothing,
)
from orderctl.stores.mysql_database import MysqlDatabase, Session
from orderctl.stores.mysql_driver import Parameters, Row, key_bytes, text_of
from orderctl.stores.mysql_locked import Locked
from orderctl.stores.rows import id_bytes, id_text, order_of, row_of

QUERIES = "mysql/hot_queries.sql"

_RefKey = tuple[bytes, bytes]
_Version = tuple[str, int]
_START = Cursor(-1, "")


class MysqlHotStore:
    """`HotStore` over a `MysqlDatabase`, which it shares and, as its last user, closes.

    Rows are locked in the order of their keys, so that two batches seldom wait for each other in a circle; where they do,
    the database undoes one, and it is repeated.
    """

    def __init__(self, database: MysqlDatabase) -> None:
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

        def work(session: Session) -> list[CreateOutcome]:
            owners = self._claim(session, drafts)
            created = self._insert(session, [draft.order for draft in drafts if owners[_ref_key(draft)].is_new(draft)])
            return [_settle(draft, owners, created) for draft in drafts]

        try:
            outcomes, wrote = self._database.write(work, before_commit=before_commit)
        except TierRejected:
            # A version that is NULL is refused, and it is NULL on another server than the epoch's.
            self._database.read(self._require_promoted)
            raise
        self._count(wrote=wrote)
        return outcomes

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        if not changes:
            return []

        def work(session: Session) -> list[ChangeOutcome]:
            locked = self._lock(session, [change.order_id for change in changes])
            outcomes: dict[int, ChangeOutcome] = {}
            for places in _rounds(changes):
                decided = self._change_each(session, [changes[place] for place in places], locked, now_us)
                outcomes.update(zip(places, decided, strict=True))
            return [outcomes[place] for place in range(len(changes))]

        outcomes, wrote = self._database.write(work)
        self._count(wrote=wrote)
        return outcomes

    def touch(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:  # noqa: ARG002 - the binlog has its own time
        if not removals:
            return []

        def work(session: Session) -> list[bool]:
            old = self._lock(session, [removal.order_id for removal in removals]).of_older_epochs(removals)
            rows = [{"order_id": id_bytes(order_id), "version": version} for order_id, version in sorted(old)]
            session.changed(self._sql["touch_orders"], each=rows)
            now = self._versions(session, [order_id for order_id, _ in sorted(old)])
            raised = {(order_id, version) for order_id, version in old if now[order_id] > version}
            return [_take(raised, (removal.order_id, removal.version)) for removal in removals]

        outcomes, wrote = self._database.write(work)
        self._count(wrote=wrote)
        return outcomes

    def discard(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        if not removals:
            return []

        def work(session: Session) -> list[bool]:
            locked = self._lock(session, [removal.order_id for removal in removals])
            gone = locked.of_older_epochs(removals)
            owners = [locked.orders[order_id] for order_id, _ in gone]
            self._take_away(session, [(*_key_of(order), id_bytes(order.order_id)) for order in owners], now_us)
            return [_take(gone, (removal.order_id, removal.version)) for removal in removals]

        outcomes, wrote = self._database.write(work)
        self._count(wrote=wrote)
        return outcomes

    def of_older_epochs(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        parameters = {
            "after": b"" if after is None else id_bytes(after),
            "count": max(limit, 0),
            "groups": None if groups is None else group_mask(groups),
        }
        rows = self._database.read(lambda session: session.rows(self._sql["of_older_epochs"], parameters))
        return [_order_of(row) for row in rows]

    def open_orders(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        parameters = _paging(groups, limit) | {"after": b"" if after is None else id_bytes(after)}
        rows = self._database.read(lambda session: session.rows(self._sql["open_orders"], parameters))
        return [_order_of(row) for row in rows]

    def references(self, groups: frozenset[int] | None, *, after: Ref | None, limit: int) -> list[tuple[Ref, str]]:
        keys = {name: key_bytes(text) for name, text in msgspec.structs.asdict(after or Ref("", "")).items()}
        parameters = _paging(groups, limit) | keys
        rows = self._database.read(lambda session: session.rows(self._sql["references"], parameters))
        return [(Ref(merchant.decode(), ref.decode()), id_text(order_id)) for merchant, ref, order_id in rows]

    def count_open(self) -> int:
        row = self._database.read(lambda session: session.row(self._sql["count_open"]))
        return row[0] if row else 0

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        if not order_ids:
            return []
        query, wanted = self._sql["orders_as_committed"], _keys(sorted(set(order_ids)))
        rows = self._database.read(lambda session: session.rows(query, each=wanted))
        orders = {order.order_id: order for order in map(_order_of, rows)}
        return [orders.get(order_id) for order_id in order_ids]

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        if not refs:
            return []
        keys = [(key_bytes(ref.merchant_id), key_bytes(ref.merchant_ref)) for ref in refs]
        owners = self._database.read(lambda session: self._owners(session, keys))
        return [owners[key].order_id if key in owners else None for key in keys]

    def finals(self, groups: frozenset[int] | None, *, after: Cursor | None, limit: int) -> list[Order]:
        after = after or _START
        parameters = {
            "updated_at": after.updated_at,
            "order_id": id_bytes(after.order_id),
            "count": max(limit, 0),
            "groups": None if groups is None else group_mask(groups),
        }
        rows = self._database.read(lambda session: session.rows(self._sql["finals"], parameters))
        return [_order_of(row) for row in rows]

    def remove(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        if not removals:
            return []

        def work(session: Session) -> list[bool]:
            ids = sorted({removal.order_id for removal in removals})
            rows = session.rows(self._sql["lock_removable"], each=_keys(ids))
            final = {(id_text(order_id), version): ref for order_id, version, *ref in rows}
            gone = {(removal.order_id, removal.version) for removal in removals} & final.keys()
            self._take_away(session, [(*final[key], id_bytes(key[0])) for key in gone], now_us)
            # Whoever asks for the same twice is told the second time that it is not there.
            return [_take(gone, (removal.order_id, removal.version)) for removal in removals]

        outcomes, wrote = self._database.write(work)
        self._count(wrote=wrote)
        return outcomes

    def purge_references(self, *, moved_before_us: int, limit: int) -> int:
        parameters = {"moved_before_us": moved_before_us, "count": max(limit, 0)}
        query = self._sql["purge_references"]
        purged, wrote = self._database.write(lambda session: session.changed(query, parameters))
        self._count(wrote=wrote)
        return purged

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()

    def _claim(self, session: Session, drafts: Sequence[Draft]) -> dict[_RefKey, _Owner]:
        """Take the references; returns whom each stands for, with its order where that is not still to be written.

        Whoever meets a reference waits here until its claimant has committed, and holds it until the end.
        """
        claims = sorted(map(_claim_of, drafts), key=_key_of_claim)
        first = {_key_of_claim(claim): claim for claim in reversed(claims)}
        if session.changed(self._sql["claim_references"], each=claims) == len(first):
            # All were free, as nearly always, and stand for the first draft of each now.
            return {key: _Owner(id_text(claim["order_id"]), claim["digest"]) for key, claim in first.items()}
        owners = self._owners(session, first)
        ids = sorted({owner.order_id for owner in owners.values()})
        rows = session.rows(self._sql["orders_as_committed"], each=_keys(ids))
        orders = {order.order_id: order for order in map(_order_of, rows)}
        return {key: msgspec.structs.replace(owner, order=orders.get(owner.order_id)) for key, owner in owners.items()}

    def _owners(self, session: Session, refs: Iterable[_RefKey]) -> dict[_RefKey, _Owner]:
        wanted = [{"merchant_id": merchant_id, "merchant_ref": ref} for merchant_id, ref in sorted(set(refs))]
        rows = session.rows(self._sql["owners_of_references"], each=wanted)
        return {
            (merchant_id, merchant_ref): _Owner(id_text(order_id), digest, has_moved=bool(has_moved))
            for merchant_id, merchant_ref, order_id, digest, has_moved in rows
        }

    def _insert(self, session: Session, orders: Sequence[Order]) -> dict[str, Order]:
        """Write new orders; returns them by id, at the version that they have got. One that was sent twice is written once."""
        new = {order.order_id: order for order in reversed(orders)}
        session.changed(self._sql["insert_orders"], each=[_row_of(new[order_id]) for order_id in sorted(new)])
        versions = self._versions(session, sorted(new))
        return {id_: msgspec.structs.replace(order, version=versions[id_]) for id_, order in new.items()}

    def _take_away(self, session: Session, refs: Sequence[tuple[bytes, bytes, bytes]], now_us: int) -> None:
        """Remove the orders of these references (merchant, reference, id), whose rows are locked, and mark that they moved."""
        moved = [dict(zip(("merchant_id", "merchant_ref", "order_id"), ref, strict=True)) for ref in sorted(refs)]
        session.changed(self._sql["remove_orders"], each=[{"order_id": id_} for id_ in sorted(ref[-1] for ref in refs)])
        session.changed(self._sql["mark_moved"], {"now_us": now_us}, each=moved)

    def _lock(self, session: Session, order_ids: Iterable[str]) -> Locked:
        """Lock the orders that there are until the transaction ends.

        Raises:
            NotPromoted: the server is not the epoch's.

        """
        rows = session.rows(self._sql["lock_orders"], each=_keys(sorted(set(order_ids))))
        if any(row[-1] is None for row in rows):
            self._require_promoted(session)
        orders = {order.order_id: order for order in (_order_of(row[:-1]) for row in rows)}
        return Locked(orders, {id_text(row[0]) for row in rows if row[-1]})

    def _require_promoted(self, session: Session) -> None:
        row = session.row(self._sql["deployment"])
        server, epoch_server = map(text_of, row[5:7]) if row else (None, None)
        if server != epoch_server:
            raise NotPromoted(self._database.server.address, server, epoch_server)

    def _change_each(
        self, session: Session, changes: Sequence[Change], locked: Locked, now_us: int
    ) -> list[ChangeOutcome]:
        """The outcomes of changes to different orders; updates `locked` for the changes after them."""
        orders = locked.orders
        decisions = [locked.decide(change, now_us=now_us) for change in changes]
        transitions = {
            change.order_id: decision
            for change, decision in zip(changes, decisions, strict=True)
            if isinstance(decision, Transition)
        }
        ids = sorted(transitions)
        moves = [msgspec.structs.asdict(transitions[id_]) | {"order_id": id_bytes(id_)} for id_ in ids]
        session.changed(self._sql["change_orders"], each=moves)
        for order_id, version in self._versions(session, ids).items():
            if version == orders[order_id].version:
                # The epoch was raised since the row was locked, and the statement left it alone.
                locked.old.add(order_id)
            else:
                orders[order_id] = transitions[order_id].of(orders[order_id], version)
        return [
            _made(orders[change.order_id], is_old=change.order_id in locked.old)
            if isinstance(decision, Transition)
            else decision
            for change, decision in zip(changes, decisions, strict=True)
        ]

    def _versions(self, session: Session, order_ids: Sequence[str]) -> dict[str, int]:
        rows = session.rows(self._sql["versions"], each=_keys(order_ids))
        return {id_text(order_id): version for order_id, version in rows}

    def _count(self, *, wrote: bool) -> None:
        if wrote:
            with self._guard:
                self._transactions += 1


class _Owner(msgspec.Struct, frozen=True):
    """Whom a reference stands for; `order` is None while its row is not written, and when it has moved."""

    order_id: str
    digest: bytes
    has_moved: bool = False
    order: Order | None = None

    def is_new(self, draft: Draft) -> bool:
        """Whether the reference was claimed in this transaction, for this draft's order."""
        return self.order is None and not self.has_moved and self.order_id == draft.order.order_id


def _made(order: Order, *, is_old: bool) -> ChangeOutcome:
    return OldEpoch(order) if is_old else Changed(order)


def _settle(draft: Draft, owners: dict[_RefKey, _Owner], created: dict[str, Order]) -> CreateOutcome:
    """One draft's outcome; updates `owners` for the drafts after it, which find its order."""
    key = _ref_key(draft)
    owner = owners[key]
    if owner.is_new(draft):
        order = created[owner.order_id]
        owners[key] = msgspec.structs.replace(owner, order=order)
        return Created(order)
    if owner.digest != draft.digest:
        return ReferenceReused(owner.order_id)
    return Moved(owner.order_id) if owner.order is None else Replayed(owner.order)


def _rounds(changes: Sequence[Change]) -> list[list[int]]:
    """The places of all changes, those that are the first to their order, then the second, and so on.

    One statement can change each order once; changes to different orders do not care which comes first.
    """
    rounds: list[list[int]] = []
    seen: Counter[str] = Counter()
    for place, change in enumerate(changes):
        if seen[change.order_id] == len(rounds):
            rounds.append([])
        rounds[seen[change.order_id]].append(place)
        seen[change.order_id] += 1
    return rounds


def _claim_of(draft: Draft) -> dict[str, Any]:
    merchant_id, merchant_ref = _ref_key(draft)
    key = {"merchant_id": merchant_id, "merchant_ref": merchant_ref}
    return {**key, "order_id": id_bytes(draft.order.order_id), "digest": draft.digest}


def _key_of_claim(claim: dict[str, Any]) -> _RefKey:
    return claim["merchant_id"], claim["merchant_ref"]


def _ref_key(draft: Draft) -> _RefKey:
    return _key_of(draft.order)


def _key_of(order: Order) -> _RefKey:
    return key_bytes(order.merchant_id), key_bytes(order.merchant_ref)


def _keys(order_ids: Iterable[str]) -> list[Parameters]:
    return [{"order_id": id_bytes(order_id)} for order_id in order_ids]


def _row_of(order: Order) -> Parameters:
    return row_of(order) | {
        "merchant_id": key_bytes(order.merchant_id),
        "merchant_ref": key_bytes(order.merchant_ref),
    }


def _order_of(row: Row) -> Order:
    order_id, merchant_id, merchant_ref, *rest = row
    return order_of((order_id, merchant_id.decode(), merchant_ref.decode(), *rest))


def _paging(groups: frozenset[int] | None, limit: int) -> dict[str, Any]:
    return {"count": max(limit, 0), "groups": None if groups is None else group_mask(groups)}


def group_mask(groups: frozenset[int]) -> str:
    """A 1 in the place of each of the groups, and a 0 in that of each other."""
    return "".join("01"[group in groups] for group in range(max(groups, default=-1) + 1))


def _take(these: set[_Version], one: _Version) -> bool:
    found = one in these
    these.discard(one)
    return found
