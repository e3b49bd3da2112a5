"""How a database hands an order over: its columns in the order of its fields, its id as 16 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from orderctl.order import Order, Status


def id_bytes(order_id: str) -> bytes:
    """The key of an order id in its canonical text."""
    return bytes.fromhex(order_id.replace("-", ""))


def id_text(order_id: bytes) -> str:
    """The canonical text of an order id."""
    digits = order_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def row_of(order: Order) -> dict[str, object]:
    """The parameters that write an order."""
    return msgspec.structs.asdict(order) | {"order_id": id_bytes(order.order_id)}


def order_of(row: Sequence[Any]) -> Order:
    """The order in a row that was asked for with all columns."""
    order_id, merchant_id, merchant_ref, amount, currency, method, metadata, status, *rest = row
    return Order(
        id_text(order_id), merchant_id, merchant_ref, amount, currency, method, metadata, Status(status), *rest
    )
