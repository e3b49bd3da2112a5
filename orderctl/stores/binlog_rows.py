"""Rows of `orders` out of binlog events: what a table map says of the columns, and functions made for exactly that table.

Decoding is where a pump spends its time, so no row is looked at column by column: for each table map, and each set of columns
that are NULL in a row, a function is written and compiled that reads such a row in place. A column that this program does not
know is stepped over, so a later version's table can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import fields

from orderctl.errors import TierRejected
from orderctl.event import Op
from orderctl.order import Order, Status
from orderctl.stores.mysql_driver import TIER

FUNCTIONS_MAX: Final = 256
"""Sets of NULL columns that one table's rows are seen with; there are two as long as only the reason may be NULL."""

_VARCHAR, _BIT, _NEWDECIMAL, _ENUM, _SET, _BLOB, _STRING = 15, 16, 246, 247, 248, 252, 254
_INTEGERS: Final = {1: "b", 2: "h", 3: "i", 8: "q"}
_ENUMS: Final = {1: "B", 2: "H"}
_SIGNED_OR_NOT: Final = frozenset({1, 2, 3, 4, 5, 8, 9, 13, _NEWDECIMAL})
"""The types that a table map tells a sign of, YEAR among them."""
_SIZES: Final = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 0, 7: 4, 8: 8, 9: 3, 10: 3, 11: 3, 12: 8, 13: 1, 14: 3}
_FRACTIONAL: Final = {17: 4, 18: 5, 19: 3}
_META_SIZES: Final = {
    **dict.fromkeys((4, 5, 17, 18, 19, 140, 242, 245, 249, 250, 251, _BLOB, 255), 1),
    **dict.fromkeys((_VARCHAR, _BIT, 141, _NEWDECIMAL, _ENUM, _SET, 253, _STRING), 2),
}
_SIGNEDNESS, _NAMES, _ENUM_TEXTS = 1, 4, 6

Decode = Callable[[bytes, int], tuple[Order, int]]


class Column(Struct, frozen=True):
    """One column: its name, its type's number and parameter in the binlog, and an enumeration's texts."""

    name: str
    type: int
    meta: int
    is_unsigned: bool = False
    texts: tuple[str, ...] = ()


class RowDecoder:
    """Reads the rows of one table as one table map describes it."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        missing = [field for field in Order.__struct_fields__ if field not in {column.name for column in columns}]
        if missing:
            raise TierRejected(TIER, f"the table orders has no column {missing[0]}", hint="run orderctl migrate")
        self._columns = columns
        self._bitmap = (len(columns) + 7) // 8
        self._all = (1 << len(columns)) - 1
        self._functions: dict[bytes, Decode] = {}

    def rows(self, data: bytes, at: int, end: int, *, op: Op) -> Iterator[tuple[Order | None, Order | None]]:
        """The rows in an event's body, from behind its head on: what each was before `op`, and what it is after it.

        Raises:
            TierRejected: the rows are not whole.
            ValueError, IndexError, struct.error: this is not what it should be.

        """
        had, has = op is not Op.CREATE, op is not Op.DELETE
        at = self._behind_columns(data, at, images=had + has)
        functions, bitmap = self._functions, self._bitmap
        before = after = None
        while at < end:
            if had:
                nulls = data[at : at + bitmap]
                before, at = (functions.get(nulls) or self._made(nulls))(data, at + bitmap)
            if has:
                nulls = data[at : at + bitmap]
                after, at = (functions.get(nulls) or self._made(nulls))(data, at + bitmap)
            if at > end:
                break
            yield before, after
        if at != end:
            raise ValueError("a row goes beyond its event")

    def _behind_columns(self, data: bytes, at: int, *, images: int) -> int:
        """Where the rows begin: in front of them stands which columns each of the images has."""
        width, at = packed_int(data, at)
        if width != len(self._columns):
            raise ValueError(f"{width} columns, and the table map has {len(self._columns)}")
        for _ in range(images):
            present = int.from_bytes(data[at : at + self._bitmap], "little")
            if present & self._all != self._all:
                raise TierRejected(
                    TIER, "a row in the binlog lacks columns", hint="binlog_row_image must be FULL, in every session"
                )
            at += self._bitmap
        return at

    def _made(self, nulls: bytes) -> Decode:
        if len(self._functions) >= FUNCTIONS_MAX:
            self._functions.clear()
        function = self._functions[nulls] = _compiled(self._columns, int.from_bytes(nulls, "little"))
        return function


def read_table_map(data: bytes, at: int, end: int) -> tuple[Column, ...]:
    """The columns in a table map's body, from behind the table's name on.

    Raises:
        TierRejected: it lacks the columns' names.
        ValueError, IndexError, struct.error: this is not what it should be.

    """
    count, at = packed_int(data, at)
    types, at = data[at : at + count], at + count
    metas, at = _metas(types, data, at)
    at += (count + 7) // 8
    told = dict(_told(data, at, end))
    if _NAMES not in told:
        raise TierRejected(
            TIER, "the binlog does not tell the columns' names", hint="set binlog_row_metadata = FULL on the server"
        )
    names = [name.decode() for name in _texts(told[_NAMES])]
    signs = told.get(_SIGNEDNESS, b"")
    enumerations = _enumerations(told.get(_ENUM_TEXTS, b""))
    columns: list[Column] = []
    numeric = 0
    for name, kind, meta in zip(names, types, metas, strict=True):
        texts: tuple[str, ...] = ()
        real, parameter = _real_type(kind, meta)
        is_unsigned = False
        if kind in _SIGNED_OR_NOT:
            is_unsigned = bool(signs[numeric >> 3] & 0x80 >> (numeric & 7))
            numeric += 1
        if real == _ENUM:
            texts = next(enumerations, ())
        columns.append(Column(name, real, parameter, is_unsigned, texts))
    return tuple(columns)


def packed_int(data: bytes, at: int) -> tuple[int, int]:
    """An integer of one to nine bytes, as the protocol packs it, and what is behind it."""
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def _metas(types: bytes, data: bytes, at: int) -> tuple[list[int], int]:
    """Each column's parameter, two bytes of which the first is the lower, and what is behind them all."""
    size, at = packed_int(data, at)
    end = at + size
    metas: list[int] = []
    for kind in types:
        size = _META_SIZES.get(kind, 0)
        metas.append(int.from_bytes(data[at : at + size], "little"))
        at += size
    if at != end:
        raise ValueError(f"column types that are not known, among {list(types)}")
    return metas, end


def _real_type(kind: int, meta: int) -> tuple[int, int]:
    """ENUM, SET and long CHAR come as STRING; what they are, and how long, is folded into the parameter."""
    if kind != _STRING:
        return kind, meta
    low, high = meta & 0xFF, meta >> 8
    if low & 0x30 != 0x30:
        return low | 0x30, high | ((low & 0x30) ^ 0x30) << 4
    return low, high


def _told(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    while at < end:
        size, value_at = packed_int(data, at + 1)
        yield data[at], data[value_at : value_at + size]
        at = value_at + size


def _texts(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size, at = packed_int(data, at)
        yield data[at : at + size]
        at += size


def _enumerations(data: bytes) -> Iterator[tuple[str, ...]]:
    at = 0
    while at < len(data):
        count, at = packed_int(data, at)
        texts: list[str] = []
        for _ in range(count):
            size, at = packed_int(data, at)
            texts.append(data[at : at + size].decode())
            at += size
        yield tuple(texts)


def _compiled(columns: tuple[Column, ...], nulls: int) -> Decode:
    """Write and compile the function for rows in which the columns of the bitmap `nulls` are NULL."""
    writer = _Writer()
    for index, column in enumerate(columns):
        is_null = bool(nulls >> index & 1)
        if column.name in Order.__struct_fields__:
            writer.skip_null(column) if is_null else writer.read(column)
        elif not is_null:
            writer.step_over(column)
    return writer.compiled()


class _Writer:
    """Writes a function that reads a row from `at` on, column by column.

    Columns of a fixed size, those to step over among them, wait in `_run` until one comes that is not, and are read by one
    `unpack_from`: that takes a third off a row's decoding.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[str, Any] = {"Order": Order, "Status": Status}
        self._run: list[tuple[str, str]] = []
        self._behind_run: list[str] = []

    def skip_null(self, column: Column) -> None:
        """The column has no value, and no bytes."""
        if type(None) not in getattr(_type_of(column), "__args__", ()):
            raise ValueError(f"{column.name} is NULL")
        self._lines.append(f"{column.name} = None")

    def read(self, column: Column) -> None:
        """Read the column into a variable of its name."""
        wanted, name, kind = _type_of(column), column.name, column.type
        if wanted is int and kind in _INTEGERS:
            code = _INTEGERS[kind]
            self._run.append((code.upper() if column.is_unsigned else code, name))
        elif wanted is Status and kind == _ENUM and column.texts:
            # Zero is what a session that is not strict writes for a text that is none of them.
            self._names["_statuses"] = (None, *map(Status, column.texts))
            self._run.append((_ENUMS[column.meta], name))
            self._behind_run.append(f"{name} = _statuses[{name}] or Status('')")
        elif wanted not in {int, Status} and kind in {_VARCHAR, _STRING, _BLOB}:
            self._read_text(column)
        else:
            raise TierRejected(TIER, f"the column {name} of orders is of another type ({kind}) than orderctl knows it")

    def step_over(self, column: Column) -> None:
        """Read the column into nothing."""
        size = _fixed_size(column)
        if size is not None:
            self._run.append((f"{size}x", ""))
            return
        self._end_run()
        size = _length_bytes(column)
        self._lines.append(f"at += {size} + int.from_bytes(data[at : at + {size}], 'little')")

    def compiled(self) -> Decode:
        """The function."""
        self._end_run()
        lines = [*self._lines, f"return Order({', '.join(Order.__struct_fields__)}), at"]
        source = "def decode(data, at):\n    " + "\n    ".join(lines)
        exec(source, self._names)  # noqa: S102 - written from the names of Order's fields and from numbers
        function: Decode = self._names["decode"]
        return function

    def _read_text(self, column: Column) -> None:
        self._end_run()
        size, name = _length_bytes(column), column.name
        count = " + ".join(f"(data[at + {byte}] << {8 * byte})" if byte else "data[at]" for byte in range(size))
        value = f"data[at + {size} : end]"
        self._lines.append(f"end = at + {size} + {count}")
        if name == "order_id":
            # The binlog leaves out the zero bytes at the end of a BINARY column.
            self._lines.append(f"h = {value}.ljust(16, b'\\0').hex()")
            self._lines.append(f"{name} = f'{{h[:8]}}-{{h[8:12]}}-{{h[12:16]}}-{{h[16:20]}}-{{h[20:]}}'")
        else:
            self._lines.append(f"{name} = {value}.decode()")
        self._lines.append("at = end")

    def _end_run(self) -> None:
        if not self._run:
            return
        layout = struct.Struct("<" + "".join(code for code, _ in self._run))
        found = "".join(f"{name}, " for _, name in self._run if name)
        if found:
            unpack = f"_run{len(self._names)}"
            self._names[unpack] = layout.unpack_from
            self._lines.append(f"{found}= {unpack}(data, at)")
        self._lines.append(f"at += {layout.size}")
        self._lines += self._behind_run
        self._run.clear()
        self._behind_run.clear()


def _type_of(column: Column) -> Any:
    [field] = [field for field in fields(Order) if field.name == column.name]
    return field.type


def _fixed_size(column: Column) -> int | None:
    """How many bytes each value of the column takes, None where they differ."""
    kind, low, high = column.type, column.meta & 0xFF, column.meta >> 8
    if kind in _SIZES:
        return _SIZES[kind]
    if kind in _FRACTIONAL:
        return _FRACTIONAL[kind] + (column.meta + 1) // 2
    if kind in {_ENUM, _SET}:
        return column.meta
    if kind == _BIT:
        return high + (low + 7) // 8
    if kind == _NEWDECIMAL:
        return _decimal_size(low, high)
    return None


def _length_bytes(column: Column) -> int:
    """How many bytes in front of a value tell its length."""
    if column.type in {_VARCHAR, 141, 253, _STRING}:
        return 1 if column.meta < 256 else 2
    if column.type in {140, 242, 245, 249, 250, 251, _BLOB, 255}:
        return column.meta
    raise TierRejected(
        TIER, f"the column {column.name} of orders is of a type ({column.type}) that orderctl does not know"
    )


def _decimal_size(precision: int, scale: int) -> int:
    """Nine digits take four bytes, and what is left over on each side of the point as many as it needs."""
    rest = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
    whole = precision - scale
    return whole // 9 * 4 + rest[whole % 9] + scale // 9 * 4 + rest[scale % 9]
