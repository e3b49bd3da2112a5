"""Binlog events for tests: a stream that a real server sent (`golden/`), and events made by hand as the manuals draw them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from struct import pack
from typing import Final
from uuid import UUID

from orderctl.order import Order, Status
from orderctl.stores.binlog_events import Event, EventParser, Kind
from orderctl.stores.binlog_positions import MariadbPosition, MysqlPosition, parse_mariadb
from orderctl.stores.binlog_transactions import Transactions

GOLDEN: Final = Path(__file__).parent / "golden"
BEGIN: Final = "0-1-831"
MYSQL_SOURCE: Final = "a4ac8aa4-e68f-11f1-b8e7-02fc00000001"
MYSQL_BEGIN: Final = f"{MYSQL_SOURCE}:1-371"
"""The positions that the golden streams' readers asked for."""
DATABASE: Final = "orderctl_golden"
SOURCE: Final = UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562")
TS_S: Final = 1_763_800_000

FIRST: Final = Order(
    order_id="0197b0de-5c00-7abc-8000-010203040506",
    merchant_id="acme",
    merchant_ref="ref-1",
    amount=1999,
    currency="EUR",
    payment_method="card",
    metadata='{"basket":"7"}',
    status=Status.PENDING,
    status_reason=None,
    version=1,
    created_at=TS_S * 1_000_000 + 900_000,
    updated_at=TS_S * 1_000_000 + 900_000,
    deadline_at=(TS_S + 900) * 1_000_000 + 900_000,
)
SECOND: Final = Order(
    order_id="0197b0de-5c00-7abc-8000-010203040000",  # the binlog leaves out its last two bytes
    merchant_id="Zoë 🛒",
    merchant_ref="ref-2",
    amount=2**64 - 1,
    currency="JPY",
    payment_method="p" * 255,
    metadata="m" * 1024,
    status=Status.PROCESSING,
    status_reason="why: ü€🙂",
    version=2**32 + 1,
    created_at=1_700_000_000_000_000,
    updated_at=1_700_000_000_000_000,
    deadline_at=-5,
)
THIRD: Final = Order(
    order_id="0197b0de-5c00-7abc-8000-010203040507",
    merchant_id="acme",
    merchant_ref="ref-3",
    amount=5,
    currency="EUR",
    payment_method="card",
    metadata="{}",
    status=Status.TIMEOUT,
    status_reason=None,
    version=7,
    created_at=1,
    updated_at=2,
    deadline_at=3,
)


@cache
def golden(server: str = "mariadb-10.11") -> list[tuple[str, bytes]]:
    """The packets of the golden stream, each with the name of its event's kind."""
    found: list[tuple[str, bytes]] = []
    for paragraph in (GOLDEN / f"{server}.txt").read_text("ascii").split("\n\n")[1:]:
        name, *lines = paragraph.split()
        found.append((name, bytes.fromhex("".join(lines))))
    return found


@cache
def golden_events(server: str = "mariadb-10.11") -> list[Event]:
    """Its events."""
    return parsed(b"".join(data for _, data in golden(server)))


def golden_event(kind: Kind, index: int = 0) -> Event:
    """One of them: the `index`-th of its kind."""
    return [event for event in golden_events() if event.kind == kind][index]


def parsed(data: bytes, size: int = 1 << 20) -> list[Event]:
    """The events in `data`, received in pieces of `size` bytes."""
    parser = EventParser()
    events: list[Event] = []
    for at in range(0, len(data), size):
        parser.feed(data[at : at + size])
        while event := parser.next():
            events.append(event)
    return events


def packet(kind: int, body: bytes = b"", *, ts_s: int = TS_S, server: int = 1) -> bytes:
    """A packet with one event, without a checksum."""
    payload = b"\0" + pack("<IBIIIH", ts_s, kind, server, 19 + len(body), 0, 0) + body
    return len(payload).to_bytes(3, "little") + b"\0" + payload


def made(kind: int, body: bytes = b"") -> Event:
    """An event of that body."""
    [event] = parsed(packet(kind, body))
    return event


def body_of(event: Event) -> bytes:
    """An event's body."""
    return event.data[event.at : event.end]


def mariadb_gtid(number: int, *, flags: int = 0) -> Event:
    """The beginning of a transaction of the domain 0."""
    return made(Kind.MARIADB_GTID, pack("<QIB6x", number, 0, flags))


def mysql_gtid(number: int, *, ts_us: int = 0) -> Event:
    """The beginning of a transaction of `SOURCE`; with a time as 8.0 tells it, its highest bit says that another follows."""
    times = (ts_us | 1 << 55).to_bytes(7, "little") + ts_us.to_bytes(7, "little") if ts_us else b""
    return made(Kind.MYSQL_GTID, b"\1" + SOURCE.bytes + pack("<QBQQ", number, 2, 0, 1) + times)


def query(text: str, *, database: str = DATABASE) -> Event:
    """A statement."""
    name = database.encode()
    return made(Kind.QUERY, pack("<IIBHH", 7, 0, len(name), 0, 0) + name + b"\0" + text.encode())


def as_v2(rows: Event, extra: bytes = b"") -> Event:
    """A row event as MySQL writes it: another kind, and a length in its head."""
    body = body_of(rows)
    return made(rows.kind + 7, body[:8] + pack("<H", 2 + len(extra)) + extra + body[8:])


def transactions(position: str | MysqlPosition | MariadbPosition = BEGIN, *, database: str = DATABASE) -> Transactions:
    """A reader's state at the beginning."""
    start = parse_mariadb(position) if isinstance(position, str) else position
    return Transactions(shard="main", database=database, position=start)


def taken(events: Sequence[Event], state: Transactions | None = None) -> Transactions:
    """The state after these events."""
    state = state or transactions()
    for event in events:
        state.take(event)
    return state
