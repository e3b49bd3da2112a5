"""Messages of `orders.changes` that nobody can process, each in its own way."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from orderctl.order import Order
from orderctl.stores.log import CHANGES, Outgoing, Place
from tests.contract.cache_harness import GROUPS, an_order
from tests.services.following import message_of


def with_value(order: Order, value: bytes) -> Outgoing:
    return structs.replace(message_of(order), value=value)


def with_key(order: Order, key: bytes) -> Outgoing:
    return structs.replace(message_of(order), key=key)


def with_row(order: Order, text: bytes, instead: bytes) -> Outgoing:
    """One whose row was tampered with."""
    value = message_of(order).value
    assert text in value
    return with_value(order, value.replace(text, instead))


def in_another_partition(order: Order) -> Outgoing:
    message = message_of(order)
    return structs.replace(message, place=Place(CHANGES, (message.place.partition + 1) % GROUPS))


POISON: dict[str, Callable[[Order], Outgoing]] = {
    "not JSON": lambda o: with_value(o, b"\xff\x00"),
    "empty": lambda o: with_value(o, b""),
    "another shape": lambda o: with_value(o, b'{"op":"u","after":[]}'),
    "nested without end": lambda o: with_value(o, b"[" * 100_000),
    "an update without a row": lambda o: with_value(o, b'{"before":null,"after":null,"op":"u"}'),
    "an unknown status": lambda o: with_row(o, b'"processing"', b'"lost"'),
    "version 0": lambda o: with_row(o, b'"version":2', b'"version":0'),
    "a version that no double holds": lambda o: with_row(o, b'"version":2', b'"version":%d' % 2**53),
    "metadata that is no JSON": lambda o: with_row(o, b'"{\\"basket', b'"{basket'),
    "metadata that is more than JSON": lambda o: with_row(
        o, b'"{\\"basket\\":\\"7\\"}', b'"{},\\"status\\":\\"success\\"'
    ),
    "a time outside the calendar": lambda o: with_row(o, b'"deadline_at":', b'"deadline_at":99999'),
    "a time beyond any clock": lambda o: with_row(o, b'"deadline_at":', b'"deadline_at":' + b"9" * 20),
    "a row without an order id": lambda o: with_row(o, o.order_id.encode(), b"x" * 36),
    "an id that is written otherwise": lambda o: message_of(structs.replace(o, order_id=o.order_id.upper())),
    "the wrong partition": in_another_partition,
    "the key of another order": lambda o: with_key(o, an_order().order_id.encode()),
    "a key that is no order id": lambda o: with_key(o, b"\xfe no id"),
}
"""By kind: a message about the order as it is given, at version 2 and processing, that is to be parked."""
