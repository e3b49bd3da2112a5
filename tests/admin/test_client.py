"""The client: what each answer of a server becomes, and what it means when none comes."""

from __future__ import annotations

import json

import pytest

from orderctl.admin.client import Found, OrderClient, Pending
from orderctl.admin.order_get import order_get
from orderctl.admin.order_watch import order_watch
from orderctl.admin.servers import Servers
from orderctl.clock import ManualClock
from orderctl.errors import NotFound, OrderctlError, OutcomeUnknown, TierUnavailable, UsageRefused
from tests.admin.scripted import Scripted, ScriptedServer, scripted

ORDER_ID = "0197b0de-5c00-7abc-8000-0123456789ab"
NOWHERE = "http://127.0.0.1:1"
NEW = {"merchant_ref": "A-1", "amount": 1, "currency": "EUR", "payment_method": "card"}


def client(server: ScriptedServer, *before: str) -> OrderClient:
    """A client of that server for both purposes, after some other addresses."""
    return OrderClient(Servers((*before, server.address), (*before, server.address)), "ok_key")


def order(version: int, status: str) -> dict[str, object]:
    """An order as the query server would answer it."""
    return {
        **NEW,
        "order_id": ORDER_ID,
        "merchant_id": "demo",
        "metadata": {},
        "status": status,
        "status_reason": None,
        "version": version,
        **dict.fromkeys(("created_at", "updated_at", "deadline_at"), "2026-01-31T12:00:00.000001Z"),
    }


PROBLEM = {"type": "urn:x", "title": "Title", "status": 1, "detail": "what is wrong", "request_id": "r-1"}
MEANINGS = [
    (400, UsageRefused, 2),
    (401, UsageRefused, 2),
    (403, UsageRefused, 2),
    (404, NotFound, 3),
    (409, UsageRefused, 2),
    (412, UsageRefused, 2),
    (413, UsageRefused, 2),
    (415, UsageRefused, 2),
    (422, UsageRefused, 2),
    (429, TierUnavailable, 4),
    (500, OrderctlError, 70),
    (503, TierUnavailable, 4),
]


@pytest.mark.parametrize(("status", "kind", "exit_code"), MEANINGS)
def test_each_status_is_an_error_of_ours(status: int, kind: type[OrderctlError], exit_code: int) -> None:
    """Its words and its status are in the message, its exit code is the documented one."""
    with scripted(Scripted(status, PROBLEM)) as server, client(server) as asking, pytest.raises(kind) as raised:
        asking.create(NEW)
    assert type(raised.value) is kind
    assert raised.value.exit_code == exit_code
    assert f"({status})" in str(raised.value)
    assert status == 401 or "what is wrong" in str(raised.value)


def test_every_place_in_the_body_is_named() -> None:
    """All that is wrong is said at once, in one line."""
    errors = [{"pointer": "/amount", "detail": "too small"}, {"pointer": "", "detail": "not an object"}]
    answer = Scripted(400, {**PROBLEM, "detail": "see errors", "errors": errors})
    with (
        scripted(answer) as server,
        client(server) as asking,
        pytest.raises(UsageRefused, match=r"^Title: /amount: too small; the body: not an object \(400\)$"),
    ):
        asking.create(NEW)


def test_an_outcome_that_is_not_known_is_never_a_failure() -> None:
    """503 `outcome-unknown` is told apart from 503, and says that asking again is safe."""
    answer = Scripted(503, {**PROBLEM, "type": "urn:orderctl:problem:outcome-unknown"})
    with scripted(answer) as server, client(server) as asking, pytest.raises(OutcomeUnknown) as raised:
        asking.create(NEW)
    assert "is safe" in str(raised.value.hint)


def test_an_answer_that_is_not_our_servers() -> None:
    """A proxy's page is no problem document, and is said as what it is."""
    with (
        scripted(Scripted(502, b"<html>")) as server,
        client(server) as asking,
        pytest.raises(TierUnavailable, match=r"Bad Gateway \(502\)"),
    ):
        asking.get(ORDER_ID, wait_s=1)


def test_a_proxy_that_gave_up_on_a_write_leaves_it_open() -> None:
    """Whatever stood behind it may have written."""
    with scripted(Scripted(504, b"")) as server, client(server) as asking, pytest.raises(OutcomeUnknown):
        asking.create(NEW)


def test_a_lost_connection_leaves_a_write_open() -> None:
    """The request was sent, and no answer came: nobody knows."""
    with scripted(Scripted(0)) as server, client(server) as asking, pytest.raises(OutcomeUnknown, match="not known"):
        asking.change(ORDER_ID, "success", status_reason=None, if_version=None)


def test_a_lost_connection_is_no_answer_to_a_question() -> None:
    """A look-up wrote nothing: the server could not be reached."""
    with scripted(Scripted(0)) as server, client(server) as asking, pytest.raises(TierUnavailable, match="was lost"):
        asking.get(ORDER_ID, wait_s=1)


def test_no_server_is_said_with_its_address() -> None:
    """Nothing was sent, so nothing was written."""
    with (
        OrderClient(Servers((NOWHERE,), ()), "ok_key") as asking,
        pytest.raises(TierUnavailable, match=f"command server: no answer at {NOWHERE}"),
    ):
        asking.create(NEW)


def test_no_address_is_said_too() -> None:
    """Where no server was heard of there is nobody to ask."""
    with (
        OrderClient(Servers((), ()), "ok_key") as asking,
        pytest.raises(TierUnavailable, match="query server: none runs"),
    ):
        asking.get(ORDER_ID, wait_s=1)


def test_the_next_server_is_asked_where_the_first_is_gone() -> None:
    """Only a connection that could not be made lets a write go elsewhere."""
    with scripted(Scripted(201, order(1, "pending"))) as server, client(server, NOWHERE) as asking:
        assert json.loads(asking.create(NEW).body)["version"] == 1


def test_what_is_sent() -> None:
    """The key, the version that the order must have, and the words."""
    with scripted(Scripted(200, order(2, "failed"))) as server, client(server) as asking:
        asking.change(ORDER_ID, "failed", status_reason="no money", if_version=7)
        (asked,) = server.asked
    assert (asked.method, asked.target) == ("PATCH", f"/v1/orders/{ORDER_ID}")
    assert (asked.headers["Authorization"], asked.headers["If-Match"]) == ("Bearer ok_key", '"7"')
    assert json.loads(asked.body) == {"status": "failed", "status_reason": "no money"}


def test_a_replay_is_told_apart() -> None:
    """The caller may say that nothing was written."""
    answer = Scripted(200, order(1, "pending"), {"Idempotent-Replayed": "true"})
    with scripted(answer) as server, client(server) as asking:
        assert asking.create(NEW).replayed


def test_a_pending_look_up_is_not_an_order() -> None:
    """202 says when to ask again; a header that means nothing is a second."""
    soon, odd = Scripted(202, {}, {"Retry-After": "3"}), Scripted(202, {}, {"Retry-After": "²"})
    with scripted(soon, odd) as server, client(server) as asking:
        assert asking.get(ORDER_ID, wait_s=5) == Pending(3.0)
        assert asking.get(ORDER_ID, wait_s=5) == Pending(1.0)
        assert server.asked[0].headers["Prefer"] == "wait=5"


def test_get_asks_until_there_is_an_answer(clock: ManualClock) -> None:
    """As often as it takes, waiting as long as it is told."""
    body = order(1, "pending")
    with scripted(Scripted(202, {}, {"Retry-After": "3"}), Scripted(202), Scripted(200, body)) as server:
        began_s = clock.monotonic_s()
        with client(server) as asking:
            assert json.loads(order_get(asking, clock, ORDER_ID)) == body
        assert clock.monotonic_s() - began_s == 4.0
        assert len(server.asked) == 3


def test_watch_shows_each_version_until_a_final_one(clock: ManualClock) -> None:
    """The current state at once; then only newer ones are asked for."""
    answers = [Scripted(200, order(5, "pending")), Scripted(202), Scripted(200, order(7, "success"))]
    with scripted(*answers) as server, client(server) as asking:
        seen = list(order_watch(asking, clock, ORDER_ID))
        targets = [asked.target for asked in server.asked]
    assert [(one.order.version, one.order.status) for one in seen] == [(5, "pending"), (7, "success")]
    assert targets == [f"/v1/orders/{ORDER_ID}", *[f"/v1/orders/{ORDER_ID}?min_version=6"] * 2]


def test_the_environments_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would see the key, and know nothing of this machine's ports."""
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    with scripted(Scripted(200, order(1, "pending"))) as server, client(server) as asking:
        assert isinstance(asking.get(ORDER_ID, wait_s=1), Found)
