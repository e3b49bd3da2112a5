"""A cache entry's bytes: what goes in comes out, rubbish is refused, and a change of format does not go unnoticed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from orderctl.body import parse
from orderctl.order import Order, Status
from orderctl.stores.record import (
    HEADER,
    NO_MERCHANT,
    NO_TIMER,
    NO_TOKEN,
    Entry,
    Kind,
    Record,
    decode,
    encode_marker,
    encode_record,
    is_token,
    merchant_digest,
    record_of,
    timer_at_ms,
)
from orderctl.version import VERSION_MAX

TOKEN = bytes(range(1, 17))
ORDER_ID = "018bcfe5-6800-7abc-8000-000000000001"
RECORD = Record(ORDER_ID, 2**32 + 7, Status.SUCCESS, merchant_digest("acme"), b'{"order_id":1}', 0)
ORDER = Order(
    order_id=ORDER_ID,
    merchant_id="acme",
    merchant_ref="r-1",
    amount=1,
    currency="EUR",
    payment_method="card",
    metadata="{}",
    status=Status.PENDING,
    status_reason=None,
    version=3,
    created_at=0,
    updated_at=1,
    deadline_at=1_700_000_000_000_001,
)

versions = st.integers(0, VERSION_MAX)
tokens = st.binary(min_size=16, max_size=16).filter(lambda token: token != NO_TOKEN)
records = st.builds(
    Record,
    st.just(ORDER_ID),
    versions,
    st.sampled_from(Status),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=1, max_size=200),
    st.just(0),
)


def header(
    *,
    format_: int = 1,
    kind: bytes = b"R",
    status: int = 2,
    version: int = 1,
    token: bytes = NO_TOKEN,
    merchant: bytes = NO_MERCHANT,
) -> bytes:
    """A header written out from the format's description, not by the code under test."""
    return struct.pack(">B1sBBQ16s16s", format_, kind, status, 0, version, token, merchant)


@given(records)
def test_a_record_comes_back(record: Record) -> None:
    """As an entry of kind record, without a token."""
    expected = Entry(Kind.RECORD, record.version, record.status, NO_TOKEN, record.merchant, record.body)
    assert decode(encode_record(record)) == expected


@given(records, tokens)
def test_a_tentative_comes_back(record: Record, token: bytes) -> None:
    """The same bytes as the record's, but for the kind and the token: a script makes one of the other."""
    value = encode_record(record, token=token)
    assert decode(value) == Entry(Kind.TENTATIVE, record.version, record.status, token, record.merchant, record.body)
    assert value[:1] + b"R" + value[2:12] + NO_TOKEN + value[28:] == encode_record(record)


@given(st.sampled_from([Kind.LEASE, Kind.ABSENT]), versions, st.binary(min_size=16, max_size=16))
def test_a_marker_comes_back(kind: Kind, version: int, token: bytes) -> None:
    """It holds no order, and says so."""
    entry = decode(encode_marker(kind, version=version, token=token))
    assert entry == Entry(kind, version, token=token)
    assert not entry.has_order


def test_the_bytes_are_these() -> None:
    """Caches that are running hold these bytes and scripts read these offsets: another format needs another number."""
    acme = "bded55e7ce1c08f27738f8c77ec971e3"
    assert encode_record(RECORD).hex() == f"015202000000000100000007{'00' * 16}{acme}7b226f726465725f6964223a317d"
    tentative = encode_record(RECORD, token=TOKEN).hex()
    assert tentative == f"0154020000000001000000070102030405060708090a0b0c0d0e0f10{acme}7b226f726465725f6964223a317d"
    lease = encode_marker(Kind.LEASE, version=2**32 + 7, token=TOKEN).hex()
    assert lease == f"014cff0000000001000000070102030405060708090a0b0c0d0e0f10{'00' * 16}"
    assert encode_marker(Kind.ABSENT).hex() == f"0141ff00{'00' * 40}"


@pytest.mark.parametrize(("number", "status"), list(enumerate(Status)))
def test_a_status_is_its_place_in_the_order_of_statuses(number: int, status: Status) -> None:
    """A new status goes to the end: the numbers are in caches that are running."""
    assert decode(header(status=number) + b"{}").status is status
    assert [*Status] == ["pending", "processing", "success", "failed", "cancelled", "timeout"]


def test_an_order_is_recorded_as_it_is_sent() -> None:
    """The body is the order's JSON, and the header tells its owner without it."""
    record = record_of(ORDER)
    assert (record.order_id, record.version, record.status) == (ORDER_ID, 3, Status.PENDING)
    assert record.merchant == merchant_digest("acme") != merchant_digest("acm")
    assert parse(record.body).merchant_id == "acme"


@pytest.mark.parametrize(
    ("deadline_at", "at_ms"),
    [(1_700_000_000_000_001, 1_700_000_000_001), (1_700_000_000_000_000, 1_700_000_000_000), (0, 1), (-1, 1)],
)
def test_when_a_timer_goes_off(deadline_at: int, at_ms: int) -> None:
    """In the first millisecond that is not before the deadline; also one that is from before all clocks means an open order."""
    order = structs.replace(ORDER, deadline_at=deadline_at)
    assert timer_at_ms(order) == record_of(order).timer_at_ms == at_ms


@pytest.mark.parametrize("status", Status)
def test_a_final_order_has_no_timer(status: Status) -> None:
    """Every other one has."""
    assert (record_of(structs.replace(ORDER, status=status)).timer_at_ms == NO_TIMER) == status.is_final


@pytest.mark.parametrize(
    "value",
    [encode_record(RECORD), encode_record(RECORD, token=TOKEN), encode_marker(Kind.LEASE), encode_marker(Kind.ABSENT)],
    ids=["record", "tentative", "lease", "absent"],
)
def test_an_entry_that_is_cut_short_is_refused(value: bytes) -> None:
    """At every length of the header, and where an order's body is missing."""
    for length in range(HEADER.size + (len(value) > HEADER.size)):
        with pytest.raises(ValueError, match="cache entry"):
            decode(value[:length])


@pytest.mark.parametrize(
    "value",
    [
        header(format_=0) + b"{}",
        header(format_=2) + b"{}",
        header(kind=b"r") + b"{}",
        header(kind=b"\xff") + b"{}",
        header(status=6) + b"{}",
        header(status=255) + b"{}",
        header(kind=b"T", status=255, token=TOKEN) + b"{}",
        header(kind=b"T", token=TOKEN),
        header(kind=b"L", status=255, token=TOKEN) + b"{}",
        header(kind=b"L", token=TOKEN),
        header(kind=b"A", status=0),
        header(kind=b"A", status=255) + b"{}",
        header(version=VERSION_MAX + 1) + b"{}",
        header(version=2**64 - 1) + b"{}",
    ],
)
def test_a_header_that_contradicts_itself_is_refused(value: bytes) -> None:
    """Of another format, of no kind, an order without a status or a body, or the other way round, a version too large."""
    with pytest.raises(ValueError, match=r"cache entry|Kind"):
        decode(value)


@given(st.binary(max_size=120) | st.binary(min_size=43, max_size=120).map(lambda rest: b"\x01" + rest))
@example(b"")
def test_rubbish_is_refused_in_one_way(value: bytes) -> None:
    """Whatever the bytes are, they are an entry or a ValueError; an entry is one that could have been written."""
    try:
        entry = decode(value)
    except ValueError:
        return
    assert entry.has_order == bool(entry.body)
    assert entry.version <= VERSION_MAX


@given(st.binary(max_size=20))
@example(NO_TOKEN)
@example(TOKEN)
def test_what_a_token_is(value: bytes) -> None:
    """Sixteen bytes, not all zero: zeros in a header say that there is no token."""
    assert is_token(value) == (len(value) == 16 and any(value))
