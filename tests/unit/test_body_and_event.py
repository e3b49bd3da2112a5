"""The codecs: an order's JSON and the change envelope round-trip, and refuse rubbish."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderctl import body, event
from orderctl.event import ChangeEvent, Op, Source
from orderctl.order import Order, Status, canonical_metadata

TEXT = st.text(max_size=20)
TIMES = st.integers(0, 4_102_444_800_000_000)
ORDERS = st.builds(
    Order,
    order_id=st.uuids().map(str),
    merchant_id=TEXT,
    merchant_ref=TEXT,
    amount=st.integers(1, 10**15),
    currency=st.just("EUR"),
    payment_method=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=3).map(canonical_metadata),
    status=st.sampled_from(Status),
    status_reason=st.none() | TEXT,
    version=st.integers(1, 2**53 - 1),
    created_at=TIMES,
    updated_at=TIMES,
    deadline_at=TIMES,
)
EVENTS = st.one_of(
    st.builds(
        ChangeEvent, before=st.none(), after=ORDERS, op=st.just(Op.CREATE), source=st.builds(Source, TEXT, TEXT, TIMES)
    ),
    st.builds(ChangeEvent, before=ORDERS, after=ORDERS, op=st.just(Op.UPDATE), ts_ms=TIMES),
    st.builds(ChangeEvent, before=ORDERS, after=st.none(), op=st.just(Op.DELETE)),
)


@given(ORDERS)
def test_a_body_gives_back_every_value(order: Order) -> None:
    """As any JSON reader sees it, and as ours does."""
    rendered = body.render(order)
    seen = json.loads(rendered)
    assert list(seen) == list(body.OrderBody.__struct_fields__)
    assert seen["metadata"] == json.loads(order.metadata)
    parsed = body.parse(rendered)
    for name in ("order_id", "merchant_id", "amount", "status", "status_reason", "version"):
        assert getattr(parsed, name) == getattr(order, name) == seen[name]


@given(st.integers(-30_610_224_000_000_000, 253_402_300_799_999_999))
def test_times_are_rfc_3339_to_the_microsecond(unix_us: int) -> None:
    """Always six digits and Z, from the year 1000 on."""
    text = body.rfc3339(unix_us)
    assert len(text) == 27
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(microseconds=unix_us)


@given(EVENTS)
def test_an_event_round_trips(change: ChangeEvent) -> None:
    """What cdc writes, every consumer reads."""
    assert event.decode(event.encode(change)) == change
    assert change.order in (change.before, change.after)


@given(EVENTS)
def test_a_state_is_what_the_whole_event_says(change: ChangeEvent) -> None:
    """Whether the row before it is read or not, and whoever wrote it."""
    ours = event.encode(change)
    envelope = json.loads(ours)
    for name in ("before", "after"):
        if envelope[name] is not None:
            envelope[name]["order_id"] = base64.b64encode(uuid.UUID(envelope[name]["order_id"]).bytes).decode()
    for value in (ours, json.dumps(envelope).encode()):
        assert event.decode_state(value) == event.State(change.op, change.order, change.source.ts_us)


@given(ORDERS)
def test_a_state_does_not_need_the_row_before(order: Order) -> None:
    """What is wrong with it is nobody's concern who asks for the state."""
    value = event.encode(ChangeEvent(None, order, Op.UPDATE)).replace(b'"before":null', b'"before":[7]')
    assert event.decode_state(value).order == order


@given(EVENTS)
def test_debeziums_spelling_is_understood(change: ChangeEvent) -> None:
    """Debezium writes binary columns as base64, and has members that we do not."""
    envelope = json.loads(event.encode(change))
    for name in ("before", "after"):
        if envelope[name] is not None:
            raw = uuid.UUID(envelope[name]["order_id"]).bytes
            envelope[name] |= {"order_id": base64.b64encode(raw).decode(), "a_new_column": 1}
    envelope |= {"transaction": None, "ts_us": 1}
    envelope["source"] |= {"connector": "mysql", "gtid": "0-1-6"}
    assert event.decode(json.dumps(envelope).encode()) == change


@pytest.mark.parametrize(
    "value",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b"[" * 5000, b'{"op": "c", "before": null, "after": null}',
        b'{"op": "d", "before": null, "after": null}', b'{"op": "x", "before": null, "after": null}',
        b'{"op": "c", "before": null, "after": {"order_id": "nonsense"}}', b'{"op": "r", "before": 1, "after": {}}',
    ],
)  # fmt: skip
def test_rubbish_is_no_event(value: bytes) -> None:
    """One kind of error, so that the consumer can park it."""
    for decode in (event.decode, event.decode_state):
        with pytest.raises(ValueError):  # noqa: PT011 - msgspec's, binascii's and ours are all ValueErrors
            decode(value)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(value: bytes) -> None:
    """Whatever comes, it is an event or a ValueError."""
    try:
        event.decode(value)
    except ValueError:
        return


@given(ORDERS, st.text(max_size=40).filter(lambda text: len(text) != 36))
def test_an_id_that_is_neither_text_nor_base64_is_refused(order: Order, order_id: str) -> None:
    """A row without a readable id is nobody's."""
    broken = event.encode(ChangeEvent(None, msgspec.structs.replace(order, order_id=order_id), Op.CREATE))
    try:
        decoded = event.decode(broken)
    except ValueError:
        return
    assert uuid.UUID(decoded.order.order_id).bytes == base64.b64decode(order_id)
