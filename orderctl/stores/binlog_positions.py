"""Positions in a binlog, pure: which transactions a reader has seen, by the identifiers that survive a promotion (GTIDs).

MariaDB numbers the transactions of a domain one after another, so the last of each domain says it all: `0-1-7,1-2-40`
(domain-server-number). MySQL's numbers are their source's and may have gaps: `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7:9`.
A file's name and an offset, which both have too, mean something else on every server, so they are used nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from struct import pack
from typing import Final, Protocol, Self
from uuid import UUID

from msgspec import Struct

_MARIADB: Final = re.compile(r"\d{1,10}-\d{1,10}-\d{1,20}(?:,\d{1,10}-\d{1,10}-\d{1,20})*", re.ASCII)
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_RANGES: Final = r"(?::[1-9]\d{0,18}(?:-[1-9]\d{0,18})?)+"
_MYSQL: Final = re.compile(rf"{_UUID}{_RANGES}(?:,{_UUID}{_RANGES})*", re.ASCII)


class Gtid(Struct, frozen=True, gc=False):
    """One transaction: MariaDB's domain or MySQL's source, its number there, and the whole as the server writes it."""

    source: str
    number: int
    text: str


class Position(Protocol):
    """The transactions up to some moment. Its `str` is what a checkpoint keeps."""

    def add(self, gtid: Gtid) -> None:
        """This one was read, too."""
        ...

    def has(self, gtid: Gtid) -> bool:
        """Whether it is among those that were read."""
        ...

    def includes(self, other: Self) -> bool:
        """Whether all of the other's are."""
        ...


class MariadbPosition:
    """The last transaction of each domain."""

    def __init__(self, last: Iterable[Gtid] = ()) -> None:
        self._last: dict[str, Gtid] = {}
        for gtid in last:
            if not self.has(gtid):
                self.add(gtid)

    def add(self, gtid: Gtid) -> None:
        self._last[gtid.source] = gtid

    def has(self, gtid: Gtid) -> bool:
        last = self._last.get(gtid.source)
        return last is not None and gtid.number <= last.number

    def includes(self, other: MariadbPosition) -> bool:
        return all(self.has(gtid) for gtid in other._last.values())

    def __str__(self) -> str:
        if len(self._last) == 1:
            [gtid] = self._last.values()
            return gtid.text
        return ",".join(self._last[source].text for source in sorted(self._last, key=int))


class MysqlPosition:
    """Per source the ranges of numbers, first and last included: sorted, apart from each other."""

    def __init__(self, ranges: Iterable[tuple[str, int, int]] = ()) -> None:
        self._ranges: dict[str, list[tuple[int, int]]] = {}
        for source, first, last in ranges:
            self._insert(source, first, last)

    def add(self, gtid: Gtid) -> None:
        ranges = self._ranges.get(gtid.source)
        if ranges and ranges[-1][1] + 1 == gtid.number:
            ranges[-1] = (ranges[-1][0], gtid.number)
        else:
            self._insert(gtid.source, gtid.number, gtid.number)

    def has(self, gtid: Gtid) -> bool:
        return self._covers(gtid.source, gtid.number, gtid.number)

    def includes(self, other: MysqlPosition) -> bool:
        return all(self._covers(*found) for found in other.ranges())

    def ranges(self) -> Iterator[tuple[str, int, int]]:
        """Every range with its source, sorted."""
        for source in sorted(self._ranges):
            for first, last in self._ranges[source]:
                yield source, first, last

    def packed(self) -> bytes:
        """As COM_BINLOG_DUMP_GTID wants it: ranges there end in front of their second number."""
        pieces = [pack("<Q", len(self._ranges))]
        for source in sorted(self._ranges):
            ranges = self._ranges[source]
            pieces += [UUID(source).bytes, pack("<Q", len(ranges))]
            pieces += [pack("<QQ", first, last + 1) for first, last in ranges]
        return b"".join(pieces)

    def __str__(self) -> str:
        return ",".join(
            source + "".join(f":{first}" if first == last else f":{first}-{last}" for first, last in ranges)
            for source, ranges in sorted(self._ranges.items())
        )

    def _covers(self, source: str, first: int, last: int) -> bool:
        return any(low <= first and last <= high for low, high in reversed(self._ranges.get(source, [])))

    def _insert(self, source: str, first: int, last: int) -> None:
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self._ranges.get(source, []), (first, last)]):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self._ranges[source] = merged


def mariadb_gtid(domain: int, server: int, number: int) -> Gtid:
    """One of MariaDB's."""
    return Gtid(str(domain), number, f"{domain}-{server}-{number}")


def mysql_gtid(source: bytes, number: int) -> Gtid:
    """One of MySQL's; `source` is 16 bytes."""
    text = str(UUID(bytes=source))
    return Gtid(text, number, f"{text}:{number}")


def parse_mariadb(text: str) -> MariadbPosition:
    """Read a position as MariaDB writes it; the empty text is the beginning.

    Raises:
        ValueError: it is none.

    """
    if text and not _MARIADB.fullmatch(text):
        raise ValueError(f"{text!r} is no position of a MariaDB binlog, such as 0-1-7")
    return MariadbPosition(mariadb_gtid(*map(int, part.split("-"))) for part in text.split(",") if part)


def parse_mysql(text: str) -> MysqlPosition:
    """Read a position as MySQL writes it, which may have line breaks; the empty text is the beginning.

    Raises:
        ValueError: it is none.

    """
    plain = text.replace("\n", "").replace(" ", "").lower()
    if plain and not _MYSQL.fullmatch(plain):
        raise ValueError(f"{text!r} is no position of a MySQL binlog, such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7")
    return MysqlPosition(_parsed_ranges(plain))


def _parsed_ranges(plain: str) -> Iterator[tuple[str, int, int]]:
    for part in plain.split(","):
        source, *ranges = part.split(":")
        for text in ranges:
            first, _, last = text.partition("-")
            yield source, int(first), int(last or first)
