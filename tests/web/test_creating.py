"""POST /v1/orders and /v1/orders/batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orderctl.errors import OutcomeUnknown, TierRejected
from tests.services.tiers import LosesTheReply, away
from tests.web.edge import CheckedClient, Edge, as_key, new_order, pointers


def test_a_creation_answers_with_the_order_and_where_it_is(command: CheckedClient) -> None:
    """201 has the whole order, its ETag and its path."""
    response = command.post("/v1/orders", json=new_order(metadata={"b": "2", "a": "1"}))
    order = response.json()
    assert response.status_code == 201
    assert response.headers["etag"] == f'"{order["version"]}"'
    assert response.headers["location"] == f"/v1/orders/{order['order_id']}"
    assert "idempotent-replayed" not in response.headers
    assert (order["merchant_id"], order["status"], order["status_reason"]) == ("acme", "pending", None)
    assert order["metadata"] == {"a": "1", "b": "2"}


def test_the_same_values_again_are_a_replay(command: CheckedClient) -> None:
    """White space, member order and a default spelt out do not matter; the replay has the same headers."""
    first = command.post("/v1/orders", json=new_order())
    spelt = json.dumps({"timeout_s": 900, "metadata": {}, **dict(reversed(new_order().items()))}, indent=3)
    again = command.post("/v1/orders", content=spelt, headers={"Content-Type": "application/json; charset=UTF-8"})
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.content == first.content
    assert all(again.headers[name] == first.headers[name] for name in ("etag", "location"))


def test_another_body_under_the_same_reference_is_refused(command: CheckedClient) -> None:
    """422 reference-reused, and the order stays as it was."""
    first = command.post("/v1/orders", json=new_order()).json()
    response = command.post("/v1/orders", json=new_order(amount=2))
    assert (response.status_code, response.json()["type"]) == (422, "urn:orderctl:problem:reference-reused")
    assert first["order_id"] in response.json()["detail"]


def test_merchants_do_not_share_references(edge: Edge, command: CheckedClient) -> None:
    """Two merchants may call two orders the same."""
    mine = command.post("/v1/orders", json=new_order())
    theirs = command.post("/v1/orders", json=new_order(), headers=as_key(edge.rival))
    assert theirs.status_code == 201
    assert mine.json()["order_id"] != theirs.json()["order_id"]


def test_a_gateway_may_not_create(edge: Edge, command: CheckedClient) -> None:
    """403 for one order, and for a whole batch."""
    for path, body in (("/v1/orders", new_order()), ("/v1/orders/batch", {"orders": [new_order()]})):
        response = command.post(path, json=body, headers=as_key(edge.gateway))
        assert (response.status_code, response.json()["type"]) == (403, "urn:orderctl:problem:forbidden")
    assert edge.bench.hot.calls == []


BAD: list[tuple[str, bytes, list[str]]] = [
    ("no JSON", b'{"amount": ', [""]),
    ("nothing", b"", [""]),
    ("NaN", json.dumps(new_order(amount=float("nan"))).encode(), [""]),
    ("Infinity", json.dumps(new_order(amount=float("inf"))).encode(), [""]),
    ("no object", b"[1]", [""]),
    ("null", b"null", [""]),
    ("a byte order mark", b"\xef\xbb\xbf{}", [""]),
    ("not UTF-8", json.dumps(new_order("R")).encode().replace(b"R", b"\xff"), [""]),
    ("nested deeply", b'{"amount":' + b"[" * 200_000, [""]),
    ("an unknown member", json.dumps(new_order() | {"x/~y": 1}).encode(), ["/x~1~0y"]),
    ("a missing member", b'{"amount": 1, "currency": "EUR", "payment_method": "card"}', ["/merchant_ref"]),
    ("a string for a number", json.dumps(new_order(amount="1")).encode(), ["/amount"]),
    ("true for a number", json.dumps(new_order(amount=True)).encode(), ["/amount"]),
    ("a fraction", json.dumps(new_order(amount=1.0)).encode(), ["/amount"]),
    ("nothing to pay", json.dumps(new_order(amount=0)).encode(), ["/amount"]),
    ("too much to pay", json.dumps(new_order(amount=10**15 + 1)).encode(), ["/amount"]),
    ("a number of 5000 digits", json.dumps(new_order(amount="N")).encode().replace(b'"N"', b"9" * 5000), ["/amount"]),
    ("a number out of any range", json.dumps(new_order(amount="N")).encode().replace(b'"N"', b"1e999"), ["/amount"]),
    ("an unknown currency", json.dumps(new_order(currency="ABC")).encode(), ["/currency"]),
    ("a currency in lower case", json.dumps(new_order(currency="eur")).encode(), ["/currency"]),
    ("a reference with a space", json.dumps(new_order("a b")).encode(), ["/merchant_ref"]),
    ("a reference with a newline", json.dumps(new_order("a\n")).encode(), ["/merchant_ref"]),
    ("an over-long reference", json.dumps(new_order("r" * 65)).encode(), ["/merchant_ref"]),
    ("no payment method", json.dumps(new_order(payment_method="")).encode(), ["/payment_method"]),
    ("an over-long payment method", json.dumps(new_order(payment_method="p" * 33)).encode(), ["/payment_method"]),
    ("half a surrogate pair", json.dumps(new_order(payment_method="\ud800")).encode(), ["/payment_method"]),
    ("the same in metadata", json.dumps(new_order(metadata={"k": "\udfff"})).encode(), ["/metadata/k"]),
    ("the same in a name", json.dumps(new_order(metadata={"\ud800": "v"})).encode(), ["/metadata/?"]),
    (
        "numbers in metadata",
        json.dumps(new_order(metadata={"a": "1", "b": 2, "c/d": None})).encode(),
        ["/metadata/b", "/metadata/c~1d"],
    ),
    ("metadata that is none", json.dumps(new_order(metadata=[])).encode(), ["/metadata"]),
    ("null metadata", json.dumps(new_order(metadata=None)).encode(), ["/metadata"]),
    ("large metadata", json.dumps(new_order(metadata={"k": "v" * 1024})).encode(), ["/metadata"]),
    ("no time", json.dumps(new_order(timeout_s=0)).encode(), ["/timeout_s"]),
    ("too much time", json.dumps(new_order(timeout_s=86_401)).encode(), ["/timeout_s"]),
    ("everything", b'{"amount": "x", "y": 1}', ["/merchant_ref", "/amount", "/currency", "/payment_method", "/y"]),
]


@pytest.mark.parametrize(("body", "where"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_is_refused_with_its_place(edge: Edge, command: CheckedClient, body: bytes, where: list[str]) -> None:
    """400 invalid-request, pointers to all that is wrong, and no tier is asked."""
    response = command.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["type"]) == (400, "urn:orderctl:problem:invalid-request")
    assert pointers(response) == where
    assert edge.bench.hot.calls == []


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ({"currency": "eur"}, 'not an assigned ISO 4217 code in upper case, such as EUR; got "eur"'),
        ({"amount": 0}, "not an integer of minor units, 1 to 1000000000000000; got 0"),
        ({"merchant_ref": "ä"}, 'not a string of 1 to 64 visible ASCII characters, without spaces; got "ä"'),
        ({"metadata": {"k": 1}}, "not a string"),
    ],
)
def test_details_are_for_people(command: CheckedClient, members: dict[str, Any], detail: str) -> None:
    """No type names and no regular expressions."""
    assert command.post("/v1/orders", json=new_order() | members).json()["detail"] == detail


def test_malformed_json_says_the_byte(command: CheckedClient) -> None:
    """The place is counted in bytes, as an editor or `head -c` does."""
    body = '{"merchant_ref": "ä", x}'.encode()
    response = command.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})
    assert response.json()["detail"].startswith(f"not JSON at byte {body.index(b'x')}: ")


def test_the_last_of_a_repeated_member_counts(command: CheckedClient) -> None:
    """Also where an earlier one is not valid, or the last one is not."""
    body = json.dumps(new_order()).encode()
    headers = {"Content-Type": "application/json"}
    good_last = command.post("/v1/orders", content=b'{"amount": "x", ' + body[1:], headers=headers)
    bad_last = command.post("/v1/orders", content=body[:-1] + b', "amount": "x"}', headers=headers)
    assert (good_last.status_code, good_last.json()["amount"], bad_last.status_code) == (201, 1999, 400)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 201),
        ({"Content-Type": "Application/JSON ; charset=utf-8"}, 201),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({}, 415),
    ],
)
def test_bodies_are_json_in_utf8(command: CheckedClient, headers: dict[str, str], status: int) -> None:
    """Anything else is 415."""
    assert command.post("/v1/orders", content=json.dumps(new_order()), headers=headers).status_code == status


def test_batch_items_act_one_after_another(command: CheckedClient) -> None:
    """Each has its own status, in the order asked; a wrong one has pointers of its own and stops nobody."""
    orders: list[Any] = [
        new_order("a"),
        new_order("b", amount=0),
        new_order("a"),
        new_order("a", amount=5),
        7,
        new_order("c"),
    ]
    response = command.post("/v1/orders/batch", json={"orders": orders})
    results = response.json()["results"]
    assert response.status_code == 200
    assert [result["status"] for result in results] == [201, 400, 200, 422, 400, 201]
    assert results[0]["order"] == results[2]["order"]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/amount"
    assert results[4]["problem"]["errors"][0]["pointer"] == ""
    assert {r["problem"]["request_id"] for r in results if "problem" in r} == {response.headers["x-request-id"]}


def test_a_batch_is_one_transaction(edge: Edge, command: CheckedClient) -> None:
    """500 orders, one commit."""
    response = command.post("/v1/orders/batch", json={"orders": [new_order(f"r-{i}") for i in range(500)]})
    assert [result["order"]["merchant_ref"] for result in response.json()["results"]] == [f"r-{i}" for i in range(500)]
    assert edge.bench.tiers.hot.transactions == 1


def test_metadata_too_large_is_the_items_problem(command: CheckedClient) -> None:
    """What the types cannot say is said of the item too."""
    orders = [new_order("a", metadata={"k": "v" * 2000}), new_order("b")]
    results = command.post("/v1/orders/batch", json={"orders": orders}).json()["results"]
    assert [result["status"] for result in results] == [400, 201]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"orders": [new_order("r")] * 501}, ["/orders"]),
        ({"orders": [7] * 501}, ["/orders"]),
        ({}, ["/orders"]),
        ({"orders": None}, ["/orders"]),
        ({"orders": {}}, ["/orders"]),
        ({"orders": [], "more": 1}, ["/more"]),
        ([], [""]),
    ],
)
def test_a_batch_that_is_none_is_refused_whole(edge: Edge, command: CheckedClient, body: Any, where: list[str]) -> None:
    """No object, no list, more than 500, or something beside it: 400, nothing written."""
    response = command.post("/v1/orders/batch", json=body)
    assert (response.status_code, pointers(response)) == (400, where)
    assert edge.bench.hot.calls == []


def test_an_empty_batch_is_answered_empty(command: CheckedClient) -> None:
    """No items: 200."""
    response = command.post("/v1/orders/batch", json={"orders": []})
    assert (response.status_code, response.json()) == (200, {"results": []})


def test_an_unreachable_database_is_unavailable(edge: Edge, command: CheckedClient) -> None:
    """503 with Retry-After: nothing was written."""
    edge.bench.hot.error = away("mysql")
    response = command.post("/v1/orders", json=new_order())
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["type"] == "urn:orderctl:problem:unavailable"


def test_a_lost_reply_is_an_unknown_outcome(edge: Edge) -> None:
    """503 outcome-unknown; the same again finds what was written."""
    app = edge.command_app(edge.bench.command(LosesTheReply(edge.bench.tiers.hot)))
    with CheckedClient(app, None, edge.acme) as client:
        response = client.post("/v1/orders", json=new_order())
    assert (response.status_code, response.json()["type"]) == (503, "urn:orderctl:problem:outcome-unknown")
    with CheckedClient(edge.command_app(), None, edge.acme) as client:
        assert client.post("/v1/orders", json=new_order()).status_code == 200


@pytest.mark.parametrize("error", [TierRejected("mysql", "column too short"), OutcomeUnknown("mysql", "secret")])
def test_what_a_tier_said_stays_inside(edge: Edge, command: CheckedClient, error: Any) -> None:
    """A fault of ours is 500; no driver's words reach a merchant."""
    edge.bench.hot.error = error
    response = command.post("/v1/orders", json=new_order())
    assert response.status_code == (500 if isinstance(error, TierRejected) else 503)
    assert error.message not in response.text
