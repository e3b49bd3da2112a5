"""`order watch`: an order's current state at once, then each later version that is seen, until it is final."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from orderctl.admin.client import OrderClient, parse_order
from orderctl.admin.order_get import order_get
from orderctl.body import OrderBody
from orderctl.clock import Clock


class Seen(Struct, frozen=True):
    """A version of the order: its JSON as the server sent it, and what that says."""

    raw: bytes
    order: OrderBody


def order_watch(client: OrderClient, clock: Clock, order_id: str) -> Iterator[Seen]:
    """Each version in turn; ends after a final one. Versions that come quicker than they are asked for may be left out."""
    min_version: int | None = None
    while True:
        raw = order_get(client, clock, order_id, min_version=min_version)
        order = parse_order(raw)
        yield Seen(raw, order)
        if order.status.is_final:
            return
        min_version = order.version + 1
