"""Change events: one row change, in the envelope that Debezium writes without a schema, so that it can stand in for the pump.

    {"before": row | null, "after": row | null, "source": {"shard", "position", "ts_us"}, "op": "c" | "u" | "d", "ts_ms"}

A row has the table's column names and holds the whole order, so no event has to wait for another.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from orderctl.order import Order


class Op(StrEnum):
    """What happened to the row."""

    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    """The archiver's: the order is in the archive. It says nothing about the order."""


class Source(Struct, frozen=True, gc=False):
    """Where the change was read: the shard's name, a position in its stream, and the commit's time in Unix microseconds."""

    shard: str = ""
    position: str = ""
    ts_us: int = 0


class ChangeEvent(Struct, frozen=True, gc=False):
    """One committed row change. `ts_ms` is when it was published, Unix milliseconds."""

    before: Order | None
    after: Order | None
    op: Op
    source: Source = Source()
    ts_ms: int = 0

    def __post_init__(self) -> None:
        if self.op is Op.DELETE:
            if self.before is None:
                raise ValueError("a deletion holds the row before it")
        elif self.after is None:
            raise ValueError("a creation or an update holds the row after it")

    @property
    def order(self) -> Order:
        """The order that this is about: as it became, or as it was when its row left."""
        order = self.before if self.op is Op.DELETE else self.after
        assert order is not None
        return order


class State(Struct, frozen=True, gc=False):
    """What an event says of its order as it is now. `committed_us` is the commit's time, Unix microseconds, 0 if not known."""

    op: Op
    order: Order
    committed_us: int


class _After(Struct, frozen=True, gc=False):
    """A change event without the row before it, which is half of its bytes."""

    op: Op
    after: Order | None = None
    source: Source = Source()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ChangeEvent).decode
_decode_after = msgspec.json.Decoder(_After).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
_ID_CHARS = 36
"""Of an order id's text; Debezium writes the column in base64, which is shorter."""


def encode(event: ChangeEvent) -> bytes:
    """The event's value in `orders.changes`."""
    return _encode(event)


def decode(value: bytes) -> ChangeEvent:
    """The event in `value`, whether our pump wrote it or Debezium did.

    Raises:
        ValueError: it is neither; the message says where.

    """
    try:
        event = _decode(value)
        return event if _has_canonical_ids(event) else _decode_debezium(value)
    except (RecursionError, AttributeError, TypeError) as error:
        raise ValueError(f"not a change event: {error}") from error


def decode_state(value: bytes) -> State:
    """As `decode`, for those to whom it does not matter what the row was before it changed: that is skipped.

    Raises:
        ValueError: as `decode`.

    """
    try:
        found = _decode_after(value)
    except RecursionError as error:
        raise ValueError(f"not a change event: {error}") from error
    if found.op is not Op.DELETE and found.after is not None and len(found.after.order_id) == _ID_CHARS:
        return State(found.op, found.after, found.source.ts_us)
    whole = decode(value)
    return State(whole.op, whole.order, whole.source.ts_us)


def _has_canonical_ids(event: ChangeEvent) -> bool:
    return all(row is None or len(row.order_id) == _ID_CHARS for row in (event.before, event.after))


def _decode_debezium(value: bytes) -> ChangeEvent:
    """As `decode`, where `order_id` is base64, as Debezium writes binary columns."""
    envelope = _decode_any(value)
    for name in ("before", "after"):
        row = envelope.get(name)
        if row is not None:
            row["order_id"] = str(UUID(bytes=base64.b64decode(row["order_id"], validate=True)))
    return msgspec.convert(envelope, ChangeEvent)
