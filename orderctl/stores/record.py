"""A cache entry's bytes: a header of fixed size, then the order's JSON exactly as the query server sends it.

    offset  size
         0     1  format, 1
         1     1  kind: R record, T tentative, L lease, A absent
         2     1  status: position in the order of `Status`, 255 where there is no order
         3     1  reserved, 0
         4     8  version, big-endian; for a lease its floor
        12    16  token of the tentative's creator or of the lease's holder, else zeros
        28    16  BLAKE2b-128 of the merchant's id, so that the owner is checked without reading JSON; zeros without an order
        44     …  the order's JSON (records and tentatives only)

The Lua scripts read the same offsets (`>I8` at 5 in Lua's counting), so a change here raises the format's number.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from orderctl import body
from orderctl.order import Order, Status
from orderctl.version import VERSION_MAX

FORMAT: Final = 1
HEADER: Final = struct.Struct(">BcBxQ16s16s")
TOKEN_BYTES: Final = 16
NO_TOKEN: Final = bytes(TOKEN_BYTES)
NO_MERCHANT: Final = bytes(16)
NO_TIMER: Final = 0

_STATUSES: Final = tuple(Status)
_PLACES: Final = {status: place for place, status in enumerate(_STATUSES)}
_NO_STATUS: Final = 255


class Kind(StrEnum):
    """What a cache entry is."""

    RECORD = "R"
    """An order as a database held it."""
    TENTATIVE = "T"
    """An order that its creator is still committing; lives a few seconds."""
    LEASE = "L"
    """Somebody is loading the order; the version is the floor under what may be filled in."""
    ABSENT = "A"
    """No database had the order a moment ago; counts as version 0."""


class Record(Struct, frozen=True, gc=False):
    """One version of an order, ready to be cached and sent. `merchant` is `merchant_digest` of its owner.

    `timer_at_ms` is when its timer is to go off, see `timer_at_ms`; it is no part of the entry's bytes.
    """

    order_id: str
    version: int
    status: Status
    merchant: bytes
    body: bytes
    timer_at_ms: int


class Entry(Struct, frozen=True, gc=False):
    """What the cache holds for one order. Without an order `status` is None and `body` empty."""

    kind: Kind
    version: int
    status: Status | None = None
    token: bytes = NO_TOKEN
    merchant: bytes = NO_MERCHANT
    body: bytes = b""

    @property
    def has_order(self) -> bool:
        """Whether there is an order to answer with."""
        return self.status is not None


_KINDS: Final = {kind.encode(): kind for kind in Kind}
_WITH_ORDER: Final = frozenset({Kind.RECORD, Kind.TENTATIVE})


@lru_cache(maxsize=65_536)
def merchant_digest(merchant_id: str) -> bytes:
    """The 16 bytes that stand for a merchant in a header."""
    return blake2b(merchant_id.encode(), digest_size=16).digest()


def record_of(order: Order) -> Record:
    """`order` as the cache keeps it."""
    merchant = merchant_digest(order.merchant_id)
    return Record(order.order_id, order.version, order.status, merchant, body.render(order), timer_at_ms(order))


def timer_at_ms(order: Order) -> int:
    """When the order's timer goes off: the first whole millisecond (Unix) at which its deadline has come; NO_TIMER once final."""
    return NO_TIMER if order.status.is_final else max(1, -(-order.deadline_at // 1000))


def is_token(token: bytes) -> bool:
    """Whether an entry can hold `token`: 16 bytes, which are not all zero, since those say that there is none."""
    return len(token) == TOKEN_BYTES and token != NO_TOKEN


def encode_record(record: Record, *, token: bytes = NO_TOKEN) -> bytes:
    """A record's bytes; with a token, a tentative's."""
    kind = b"R" if token == NO_TOKEN else b"T"
    return HEADER.pack(FORMAT, kind, _PLACES[record.status], record.version, token, record.merchant) + record.body


def encode_marker(kind: Kind, *, version: int = 0, token: bytes = NO_TOKEN) -> bytes:
    """The bytes of an entry without an order: a lease with its floor, or `absent`."""
    return HEADER.pack(FORMAT, kind.encode(), _NO_STATUS, version, token, NO_MERCHANT)


def decode(value: bytes) -> Entry:
    """The entry in `value`.

    Raises:
        ValueError: these are not an entry's bytes.

    """
    if len(value) < HEADER.size:
        raise ValueError(f"a cache entry has at least {HEADER.size} bytes, this has {len(value)}")
    format_, kind, status, version, token, merchant = HEADER.unpack_from(value)
    if format_ != FORMAT:
        raise ValueError(f"a cache entry of format {format_}; this is format {FORMAT}")
    if version > VERSION_MAX:
        raise ValueError(f"a cache entry of version {version}, which is not exact in Lua's numbers")
    known, body_ = _KINDS.get(kind), value[HEADER.size :]
    entry_status = _STATUSES[status] if status < len(_STATUSES) else None
    has_order = entry_status is not None
    if known is None or has_order != (known in _WITH_ORDER) or has_order != bool(body_):
        raise ValueError("a cache entry that contradicts itself")
    return Entry(known, version, entry_status, token, merchant, body_)
