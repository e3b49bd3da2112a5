"""The embedded cache's rules, an entry at a time within one transaction: each function is a Lua script on Redis."""

from __future__ import annotations

from typing import Final

from orderctl.contracts import named_queries
from orderctl.stores.base import (
    ABSENT_TTL_MAX_MS,
    LEASE_TTL_MS,
    TENTATIVE_TTL_MAX_MS,
    Applied,
    Busy,
    Fill,
    Granted,
    LookupOutcome,
    Promotion,
    Put,
    Tentative,
)
from orderctl.stores.record import Entry, Kind, Record, decode, encode_marker, encode_record
from orderctl.stores.sqlite.driver import Transaction
from orderctl.version import NEVER

QUERIES: Final = "sqlite/cache_queries.sql"
US_PER_MS: Final = 1_000


class Shelf:
    """The entries within one transaction, at one moment of the node's clock."""

    def __init__(self, transaction: Transaction, now_us: int) -> None:
        self.now_us = now_us
        self._transaction = transaction
        self._sql = named_queries("sql", QUERIES)

    def entry(self, order_id: str) -> Entry | None:
        """The entry; None where there is none, it has expired, or its bytes mean nothing."""
        row = self._transaction.row(self._sql["entry"], {"order_id": _key(order_id), "now_us": self.now_us})
        try:
            return None if row is None else decode(row[0])
        except ValueError:
            return None

    def put(self, order_id: str, value: bytes, *, ttl_ms: int) -> None:
        """Write an entry that lives for `ttl_ms` from now, and for a moment where that is less than 1."""
        self.put_until(order_id, value, expires_at_us=self.now_us + max(ttl_ms, 1) * US_PER_MS)

    def put_until(self, order_id: str, value: bytes, *, expires_at_us: int) -> None:
        """Write an entry that is gone at `expires_at_us`."""
        parameters = {"order_id": _key(order_id), "value": value, "expires_at_us": expires_at_us}
        self._transaction.rows(self._sql["put_entry"], parameters)

    def rewrite(self, order_id: str, value: bytes) -> None:
        """Give the entry that is there other bytes; it keeps its expiry."""
        self._transaction.rows(self._sql["rewrite_entry"], {"order_id": _key(order_id), "value": value})

    def delete(self, order_id: str) -> bool:
        """Delete what is there, whatever its bytes mean; returns whether there was anything."""
        parameters = {"order_id": _key(order_id), "now_us": self.now_us}
        return self._transaction.row(self._sql["delete_entry"], parameters) is not None


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
    return True


def promote(shelf: Shelf, promotion: Promotion) -> bool:
    """Make a record of the tentative that is there under its creator's token; returns whether it was."""
    entry = shelf.entry(promotion.order_id)
    if entry is None or entry.kind is not Kind.TENTATIVE or entry.token != promotion.token:
        return False
    # What stands is what is there now: a change may have been applied since the creator wrote it.
    assert entry.status is not None
    record = Record(promotion.order_id, entry.version, entry.status, entry.merchant, entry.body)
    shelf.put(promotion.order_id, encode_record(record), ttl_ms=promotion.ttl_ms)
    return True


def apply(shelf: Shelf, put: Put) -> Applied:
    """Bring the entry to a committed version, unless it is newer or not there."""
    record = put.record
    entry = shelf.entry(record.order_id)
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
    return True


def _key(order_id: str) -> bytes:
    return bytes.fromhex(order_id.replace("-", ""))
