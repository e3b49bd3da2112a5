"""Row decoding, whatever the table looks like: our columns in any order, and others between them."""

from __future__ import annotations

from struct import pack
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from orderctl.event import Op
from orderctl.order import Order, Status
from orderctl.stores.binlog_rows import Column, RowDecoder
from orderctl.stores.rows import id_bytes
from tests.unit.binlog_kit import FIRST, SECOND, THIRD

TEXTS: Final = tuple(Status)
OURS: Final = (
    Column("order_id", 254, 16),
    Column("merchant_id", 15, 255),
    Column("merchant_ref", 15, 256),
    Column("amount", 8, 0, is_unsigned=True),
    Column("currency", 15, 32),
    Column("payment_method", 15, 1020),
    Column("metadata", 252, 2),
    Column("status", 247, 1, texts=TEXTS),
    Column("status_reason", 15, 1024),
    Column("version", 8, 0, is_unsigned=True),
    Column("created_at", 8, 0),
    Column("updated_at", 8, 0),
    Column("deadline_at", 8, 0),
)
OTHERS: Final = (
    (Column("a_tiny", 1, 0), b"\x07"),
    (Column("a_medium", 9, 0), b"\1\2\3"),
    (Column("a_null", 6, 0), b""),
    (Column("a_time", 19, 3), b"\0\0\0\0\0"),
    (Column("a_decimal", 246, 10 | 2 << 8), b"\x80\0\0\0\0"),
    (Column("a_bit", 16, 4 | 1 << 8), b"\1\1"),
    (Column("a_set", 248, 2), b"\3\0"),
    (Column("a_text", 15, 300), b"\3\0abc"),
    (Column("a_blob", 252, 3), b"\2\0\0xy"),
)
UNKNOWN: Final = {column.name: value for column, value in OTHERS}
COLUMNS: Final = st.lists(st.sampled_from(OTHERS), unique=True).flatmap(
    lambda others: st.permutations([*OURS, *(column for column, _ in others)])
)
ORDERS: Final = st.lists(st.sampled_from([FIRST, SECOND, THIRD]), min_size=1, max_size=4)


def image(columns: list[Column], order: Order | None) -> bytes:
    """The row as a server writes it: which columns are NULL, and the values of the others."""
    if order is None:
        return b""
    nulls = sum(1 << index for index, column in enumerate(columns) if _is_null(column, order))
    values = (_value(column, order) for column in columns if not _is_null(column, order))
    return nulls.to_bytes((len(columns) + 7) // 8, "little") + b"".join(values)


def _is_null(column: Column, order: Order) -> bool:
    return column.name not in UNKNOWN and getattr(order, column.name) is None


def _value(column: Column, order: Order) -> bytes:
    if column.name in UNKNOWN:
        return UNKNOWN[column.name]
    value = getattr(order, column.name)
    if column.type == 8:
        return pack("<Q" if column.is_unsigned else "<q", value)
    if column.type == 247:
        return bytes([TEXTS.index(value) + 1])
    text = id_bytes(value).rstrip(b"\0") if column.name == "order_id" else value.encode()
    size = column.meta if column.type == 252 else 1 + (column.meta > 255)
    return len(text).to_bytes(size, "little") + text


@given(COLUMNS, ORDERS, st.sampled_from(Op))
def test_columns_may_stand_in_any_order_among_others(columns: list[Column], orders: list[Order], op: Op) -> None:
    """Every value is read from its own place, and what orderctl does not know is stepped over."""
    wanted = [(None if op is Op.CREATE else FIRST, None if op is Op.DELETE else order) for order in orders]
    present = b"\xff" * ((len(columns) + 7) // 8) * (2 if op is Op.UPDATE else 1)
    rows = b"".join(image(columns, before) + image(columns, after) for before, after in wanted)
    data = b"head" + bytes([len(columns)]) + present + rows + b"tail"
    assert list(RowDecoder(tuple(columns)).rows(data, 4, len(data) - 4, op=op)) == wanted
