"""The state machine, cell by cell, and what makes two creations the same."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency as PublishedCurrency

from orderctl.currency import Currency
from orderctl.order import (
    FINAL,
    OPEN,
    TRANSITIONS,
    Change,
    NewOrder,
    Order,
    Refusal,
    Refused,
    Role,
    Status,
    Transition,
    Unchanged,
    body_digest,
    canonical_metadata,
    decide,
    field_errors,
    may_set,
)

LEGAL = {
    ("pending", "processing"), ("pending", "success"), ("pending", "failed"), ("pending", "cancelled"), ("pending", "timeout"),
    ("processing", "success"), ("processing", "failed"), ("processing", "cancelled"), ("processing", "timeout"),
}  # fmt: skip
MERCHANT = "merchant-1"


def an_order(status: Status = Status.PENDING, reason: str | None = None, version: int = 7) -> Order:
    return Order(
        "0199bd6e-5c00-7abc-8000-0123456789ab",
        MERCHANT,
        "r",
        1,
        "EUR",
        "card",
        "{}",
        status,
        reason,
        version,
        10,
        20,
        30,
    )


def a_change(status: Status, reason: str | None = None, merchant: str | None = None, *if_versions: int) -> Change:
    return Change(an_order().order_id, status, reason, merchant, if_versions or None)


def test_every_status_is_open_or_final() -> None:
    """And the table knows each."""
    assert OPEN | FINAL == set(Status) == set(TRANSITIONS)
    assert not OPEN & FINAL
    assert {s for s in Status if s.is_final} == FINAL


@pytest.mark.parametrize("current", Status)
@pytest.mark.parametrize("wanted", Status)
def test_every_cell_of_the_transition_table(current: Status, wanted: Status) -> None:
    """Legal moves are made, the same status by the same words is no move, everything else is refused."""
    order = an_order(current)
    decision = decide(order, a_change(wanted), now_us=99)
    if current is wanted:
        assert decision == Unchanged(order)
    elif (current, wanted) in LEGAL:
        assert decision == Transition(wanted, None, 99)
    else:
        assert decision == Refused(Refusal.ILLEGAL_TRANSITION, order)


@pytest.mark.parametrize("current", Status)
@pytest.mark.parametrize("wanted", Status)
def test_the_same_status_for_another_reason_is_refused(current: Status, wanted: Status) -> None:
    """A final order keeps its reason, and an open one has none to change."""
    order = an_order(current, "because")
    decision = decide(order, a_change(wanted, "for another reason"), now_us=99)
    assert isinstance(decision, Transition) is ((current, wanted) in LEGAL)


@pytest.mark.parametrize("current", Status)
def test_a_merchant_cancels_only_what_is_pending(current: Status) -> None:
    """Once the gateway is processing an order, the merchant is too late."""
    decision = decide(an_order(current), a_change(Status.CANCELLED, None, MERCHANT), now_us=99)
    expected = {Status.PENDING: Transition, Status.CANCELLED: Unchanged}.get(current, Refused)
    assert isinstance(decision, expected)


def test_somebody_elses_order_is_no_order() -> None:
    """The owner comes before the version and the state, and the refusal holds nothing of the order."""
    stranger = a_change(Status.CANCELLED, None, "merchant-2", 1)
    for order in (an_order(), an_order(Status.SUCCESS), an_order(Status.CANCELLED), None):
        assert decide(order, stranger, now_us=99) == Refused(Refusal.NOT_FOUND)


def test_the_version_named_must_be_the_one_there() -> None:
    """If-Match is looked at before the state machine, but after asking whether anything would change at all."""
    order = an_order(version=7)
    assert isinstance(decide(order, a_change(Status.FAILED, None, None, 7), now_us=99), Transition)
    assert isinstance(decide(order, a_change(Status.FAILED, None, None, 6, 7), now_us=99), Transition)
    assert decide(order, a_change(Status.FAILED, None, None, 6), now_us=99) == Refused(Refusal.VERSION_MISMATCH, order)
    assert decide(order, a_change(Status.PENDING, None, None, 6), now_us=99) == Unchanged(order)


def test_updated_at_never_goes_back() -> None:
    """A host whose clock is behind does not make an order older than it was."""
    decision = decide(an_order(), a_change(Status.FAILED, "x"), now_us=5)
    assert isinstance(decision, Transition)
    after = decision.of(an_order(), 8)
    assert (after.updated_at, after.status, after.status_reason, after.version) == (20, Status.FAILED, "x", 8)


@pytest.mark.parametrize("status", Status)
def test_who_may_ask_for_what(status: Status) -> None:
    """Merchants cancel, the gateway settles, and only the service times out."""
    assert may_set(Role.MERCHANT, status) is (status is Status.CANCELLED)
    assert may_set(Role.GATEWAY, status) is (status is not Status.TIMEOUT)
    assert may_set(Role.SERVICE, status)


NEW_ORDERS = st.builds(
    NewOrder,
    merchant_ref=st.from_regex(r"[!-~]{1,64}", fullmatch=True),
    amount=st.integers(1, 10**15),
    currency=st.sampled_from(["EUR", "JPY"]),
    payment_method=st.text(min_size=1, max_size=32),
    metadata=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4),
    timeout_s=st.integers(1, 86_400),
)


@given(NEW_ORDERS)
def test_the_digest_is_of_values(new: NewOrder) -> None:
    """White space, member order and a default spelt out do not matter."""
    shuffled = dict(sorted(new.metadata.items(), reverse=True))
    again = msgspec.convert(msgspec.to_builtins(msgspec.structs.replace(new, metadata=shuffled)), NewOrder)
    assert body_digest(again) == body_digest(new)
    assert canonical_metadata(shuffled) == canonical_metadata(new.metadata)
    defaults = msgspec.structs.replace(new, metadata={}, timeout_s=900)
    spelt_out = {n: getattr(new, n) for n in ("merchant_ref", "amount", "currency", "payment_method")}
    assert body_digest(msgspec.convert(spelt_out, NewOrder)) == body_digest(defaults)


@given(NEW_ORDERS, NEW_ORDERS)
def test_other_values_give_another_digest(one: NewOrder, other: NewOrder) -> None:
    """The reference is the key; anything else that differs makes another order."""
    same = msgspec.structs.replace(one, merchant_ref="x") == msgspec.structs.replace(other, merchant_ref="x")
    assert (body_digest(one) == body_digest(other)) is same


def test_metadata_is_bounded_as_json() -> None:
    """1024 bytes pass, 1025 do not, and a character counts as many bytes as it has."""
    new = NewOrder("r", 1, "EUR", "card")
    fits = "x" * (1024 - len('{"a":""}'))
    assert not list(field_errors(msgspec.structs.replace(new, metadata={"a": fits})))
    for too_long in (fits + "x", fits[:-1] + "ü"):
        (error,) = field_errors(msgspec.structs.replace(new, metadata={"a": too_long}))
        assert (error.pointer, "1025" in error.detail) == ("/metadata", True)


@pytest.mark.parametrize(
    "bad",
    [
        {"merchant_ref": ""}, {"merchant_ref": "x" * 65}, {"merchant_ref": "a b"}, {"merchant_ref": "a\n"}, {"merchant_ref": "ü"},
        {"amount": 0}, {"amount": -1}, {"amount": 10**15 + 1}, {"amount": 1.0}, {"amount": True}, {"amount": "1"},
        {"currency": "eur"}, {"currency": "EU"}, {"currency": "DEM"}, {"payment_method": ""}, {"payment_method": "x" * 33},
        {"metadata": {"a": 1}}, {"metadata": None}, {"timeout_s": 0}, {"timeout_s": 86_401}, {"surprise": 1},
    ],
)  # fmt: skip
def test_what_is_no_new_order(bad: dict[str, object]) -> None:
    """The types refuse it before anybody acts on it."""
    good = {"merchant_ref": "r", "amount": 1, "currency": "EUR", "payment_method": "card"}
    msgspec.convert(good, NewOrder)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | bad, NewOrder)


def test_currencies_are_the_published_ones() -> None:
    """A new edition of ISO 4217's table shows here."""
    assert set(get_args(Currency)) == {currency.code for currency in PublishedCurrency}
