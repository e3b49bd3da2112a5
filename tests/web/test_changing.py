"""PATCH /v1/orders/{order_id} and POST /v1/orders/changes."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from orderctl.ids import new_order_id
from tests.services.tiers import away
from tests.web.edge import CheckedClient, Edge, as_key, new_order, pointers

ABSENT = "0189abcd-0000-7000-8000-000000000000"
PROBLEM = "urn:orderctl:problem:"


@pytest.fixture
def order(command: CheckedClient) -> dict[str, Any]:
    created: dict[str, Any] = command.post("/v1/orders", json=new_order()).json()
    return created


@pytest.fixture
def gateway(edge: Edge, command: CheckedClient) -> CheckedClient:
    """The same client with the gateway's key."""
    command.headers["Authorization"] = f"Bearer {edge.gateway}"
    return command


def change(
    client: CheckedClient, order_id: str, status: str, if_match: str | None = None, **more: Any
) -> httpx2.Response:
    headers = {"If-Match": if_match} if if_match is not None else {}
    return client.patch(f"/v1/orders/{order_id}", json={"status": status, **more}, headers=headers)


def test_the_gateway_moves_an_order_on(order: dict[str, Any], gateway: CheckedClient) -> None:
    """200 with the order as it is now and its new ETag."""
    response = change(gateway, order["order_id"], "success", status_reason="captured")
    changed = response.json()
    assert response.status_code == 200
    assert (changed["status"], changed["status_reason"]) == ("success", "captured")
    assert changed["version"] > order["version"]
    assert response.headers["etag"] == f'"{changed["version"]}"'


def test_the_same_words_again_write_nothing(order: dict[str, Any], gateway: CheckedClient) -> None:
    """200 with the same version, even with the If-Match of the first time; with another reason it is 409."""
    if_match = f'"{order["version"]}"'
    first = change(gateway, order["order_id"], "failed", if_match, status_reason="declined")
    again = change(gateway, order["order_id"], "failed", if_match, status_reason="declined")
    assert (again.status_code, again.content) == (200, first.content)
    assert change(gateway, order["order_id"], "failed", status_reason="other").status_code == 409


def test_a_final_order_stays(order: dict[str, Any], gateway: CheckedClient) -> None:
    """409 illegal-transition says how the order stands."""
    final = change(gateway, order["order_id"], "success").json()
    response = change(gateway, order["order_id"], "processing")
    problem = response.json()
    assert (response.status_code, problem["type"]) == (409, PROBLEM + "illegal-transition")
    assert (problem["current_status"], problem["current_version"]) == ("success", final["version"])


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"1"', 200),
        ("*", 200),
        ('"7", "1"', 200),
        ('"7" , , "1",', 200),
        ('"7"', 412),
        ('W/"1"', 412),
        ('W/"1", "1"', 200),
        ('"01"', 412),
        ('"of,another,kind"', 412),
        ('""', 412),
        ("1", 400),
        ('"1', 400),
        ('*, "1"', 400),
        ('"1" "2"', 400),
        ("", 400),
    ],
)
def test_if_match(order: dict[str, Any], gateway: CheckedClient, if_match: str, status: int) -> None:
    """One or several strong tags, `*` is any, a weak one never matches, and anything else is 400."""
    assert order["version"] == 1
    response = change(gateway, order["order_id"], "processing", if_match)
    assert response.status_code == status
    if status == 412:
        problem = response.json()
        assert (problem["type"], problem["current_version"]) == (PROBLEM + "version-mismatch", 1)


def test_a_merchant_may_only_cancel(order: dict[str, Any], edge: Edge, command: CheckedClient) -> None:
    """403 for any other status, before a tier is asked; cancelling is 200 while the order is pending."""
    calls = len(edge.bench.hot.calls)
    for status in ("pending", "processing", "success", "failed", "timeout"):
        response = change(command, order["order_id"], status)
        assert (response.status_code, response.json()["type"]) == (403, PROBLEM + "forbidden")
    assert len(edge.bench.hot.calls) == calls
    assert change(command, order["order_id"], "cancelled").json()["status"] == "cancelled"


def test_a_merchant_who_is_late_is_told_so(order: dict[str, Any], edge: Edge, command: CheckedClient) -> None:
    """Cancelling an order that is already processing is 409."""
    headers = as_key(edge.gateway)
    command.patch(f"/v1/orders/{order['order_id']}", json={"status": "processing"}, headers=headers)
    assert change(command, order["order_id"], "cancelled").status_code == 409


def test_nobody_times_an_order_out_by_hand(order: dict[str, Any], gateway: CheckedClient) -> None:
    """`timeout` is the service's own: 403 for the gateway too."""
    assert change(gateway, order["order_id"], "timeout").status_code == 403


def test_somebody_elses_order_is_as_none(order: dict[str, Any], edge: Edge, command: CheckedClient) -> None:
    """The same 404 in every header and byte."""
    headers = as_key(edge.rival) | {"X-Request-Id": "same"}
    theirs, none = (
        command.patch(f"/v1/orders/{order_id}", json={"status": "cancelled"}, headers=headers)
        for order_id in (order["order_id"], ABSENT)
    )
    assert (theirs.status_code, theirs.content, theirs.headers) == (404, none.content, none.headers)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["/status"]),
        ({"status": "paid"}, ["/status"]),
        ({"status": "failed", "status_reason": "x" * 257}, ["/status_reason"]),
        ({"status": "failed", "status_reason": 7, "why": 1}, ["/status_reason", "/why"]),
    ],
)
def test_a_bad_change_is_refused(gateway: CheckedClient, body: Any, where: list[str]) -> None:
    """400 with pointers."""
    response = gateway.patch(f"/v1/orders/{ABSENT}", json=body)
    assert (response.status_code, pointers(response)) == (400, where)


def test_a_reason_may_be_null_and_long(order: dict[str, Any], gateway: CheckedClient) -> None:
    """A null is as absent, and 256 characters are allowed whatever their bytes."""
    assert change(gateway, order["order_id"], "processing", status_reason=None).status_code == 200
    assert change(gateway, order["order_id"], "failed", status_reason="ü" * 256).json()["status_reason"] == "ü" * 256


def test_an_id_that_is_none_is_refused(edge: Edge, gateway: CheckedClient) -> None:
    """400 for anything but a UUIDv7, and for one from the future; no tier is asked."""
    future = new_order_id(edge.bench.clock.now_us() // 1000 + 61_000, 0, edge.bench.random)
    for order_id in ("x", "0" * 36, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", future):
        assert change(gateway, order_id, "success").status_code == 400
    assert edge.bench.hot.calls == []


def test_an_id_in_upper_case_is_the_same(order: dict[str, Any], gateway: CheckedClient) -> None:
    """UUIDs are read in either case."""
    assert change(gateway, order["order_id"].upper(), "success").json()["order_id"] == order["order_id"]


def test_batch_items_have_their_own_statuses(order: dict[str, Any], gateway: CheckedClient) -> None:
    """One after another, in the order asked: 200, 409, 412, 404, 403, 400."""
    order_id = order["order_id"]
    changes = [
        {"order_id": order_id, "status": "processing", "if_version": 1},
        {"order_id": order_id, "status": "pending"},
        {"order_id": order_id, "status": "success", "if_version": 1},
        {"order_id": order_id, "status": "success", "if_version": 2},
        {"order_id": ABSENT, "status": "success"},
        {"order_id": order_id, "status": "timeout"},
        {"order_id": "x", "status": "success"},
        {"order_id": order_id, "status": "success", "if_version": 0},
    ]
    results = gateway.post("/v1/orders/changes", json={"changes": changes}).json()["results"]
    assert [result["status"] for result in results] == [200, 409, 412, 200, 404, 403, 400, 400]
    assert results[2]["problem"]["current_version"] == 2
    assert [results[i]["problem"]["errors"][0]["pointer"] for i in (6, 7)] == ["/order_id", "/if_version"]


def test_a_merchants_batch(order: dict[str, Any], command: CheckedClient) -> None:
    """What the merchant may not is the item's 403."""
    changes = [{"order_id": order["order_id"], "status": status} for status in ("success", "cancelled")]
    results = command.post("/v1/orders/changes", json={"changes": changes}).json()["results"]
    assert [result["status"] for result in results] == [403, 200]


def test_an_empty_batch_and_one_too_large(gateway: CheckedClient) -> None:
    """200 with nothing, and 400."""
    item = {"order_id": ABSENT, "status": "success"}
    assert gateway.post("/v1/orders/changes", json={"changes": []}).json() == {"results": []}
    assert pointers(gateway.post("/v1/orders/changes", json={"changes": [item] * 501})) == ["/changes"]


def test_an_unreachable_database_is_never_404(order: dict[str, Any], edge: Edge, gateway: CheckedClient) -> None:
    """503 for one change and for a batch."""
    edge.bench.hot.error = away("mysql")
    one = change(gateway, order["order_id"], "success")
    batch = gateway.post("/v1/orders/changes", json={"changes": [{"order_id": ABSENT, "status": "success"}]})
    assert (one.status_code, batch.status_code) == (503, 503)
