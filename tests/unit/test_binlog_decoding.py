"""Decoding of the binlog: what a real server sent, byte for byte, what the manuals draw, and what must be refused."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderctl.errors import TierRejected, TierUnavailable
from orderctl.event import ChangeEvent, Op, Source
from orderctl.order import Order, Status
from orderctl.stores.binlog_events import PACKET_BYTES_MAX, EventParser, Kind, ServerError, query_text
from orderctl.stores.binlog_positions import parse_mysql
from orderctl.stores.feed import Boundary, FeedPurged, RowChange
from tests.unit.binlog_kit import (
    FIRST,
    MYSQL_BEGIN,
    MYSQL_SOURCE,
    SECOND,
    SOURCE,
    THIRD,
    TS_S,
    as_v2,
    body_of,
    golden,
    golden_event,
    golden_events,
    made,
    mariadb_gtid,
    mysql_gtid,
    packet,
    parsed,
    query,
    taken,
    transactions,
)

REFUSED = ("WRITE_V1_COMPRESSED", "PAYLOAD")
PAID = {"status": Status.SUCCESS, "updated_at": TS_S * 1_000_000 + 1_950_000}
FIRST_PAID = msgspec.structs.replace(FIRST, version=2, status_reason="", **PAID)
SECOND_PAID = msgspec.structs.replace(SECOND, version=2**32 + 2, status_reason=None, **PAID)


def row(before: Order | None, after: Order | None, op: Op, position: str, ts_us: int) -> RowChange:
    return RowChange(ChangeEvent(before, after, op, Source("main", position, ts_us)))


def readable(server: str = "mariadb-10.11") -> bytes:
    """The golden stream up to the transaction that is compressed."""
    names = [name for name, _ in golden(server)]
    refused = next(index for index, name in enumerate(names) if name in REFUSED)
    end = names[:refused][::-1].index("XID")
    return b"".join(data for _, data in golden(server)[: refused - end])


def test_what_mariadb_sent_is_read_as_it_was_written() -> None:
    """Texts in UTF-8, bytes that were left out, NULLs, unsigned and signed numbers, long columns, and every boundary."""
    items = taken(parsed(readable())).items
    assert items == [
        row(None, FIRST, Op.CREATE, "0-1-835:1", FIRST.updated_at),
        row(None, SECOND, Op.CREATE, "0-1-835:2", (TS_S + 1) * 1_000_000),
        Boundary("0-1-835"),
        row(SECOND, SECOND_PAID, Op.UPDATE, "0-1-836:1", SECOND_PAID.updated_at),
        row(FIRST, FIRST_PAID, Op.UPDATE, "0-1-836:2", FIRST_PAID.updated_at),
        Boundary("0-1-836"),
        row(FIRST_PAID, None, Op.DELETE, "0-1-839:1", (TS_S + 2) * 1_000_000),
        Boundary("0-1-839"),
        # From here on the table has columns of every type that orderctl does not know.
        row(None, THIRD, Op.CREATE, "0-1-841:1", (TS_S + 2) * 1_000_000),
        Boundary("0-1-841"),
        row(THIRD, THIRD, Op.UPDATE, "0-1-842:1", (TS_S + 2) * 1_000_000),
        Boundary("0-1-842"),
    ]


def test_what_mysql_sent_is_read_as_it_was_written() -> None:
    """The same statements, in its own words; each change has the microsecond of its commit, whatever the order itself says."""
    items = taken(parsed(readable("mysql-8.0")), transactions(parse_mysql(MYSQL_BEGIN))).items
    changes = [item.event for item in items if isinstance(item, RowChange)]
    assert [(change.before, change.after) for change in changes] == [
        (None, FIRST),
        (None, SECOND),
        (SECOND, SECOND_PAID),
        (FIRST, FIRST_PAID),
        (FIRST_PAID, None),
        (None, THIRD),
        (THIRD, THIRD),
    ]
    numbers = ["375:1", "375:2", "376:1", "376:2", "379:1", "381:1", "382:1"]
    assert [change.source.position for change in changes] == [f"{MYSQL_SOURCE}:{number}" for number in numbers]
    assert [item.position for item in items if isinstance(item, Boundary)] == [
        f"{MYSQL_SOURCE}:1-{number}" for number in (375, 376, 379, 381, 382)
    ]
    times = [change.source.ts_us for change in changes]
    assert times == sorted(times)
    assert all(time_us % 1_000_000 for time_us in times)


@pytest.mark.parametrize("server", ["mariadb-10.11", "mysql-8.0"])
@pytest.mark.parametrize("size", [1, 2, 5, 19, 20, 300, 4096])
def test_bytes_may_come_in_any_pieces(server: str, size: int) -> None:
    """The events are the same."""
    whole = [(event.kind, event.ts_s, body_of(event)) for event in golden_events(server)]
    data = b"".join(data for _, data in golden(server))
    assert [(event.kind, event.ts_s, body_of(event)) for event in parsed(data, size)] == whole


def test_transactions_of_others_leave_no_trace_but_in_the_position() -> None:
    """Of another schema, of other tables, of statements that define tables, of engines without transactions."""
    state = taken(parsed(readable()), transactions(database="orderctl_other"))
    assert (state.items, str(state.position), state.has_moved) == ([], "0-1-842", True)
    assert state.boundary() == Boundary("0-1-842")
    assert not state.has_moved


def test_compressed_rows_are_refused() -> None:
    """Those of orders; others' do not matter."""
    with pytest.raises(TierRejected, match="compressed") as caught:
        taken(golden_events())
    assert "log_bin_compress" in str(caught.value.hint)
    assert taken(golden_events(), transactions(database="other")).items == []


def test_a_compressed_transaction_is_refused() -> None:
    """Whose rows are in it cannot be seen."""
    with pytest.raises(TierRejected, match="compressed") as caught:
        taken(golden_events("mysql-8.0"), transactions(parse_mysql(MYSQL_BEGIN)))
    assert "binlog_transaction_compression" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["MARIADB_GTID", "TABLE_MAP", "WRITE_V1", "UPDATE_V1", "DELETE_V1", "XID", "QUERY"])
def test_damage_is_noticed(name: str) -> None:
    """A bit that fell over on the way, in the event or in its checksum."""
    before = [data for other, data in golden() if other == "FORMAT"]
    data = next(data for other, data in golden() if other == name)
    for at in (6, len(data) // 2, len(data) - 1):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(TierUnavailable, match="checksum"):
            parsed(before[0] + damaged)


def test_an_event_without_a_whole_head_is_damaged() -> None:
    """No server sends one."""
    with pytest.raises(TierUnavailable, match="too short"):
        parsed(b"\5\0\0\0" + bytes(5))


@given(st.sampled_from(["TABLE_MAP", "WRITE_V1", "UPDATE_V1", "DELETE_V1"]), st.data())
def test_nonsense_is_refused(name: str, data: st.DataObject) -> None:
    """Whatever the bytes are: a row is read, or a refusal raised, and nothing else."""
    kind = Kind[name]
    body = bytearray(body_of(golden_event(kind, 1 if kind is Kind.TABLE_MAP else 0)))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(8, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(8, len(body)))])
    state = taken([mariadb_gtid(900), golden_event(Kind.TABLE_MAP)])
    with suppress(TierRejected):
        state.take(made(kind, cut))
        state.take(golden_event(Kind.WRITE_V1))


def test_rows_as_mysql_writes_them() -> None:
    """The second version of row events, with something more in its head, BEGIN as a statement, and the commit's microseconds."""
    table, write = golden_event(Kind.TABLE_MAP), golden_event(Kind.WRITE_V1)
    ts_us = 1_763_800_000_123_456
    events = [mysql_gtid(8, ts_us=ts_us), query("BEGIN"), table, as_v2(write), as_v2(write, b"abc"), made(Kind.XID)]
    state = taken(events, transactions(parse_mysql(f"{SOURCE}:1-7")))
    assert state.items == [
        *(
            row(None, order, Op.CREATE, f"{SOURCE}:8:{number}", ts_us)
            for number, order in enumerate([FIRST, SECOND] * 2, 1)
        ),
        Boundary(f"{SOURCE}:1-8"),
    ]


def test_mysql_before_it_told_microseconds() -> None:
    """The times are found as on MariaDB; COMMIT may be a statement."""
    events = [mysql_gtid(1), query("BEGIN"), golden_event(Kind.TABLE_MAP), golden_event(Kind.WRITE_V1), query("COMMIT")]
    first, _, boundary = taken(events, transactions(parse_mysql(""))).items
    assert first == row(None, FIRST, Op.CREATE, f"{SOURCE}:1:1", FIRST.updated_at)
    assert boundary == Boundary(f"{SOURCE}:1")


def test_a_file_must_begin_where_the_reader_is() -> None:
    """On both servers the file tells what was before it; what was skipped is missed."""
    assert taken([golden_event(Kind.MARIADB_LIST)]).items == []
    with pytest.raises(FeedPurged, match="begins behind 0-1-830"):
        taken([golden_event(Kind.MARIADB_LIST)], transactions("0-1-830"))
    previous = made(Kind.MYSQL_PREVIOUS, parse_mysql(f"{SOURCE}:1-5:7").packed())
    assert taken([previous], transactions(parse_mysql(f"{SOURCE}:1-7"))).items == []
    with pytest.raises(FeedPurged):
        taken([previous], transactions(parse_mysql(f"{SOURCE}:1-6")))


def test_the_first_transaction_must_be_one_that_was_asked_for() -> None:
    """A server that did not understand the position sends everything from its beginning."""
    with pytest.raises(TierRejected, match="sends 0-1-831 and was asked for what follows 0-1-831"):
        taken([mariadb_gtid(831)])
    with pytest.raises(TierRejected, match="was asked"):
        taken([mysql_gtid(3)], transactions(parse_mysql(f"{SOURCE}:1-4")))


@pytest.mark.parametrize("kind", [Kind.ANONYMOUS, Kind.TAGGED_GTID])
def test_transactions_without_a_plain_gtid_are_refused(kind: Kind) -> None:
    """There would be no position behind them."""
    with pytest.raises(TierRejected) as caught:
        taken([made(kind, bytes(42))])
    assert "gtid_mode" in str(caught.value.hint)


def test_what_hides_changes_is_refused() -> None:
    """A compressed transaction, a statement instead of rows, an undone group, an XA transaction, and a note of losses."""
    table, write = golden_event(Kind.TABLE_MAP), golden_event(Kind.WRITE_V1)
    begun = [mariadb_gtid(832), table, write]
    with pytest.raises(TierRejected, match="compressed"):
        taken([made(Kind.PAYLOAD, b"")])
    with pytest.raises(TierRejected, match="as a statement"):
        taken([mariadb_gtid(832), query("UPDATE Orders SET amount = 0")])
    with pytest.raises(TierRejected, match="rolled back"):
        taken([*begun, query("ROLLBACK")])
    with pytest.raises(TierRejected, match="XA"):
        taken([*begun, made(Kind.XA_PREPARE, b"")])
    with pytest.raises(FeedPurged, match="has lost changes"):
        taken([made(Kind.INCIDENT, b"\1\0\0")])
    with pytest.raises(TierRejected, match="without a GTID"):
        taken([table, write])


def test_others_may_do_all_that() -> None:
    """Statements of other tables, undone groups and XA transactions without orders end as they end."""
    ends = [query("ROLLBACK"), made(Kind.XA_PREPARE, b""), query("COMMIT")]
    for end in ends:
        state = taken([mariadb_gtid(832), query("SAVEPOINT `a`"), query("INSERT INTO others VALUES (1)"), end])
        assert (state.items, str(state.position), state.is_inside) == ([], "0-1-832", False)
    standalone = taken([mariadb_gtid(832, flags=1), query("DROP TABLE others")])
    assert (str(standalone.position), standalone.is_inside) == ("0-1-832", False)
    assert query_text(query("DROP TABLE x", database="shop")) == ("shop", "DROP TABLE x")


def test_a_table_map_without_names_is_refused() -> None:
    """The hint names the setting."""
    whole = body_of(golden_event(Kind.TABLE_MAP))
    names_at = whole.index(b"\x08order_id") - 2
    with pytest.raises(TierRejected) as caught:
        taken([made(Kind.TABLE_MAP, whole[:names_at])])
    assert "binlog_row_metadata" in str(caught.value.hint)


def test_a_row_image_that_is_not_whole_is_refused() -> None:
    """A session may have turned that on for itself."""
    body = bytearray(body_of(golden_event(Kind.DELETE_V1)))
    body[9] &= 0xFE
    with pytest.raises(TierRejected) as caught:
        taken([mariadb_gtid(832), golden_event(Kind.TABLE_MAP), made(Kind.DELETE_V1, bytes(body))])
    assert "binlog_row_image" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("found", "other", "message"),
    [
        (b"\x06amount", b"\x06amiunt", "no column amount"),
        (b"\x07timeout", b"\x07timefut", "timefut"),
    ],
)
def test_a_table_that_is_not_ours_is_refused(found: bytes, other: bytes, message: str) -> None:
    """A column that is missing, a status that this program does not know."""
    body = body_of(golden_event(Kind.TABLE_MAP)).replace(found, other)
    with pytest.raises(TierRejected, match=message):
        taken([mariadb_gtid(832), made(Kind.TABLE_MAP, body), golden_event(Kind.WRITE_V1)])


def test_a_table_number_is_used_again() -> None:
    """By another table, after a restart or a long time: its rows are not taken for orders."""
    table, write = golden_event(Kind.TABLE_MAP), golden_event(Kind.WRITE_V1)
    other = made(Kind.TABLE_MAP, body_of(table).replace(b"\x06orders\0", b"\x06others\0"))
    assert taken([mariadb_gtid(832), table, other, write, made(Kind.XID)]).items == []
    assert taken([mariadb_gtid(832), table, golden_event(Kind.FORMAT), write, made(Kind.XID)]).items == []


def test_an_event_larger_than_a_packet() -> None:
    """Another table's is passed over, what continues it as well; an order cannot be so large."""
    head = packet(Kind.WRITE)[4:]
    giant = PACKET_BYTES_MAX.to_bytes(3, "little") + b"\0" + head + bytes(PACKET_BYTES_MAX - len(head))
    rest = (3).to_bytes(3, "little") + b"\1" + b"abc"
    events = parsed(giant + rest + packet(Kind.XID))
    assert [(event.kind, event.is_cut) for event in events] == [(Kind.WRITE, True), (Kind.XID, False)]
    state = taken([mariadb_gtid(832), *events])
    assert (state.items, str(state.position)) == ([], "0-1-832")
    body = body_of(golden_event(Kind.TABLE_MAP))
    zero = made(Kind.TABLE_MAP, bytes(6) + body[6:])
    with pytest.raises(TierRejected, match="16 MiB"):
        taken([mariadb_gtid(832), zero, *events])


@pytest.mark.parametrize("payload", [b"\xff\xd4\x04#HY000no", b"\xfe\0\0\2\0", b""])
def test_an_end_of_the_stream_is_told(payload: bytes) -> None:
    """An error, an end, an empty packet: whoever has the connection says what it means."""
    parser = EventParser()
    parser.feed(len(payload).to_bytes(3, "little") + b"\0" + payload)
    with pytest.raises(ServerError) as caught:
        parser.next()
    assert caught.value.packet == payload


@pytest.mark.parametrize(("second", "is_near"), [(-2, False), (-1, True), (0, True), (2, True), (3, False)])
def test_the_time_is_the_orders_own_where_that_can_be(second: int, is_near: bool) -> None:
    """Else the second in which the statement began: an old order that is touched did not change long ago."""
    write = msgspec.structs.replace(golden_event(Kind.WRITE_V1), ts_s=TS_S + second)
    item = taken([mariadb_gtid(832), golden_event(Kind.TABLE_MAP), write]).items[0]
    assert isinstance(item, RowChange)
    assert item.event.source.ts_us == (FIRST.updated_at if is_near else (TS_S + second) * 1_000_000)
