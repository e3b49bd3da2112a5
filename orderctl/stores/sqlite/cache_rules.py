"""The embedded cache's rules, an entry at a time within one transaction: each function is a Lua script on Redis."""

from __future__ import annotations

from typing import Final

from orderctl.contracts import named_queries
from orderctl.ids import group_of
from orderctl.stores.cache import (
    ABSENT_TTL_MAX_MS,
    LEASE_TTL_MS,
    TENTATIVE_TTL_MAX_MS,
    TIMER_LATE_MAX_MS,
    Advance,
    Applied,
    Busy,
    Fill,
    Granted,
    LookupOutcome,
    Promotion,
    Put,
    Tentative,
)
from orderctl.stores.record import NO_TIMER, Entry, Kind, Record, decode, encode_marker, encode_record
from orderctl.stores.rows import id_bytes
from orderctl.stores.sqlite.driver import Transaction
from orderctl.version import NEVER

QUERIES: Final = "sqlite/cache_queries.sql"
US_PER_MS: Final = 1_000


class Shelf:
    """The entries and marks within one transaction, at one moment of the node's clock."""

    def __init__(self, transaction: Transaction, now_us: int, *, groups: int) -> None:
        self.now_us = now_us
        self._transaction = transaction
        self._groups = groups
        self._sql = named_queries("sql", QUERIES)

    def entry(self, order_id: str) -> Entry | None:
        """The entry; None where there is none, it has expired, or its bytes mean nothing."""
        row = self._transaction.row(self._sql["entry"], self._place(order_id) | {"now_us": self.now_us})
        try:
            return None if row is None else decode(row[0])
        except ValueError:
            return None

    def ttl_ms(self, order_id: str) -> int | None:
        """For how long the entry is there still, rounded up; None where there is none."""
        row = self._transaction.row(self._sql["expiry"], self._place(order_id) | {"now_us": self.now_us})
        return None if row is None else -((self.now_us - int(row[0])) // US_PER_MS)

    def timer_ttl_ms(self, order_id: str) -> int | None:
        """In how long the order's timer goes off, rounded up; None where there is none."""
        row = self._transaction.row(self._sql["timer"], self._place(order_id) | {"now_us": self.now_us})
        return None if row is None else -((self.now_us - int(row[0])) // US_PER_MS)

    def set_timer(self, record: Record) -> None:
        """Give the record's order the timer that it says, or none; nobody is told any more of a deadline that is long over."""
        at_us = record.timer_at_ms * US_PER_MS
        if not at_us:
            self._transaction.rows(self._sql["delete_timer"], self._place(record.order_id))
        elif at_us > self.now_us - TIMER_LATE_MAX_MS * US_PER_MS:
            self._transaction.rows(self._sql["set_timer"], self._place(record.order_id) | {"at_us": at_us})

    def put(self, order_id: str, value: bytes, *, ttl_ms: int) -> None:
        """Write an entry that lives for `ttl_ms` from now, and for a moment where that is less than 1."""
        self.put_until(order_id, value, expires_at_us=self.now_us + max(ttl_ms, 1) * US_PER_MS)

    def put_until(self, order_id: str, value: bytes, *, expires_at_us: int) -> None:
        """Write an entry that is gone at `expires_at_us`."""
        parameters = self._place(order_id) | {"value": value, "expires_at_us": expires_at_us}
        self._transaction.rows(self._sql["put_entry"], parameters)

    def rewrite(self, order_id: str, value: bytes) -> None:
        """Give the entry that is there other bytes; it keeps its expiry."""
        self._transaction.rows(self._sql["rewrite_entry"], self._place(order_id) | {"value": value})

    def delete(self, order_id: str) -> bool:
        """Delete what is there, whatever its bytes mean; returns whether there was anything."""
        parameters = self._place(order_id) | {"now_us": self.now_us}
        return self._transaction.row(self._sql["delete_entry"], parameters) is not None

    def delete_some(self, group: int, count: int) -> list[bool]:
        """Delete up to `count` rows of the group; says of each whether it was an entry still, and had not expired."""
        parameters = {"group_no": group, "count": count, "now_us": self.now_us}
        return [bool(row[0]) for row in self._transaction.rows(self._sql["delete_some_of_group"], parameters)]

    def mark(self, group: int) -> int | None:
        """How far the group's entries follow the log, None where nobody knows."""
        row = self._transaction.row(self._sql["mark"], {"group_no": group})
        return None if row is None else int(row[0])

    def set_mark(self, group: int, reached: int) -> None:
        """Say how far they follow it from now on."""
        self._transaction.rows(self._sql["set_mark"], {"group_no": group, "reached": reached})

    def _place(self, order_id: str) -> dict[str, object]:
        return {"group_no": group_of(order_id, self._groups), "order_id": id_bytes(order_id)}


def write_tentative(shelf: Shelf, tentative: Tentative) -> bool:
    """Write it where there is no order and no lease, if its expiry is one to be trusted; returns whether it stands."""
    ahead_us = tentative.expires_at_us - shelf.now_us
    if not 0 < ahead_us <= TENTATIVE_TTL_MAX_MS * US_PER_MS:
        return False
    record = tentative.record
    entry = shelf.entry(record.order_id)
    if entry is not None and entry.kind is not Kind.ABSENT:
        return False
    value = encode_record(record, token=tentative.token)
    shelf.put_until(record.order_id, value, expires_at_us=tentative.expires_at_us)
    shelf.set_timer(record)
    return True


def promote(shelf: Shelf, promotion: Promotion) -> bool:
    """Make a record of the tentative that is there under its creator's token; returns whether it was."""
    entry = shelf.entry(promotion.order_id)
    if entry is None or entry.kind is not Kind.TENTATIVE or entry.token != promotion.token:
        return False
    # What stands is what is there now: a change may have been applied since the creator wrote it. So does its timer.
    assert entry.status is not None
    record = Record(promotion.order_id, entry.version, entry.status, entry.merchant, entry.body, NO_TIMER)
    shelf.put(promotion.order_id, encode_record(record), ttl_ms=promotion.ttl_ms)
    return True


def apply(shelf: Shelf, put: Put) -> Applied:
    """Bring the entry to a committed version, unless it is newer or not there, and the timer, unless the entry is newer."""
    record = put.record
    entry = shelf.entry(record.order_id)
    if entry is None or record.version >= entry.version:
        shelf.set_timer(record)
    if entry is None or entry.kind is Kind.ABSENT:
        return Applied.DELETED if shelf.delete(record.order_id) else Applied.NOTHING
    if entry.kind is Kind.LEASE:
        if record.version > entry.version:
            value = encode_marker(Kind.LEASE, version=record.version, token=entry.token)
            shelf.rewrite(record.order_id, value)
        return Applied.FLOOR_RAISED
    if record.version < entry.version:
        return Applied.KEPT_NEWER
    if entry.kind is Kind.TENTATIVE:
        # With its expiry: it may have landed late, after events of newer versions that found nothing to be applied to.
        shelf.rewrite(record.order_id, encode_record(record, token=entry.token))
    else:
        shelf.put(record.order_id, encode_record(record), ttl_ms=put.ttl_ms)
    alike = (entry.status, entry.merchant, entry.body) == (record.status, record.merchant, record.body)
    return Applied.REPLACED if alike or record.version > entry.version else Applied.CONFLICT


def sync(shelf: Shelf, advance: Advance) -> list[Applied] | None:
    """Apply what the log says of the group, and move its mark; None, and nothing done, where the node went back in time."""
    mark = shelf.mark(advance.group)
    if mark is None or mark < advance.expected:
        return None
    for order_id in advance.drops:
        shelf.delete(order_id)
    applied = [apply(shelf, put) for put in advance.puts]
    # A process that was slow repeats what another one has done long ago: that takes nothing back.
    shelf.set_mark(advance.group, max(mark, advance.reached))
    return applied


def found(entry: Entry) -> LookupOutcome:
    """What a reader makes of an entry."""
    return Busy() if entry.kind is Kind.LEASE else entry


def grant(shelf: Shelf, order_id: str, token: bytes) -> LookupOutcome:
    """Lease the order to the reader under `token`, unless there is an entry by now."""
    entry = shelf.entry(order_id)
    if entry is not None:
        return found(entry)
    shelf.put(order_id, encode_marker(Kind.LEASE, token=token), ttl_ms=LEASE_TTL_MS)
    return Granted(token)


def fill_in(shelf: Shelf, fill: Fill) -> bool:
    """Use the holder's lease up; returns whether what it loaded went in. A floor above it frees the lease."""
    entry = shelf.entry(fill.order_id)
    if entry is None or entry.kind is not Kind.LEASE or entry.token != fill.token:
        return False
    version = NEVER if fill.record is None else fill.record.version
    if version < entry.version:
        shelf.delete(fill.order_id)
        return False
    if fill.record is None:
        shelf.put(fill.order_id, encode_marker(Kind.ABSENT), ttl_ms=min(fill.ttl_ms, ABSENT_TTL_MAX_MS))
    else:
        shelf.put(fill.order_id, encode_record(fill.record), ttl_ms=fill.ttl_ms)
        shelf.set_timer(fill.record)
    return True
