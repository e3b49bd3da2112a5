"""`order get`: an order as it is, however long the look-up takes."""

from __future__ import annotations

import threading

from orderctl.admin.client import Found, OrderClient, Pending
from orderctl.clock import Clock

WAIT_S = 10
"""How long the server is asked to wait with its answer rather than say that the look-up is pending."""

PAUSE_S_MIN = 0.1
"""Between two questions, whatever the server says: a command in a terminal is in no greater hurry."""


def order_get(client: OrderClient, clock: Clock, order_id: str, *, min_version: int | None = None) -> bytes:
    """The order's JSON, as the server sent it. Asks until there is an answer: the caller bounds the time."""
    never = threading.Event()
    while True:
        match client.get(order_id, wait_s=WAIT_S, min_version=min_version):
            case Found(body):
                return body
            case Pending(retry_after_s):
                clock.wait(never, max(retry_after_s, PAUSE_S_MIN))
