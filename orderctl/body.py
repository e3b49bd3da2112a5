"""An order's JSON as programs see it: made once, kept in the cache, sent as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from orderctl.clock import US_PER_S
from orderctl.order import Order, Status


class OrderBody(Struct, frozen=True):
    """The order over HTTP. Times are RFC 3339 in UTC with microseconds; `version` is exact in a double."""

    order_id: str
    merchant_id: str
    merchant_ref: str
    amount: int
    currency: str
    payment_method: str
    metadata: dict[str, str]
    status: Status
    status_reason: str | None
    version: int
    created_at: str
    updated_at: str
    deadline_at: str


class _Rendered(Struct, frozen=True, gc=False):
    """`OrderBody`, with the metadata's text put in as it is. The members are in the same order: a test compares."""

    order_id: str
    merchant_id: str
    merchant_ref: str
    amount: int
    currency: str
    payment_method: str
    metadata: msgspec.Raw
    status: Status
    status_reason: str | None
    version: int
    created_at: str
    updated_at: str
    deadline_at: str


_SHIFT_S: Final = 10**11
"""Before 1970 by more than the calendar reaches back: so shifted, all its times are numbers without a sign."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(OrderBody).decode


def render(order: Order) -> bytes:
    """The order's JSON."""
    return _encode(
        _Rendered(
            order.order_id,
            order.merchant_id,
            order.merchant_ref,
            order.amount,
            order.currency,
            order.payment_method,
            msgspec.Raw(order.metadata.encode()),
            order.status,
            order.status_reason,
            order.version,
            rfc3339(order.created_at),
            rfc3339(order.updated_at),
            rfc3339(order.deadline_at),
        )
    )


def parse(body: bytes) -> OrderBody:
    """The order that `render` made JSON of.

    Raises:
        msgspec.DecodeError: `body` is not an order's JSON.

    """
    return _decode(body)


def rfc3339(unix_us: int) -> str:
    """A time as `2026-01-31T12:00:00.000001Z`."""
    # Cut out of the number's digits, which is faster than a division and a format.
    digits = str(unix_us + _SHIFT_S * US_PER_S)
    return f"{_to_the_second(digits[:-6])}.{digits[-6:]}Z"


@lru_cache(maxsize=4096)
def _to_the_second(shifted_s: str) -> str:
    return datetime.fromtimestamp(int(shifted_s) - _SHIFT_S, UTC).strftime("%Y-%m-%dT%H:%M:%S")
