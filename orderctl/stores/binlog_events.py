"""The binlog's events as they come over the wire, parsed in place and without I/O: packets, headers, all bodies but the rows'."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final
from zlib import crc32

from msgspec import Struct

from orderctl.errors import TierRejected, TierUnavailable
from orderctl.stores.binlog_positions import Gtid, MariadbPosition, MysqlPosition, mariadb_gtid, mysql_gtid
from orderctl.stores.mysql_driver import TIER

PACKET_BYTES_MAX: Final = (1 << 24) - 1
"""A packet of this size is continued in the next one. An order's events are far smaller."""


class Kind(IntEnum):
    """The events that mean something to a reader of orders; all others are passed over."""

    QUERY = 2
    FORMAT = 15
    XID = 16
    TABLE_MAP = 19
    WRITE_V1, UPDATE_V1, DELETE_V1 = 23, 24, 25
    INCIDENT = 26
    HEARTBEAT, HEARTBEAT_V2 = 27, 41
    WRITE, UPDATE, DELETE = 30, 31, 32
    MYSQL_GTID, ANONYMOUS, MYSQL_PREVIOUS = 33, 34, 35
    XA_PREPARE = 38
    PARTIAL_UPDATE, PAYLOAD, TAGGED_GTID = 39, 40, 42
    MARIADB_GTID, MARIADB_LIST = 162, 163
    QUERY_COMPRESSED = 165
    WRITE_V1_COMPRESSED, UPDATE_V1_COMPRESSED, DELETE_V1_COMPRESSED = 166, 167, 168
    WRITE_COMPRESSED, UPDATE_COMPRESSED, DELETE_COMPRESSED = 169, 170, 171


ROWS_V1: Final = frozenset({Kind.WRITE_V1, Kind.UPDATE_V1, Kind.DELETE_V1})
WRITES: Final = frozenset({Kind.WRITE_V1, Kind.WRITE})
UPDATES: Final = frozenset({Kind.UPDATE_V1, Kind.UPDATE})
DELETES: Final = frozenset({Kind.DELETE_V1, Kind.DELETE})
ROWS: Final = WRITES | UPDATES | DELETES
ROWS_UNREADABLE: Final = frozenset({Kind.PARTIAL_UPDATE, *range(Kind.WRITE_V1_COMPRESSED, Kind.DELETE_COMPRESSED + 1)})
NEWS: Final = frozenset({Kind.HEARTBEAT, Kind.HEARTBEAT_V2, Kind.MYSQL_GTID, Kind.MARIADB_GTID})
"""What shows that the server has found the place that it was asked for."""

_PACKET: Final = 4
_HEADER: Final = 19
_CHECKSUM: Final = 4
_FORMAT: Final = int(Kind.FORMAT)
_STANDALONE: Final = 1
"""A flag of MariaDB's GTID event: one statement follows, and no end of a transaction."""
_COMMIT_TIME_AT: Final = 42
_COMMIT_TIME: Final = (1 << 55) - 1

_head = struct.Struct("<IBI").unpack_from
_u16 = struct.Struct("<H").unpack_from
_u32 = struct.Struct("<I").unpack_from
_u64 = struct.Struct("<Q").unpack_from
_mariadb_body = struct.Struct("<QIB").unpack_from
_mariadb_entry = struct.Struct("<IIQ").unpack_from
_mysql_body = struct.Struct("<x16sQ").unpack_from
_range = struct.Struct("<QQ").unpack_from


class Event(Struct, frozen=True, gc=False):
    """One event: what it is, when its statement began (Unix seconds), which server wrote it, and where in `data` its body is."""

    kind: int
    ts_s: int
    server: int
    data: bytes
    at: int
    end: int
    is_cut: bool = False
    """It is larger than a packet, and the rest of it was left out."""


class Started(Struct, frozen=True, gc=False):
    """What a GTID event says of the transaction behind it. `ts_us` is when it was committed, 0 where that is not told."""

    gtid: Gtid
    is_standalone: bool
    ts_us: int = 0


class ServerError(Exception):
    """The server ended the stream; `packet` says why."""

    def __init__(self, packet: bytes) -> None:
        super().__init__(packet)
        self.packet = packet


# The server makes some events up, such as the rotation that it begins with; whether these have checksums differs.
_CHECKED: Final = frozenset(Kind) - {Kind.FORMAT, Kind.HEARTBEAT, Kind.HEARTBEAT_V2, Kind.MARIADB_LIST}


class EventParser:
    """Takes bytes as they come, and gives events. What raised once is done for."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self.next: Final[Callable[[], Event | None]] = _parse(self._received).__next__
        """Gives the next event, None where it is not there as a whole yet.

        Raises:
            ServerError: instead of an event there is an error, or the stream's end.
            TierUnavailable: an event came damaged.

        """

    def feed(self, data: bytes) -> None:
        """These bytes came next."""
        self._received.append(data)


def _parse(received: list[bytes]) -> Iterator[Event | None]:
    """The events in what is `received`, and None wherever more is needed.

    A generator, since all that it keeps from one event to the next is then at hand: there are six events to a change where
    each has a transaction to itself.
    """
    data, at, has_checksums, is_continued = b"", 0, False, False
    while True:
        start = at + _PACKET
        end = start + (_u32(data, at)[0] & PACKET_BYTES_MAX) if start <= len(data) else start
        if end > len(data):
            while not received:
                yield None
            data, at = data[at:] + b"".join(received), 0
            received.clear()
            continue
        at = end
        was_continued, is_continued = is_continued, end - start == PACKET_BYTES_MAX
        if was_continued:
            continue
        if start == end or data[start] != 0:
            raise ServerError(data[start:end])
        body = start + 1 + _HEADER
        if body + _CHECKSUM * has_checksums > end:
            raise TierUnavailable(TIER, "an event of the binlog came damaged: it is too short")
        ts_s, kind, server = _head(data, start + 1)
        if kind == _FORMAT:
            # Its last bytes are how checksums of the events behind it are made, and its own.
            end -= _CHECKSUM
            has_checksums = data[end - 1] != 0
        elif has_checksums and not is_continued:
            end -= _CHECKSUM
            if kind in _CHECKED and crc32(data[start + 1 : end]) != _u32(data, end)[0]:
                raise TierUnavailable(TIER, f"an event of the binlog (type {kind}) came damaged: its checksum is wrong")
        yield Event(kind, ts_s, server, data, body, end, is_continued)


def started(event: Event) -> Started:
    """Read a GTID event."""
    if event.kind == Kind.MARIADB_GTID:
        number, domain, flags = _mariadb_body(event.data, event.at)
        return Started(mariadb_gtid(domain, event.server, number), bool(flags & _STANDALONE))
    source, number = _mysql_body(event.data, event.at)
    ts_us = 0
    if event.end >= event.at + _COMMIT_TIME_AT + 7:
        ts_us = int.from_bytes(event.data[event.at + _COMMIT_TIME_AT : event.at + _COMMIT_TIME_AT + 7], "little")
    return Started(mysql_gtid(source, number), is_standalone=False, ts_us=ts_us & _COMMIT_TIME)


def mariadb_list(event: Event) -> MariadbPosition:
    """What the events in front of this file were, as MariaDB notes it at the file's beginning."""
    count = _u32(event.data, event.at)[0] & (1 << 28) - 1
    entries = (_mariadb_entry(event.data, event.at + 4 + 16 * index) for index in range(count))
    return MariadbPosition(mariadb_gtid(*entry) for entry in entries)


def mysql_previous(event: Event) -> MysqlPosition:
    """The same, as MySQL does."""
    ranges: list[tuple[str, int, int]] = []
    at = event.at + 8
    for _ in range(_u64(event.data, event.at)[0]):
        source = mysql_gtid(event.data[at : at + 16], 1).source
        count = _u64(event.data, at + 16)[0]
        at += 24
        for _ in range(count):
            first, behind = _range(event.data, at)
            ranges.append((source, first, behind - 1))
            at += 16
    return MysqlPosition(ranges)


def query_text(event: Event) -> tuple[str, str]:
    """The database in which a statement ran, and its text, as far as it can be read."""
    data, at = event.data, event.at
    name_size, variables_size = data[at + 8], _u16(data, at + 11)[0]
    name_at = at + 13 + variables_size
    text_at = name_at + name_size + 1
    text = data[text_at : event.end]
    if event.kind == Kind.QUERY_COMPRESSED:
        text = _inflated(text)
    return data[name_at : name_at + name_size].decode("utf-8", "replace"), text.decode("utf-8", "replace")


def _inflated(packed: bytes) -> bytes:
    """MariaDB's: one byte tells how many bytes tell the size, and behind those stands what zlib made."""
    try:
        return zlib.decompress(packed[1 + (packed[0] & 7) :])
    except (IndexError, zlib.error) as error:
        raise TierRejected(TIER, f"a compressed statement in the binlog cannot be read: {error}") from error
