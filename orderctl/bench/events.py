"""Change events as the pump publishes them, for scenarios that begin behind it."""

from __future__ import annotations

from collections.abc import Iterable

from orderctl import event
from orderctl.clock import Clock
from orderctl.event import ChangeEvent, Op, Source
from orderctl.ids import group_of
from orderctl.order import Order
from orderctl.stores.log import Outgoing, Place


def messages_of(orders: Iterable[Order], topic: str, *, groups: int, clock: Clock) -> list[Outgoing]:
    """One message for each order's last change."""
    now_us = clock.now_us()
    source = Source("main", "0-1-1000000", now_us)
    return [
        Outgoing(
            Place(topic, group_of(order.order_id, groups)),
            order.order_id.encode(),
            event.encode(ChangeEvent(None, order, Op.UPDATE, source, now_us // 1000)),
            (("version", str(order.version).encode()), ("ts_us", str(now_us).encode())),
        )
        for order in orders
    ]
