"""The bodies of requests beside `NewOrder`, and in a person's words what each member of a body should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from orderctl.order import AMOUNT_MAX, REASON_CHARS_MAX, TIMEOUT_MAX_S, FieldError, Status
from orderctl.version import VERSION_MAX
from orderctl.web.edge import ITEMS_MAX

Reason = Annotated[str, Meta(max_length=REASON_CHARS_MAX)]


class ChangeBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What an order is to become."""

    status: Status
    status_reason: Reason | None = None


class ChangeItem(Struct, frozen=True, forbid_unknown_fields=True):
    """What one order of a batch is to become. `if_version` stands for the header If-Match."""

    order_id: str
    status: Status
    status_reason: Reason | None = None
    if_version: Annotated[int, Meta(ge=1, le=VERSION_MAX)] | None = None


class LookupBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Which orders are wanted."""

    order_ids: list[str]


EXPECTED = {
    "merchant_ref": "a string of 1 to 64 visible ASCII characters, without spaces",
    "amount": f"an integer of minor units, 1 to {AMOUNT_MAX}",
    "currency": "an assigned ISO 4217 code in upper case, such as EUR",
    "payment_method": "a string of 1 to 32 characters",
    "metadata": "an object of strings",
    "timeout_s": f"an integer of seconds, 1 to {TIMEOUT_MAX_S}",
    "order_id": "an order id, a UUIDv7 as text",
    "status": f"one of {', '.join(Status)}",
    "status_reason": f"a string of at most {REASON_CHARS_MAX} characters, or null",
    "if_version": f"an integer, 1 to {VERSION_MAX}, or null",
    "order_ids": f"an array of at most {ITEMS_MAX} order ids",
}
"""What each member of a body should be; a test asks for all of them."""


def too_many_ids(body: LookupBody) -> Iterator[FieldError]:
    """What the type of `LookupBody` cannot say in words."""
    if len(body.order_ids) > ITEMS_MAX:
        yield FieldError("/order_ids", f"{len(body.order_ids)} order ids; at most {ITEMS_MAX}")
