"""Outcomes that came too late, over HTTP: refused with 409 and told of to the gateway, before their order moves and after."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from orderctl.body import rfc3339
from orderctl.errors import OutcomeUnknown
from orderctl.order import Change, Status
from orderctl.services.late_moving import LateMover, LateMoverSettings
from tests.services.tiers import away
from tests.web.edge import CheckedClient, Edge, as_key, new_order

PROBLEM = "urn:orderctl:problem:"
NOBODYS = "0189abcd-0000-7000-8000-000000000000"


@pytest.fixture
def timed_out(edge: Edge, command: CheckedClient) -> str:
    """The id of an order that has timed out."""
    order_id: str = command.post("/v1/orders", json=new_order()).json()["order_id"]
    edge.bench.tiers.hot.change([Change(order_id, Status.TIMEOUT)], now_us=0)
    edge.bench.tiers.cache.invalidate([order_id])
    return order_id


def patch(edge: Edge, client: CheckedClient, order_id: str, status: str, reason: str | None = None) -> httpx2.Response:
    """The gateway's change."""
    body = {"status": status, "status_reason": reason}
    return client.patch(f"/v1/orders/{order_id}", json=body, headers=as_key(edge.gateway))


def late_results(edge: Edge, client: CheckedClient, order_id: str) -> httpx2.Response:
    """What the gateway is told of them."""
    return client.get(f"/v1/orders/{order_id}/late-results", headers=as_key(edge.gateway))


def test_a_late_outcome_is_409_and_can_be_read(
    edge: Edge, timed_out: str, command: CheckedClient, query: CheckedClient
) -> None:
    """With how the order stands, which stays so; asked again in the same words it is one result."""
    received_at = rfc3339(edge.bench.clock.now_us())
    for _ in range(2):
        response = patch(edge, command, timed_out, "success", "captured")
        assert (response.status_code, response.json()["type"]) == (409, PROBLEM + "illegal-transition")
        assert response.json()["current_status"] == "timeout"
        edge.bench.clock.advance(1)
    expected = {"late_results": [{"status": "success", "status_reason": "captured", "received_at": received_at}]}
    found = late_results(edge, query, timed_out)
    assert (found.status_code, found.json()) == (200, expected)
    order: dict[str, Any] = query.get(f"/v1/orders/{timed_out}").json()
    assert (order["status"], order["version"]) == ("timeout", 2)


def test_they_are_read_after_they_have_moved(
    edge: Edge, timed_out: str, command: CheckedClient, query: CheckedClient
) -> None:
    """And beside those that came since, in the order in which they came."""
    tiers = edge.bench.tiers
    patch(edge, command, timed_out, "success")
    mover = LateMover(
        tiers.late,
        tiers.late_archive,
        clock=edge.bench.clock,
        metrics=edge.bench.metrics,
        settings=LateMoverSettings(),
    )
    while mover.step(None):
        pass
    assert tiers.late.load([timed_out]) == [[]]
    edge.bench.clock.advance(1)
    patch(edge, command, timed_out, "failed", "reversed")
    found = late_results(edge, query, timed_out).json()["late_results"]
    assert [(late["status"], late["status_reason"]) for late in found] == [("success", None), ("failed", "reversed")]


def test_an_order_without_any_has_none(edge: Edge, timed_out: str, query: CheckedClient) -> None:
    """That is 200; no order at all is 404, and no order id 400."""
    found = late_results(edge, query, timed_out)
    assert (found.status_code, found.json()) == (200, {"late_results": []})
    assert late_results(edge, query, NOBODYS).status_code == 404
    assert late_results(edge, query, "no-id").status_code == 400


def test_only_the_gateway_may_ask(edge: Edge, timed_out: str, query: CheckedClient) -> None:
    """A merchant is refused before a tier is asked, whoever's the order is; without a key it is 401."""
    for key, status in ((edge.acme, 403), (edge.rival, 403), ("nobody's", 401)):
        for order_id in (timed_out, NOBODYS):
            assert query.get(f"/v1/orders/{order_id}/late-results", headers=as_key(key)).status_code == status
    assert edge.bench.late.calls == []


@pytest.mark.parametrize("tier", ["late", "late_archive"])
def test_with_a_database_away_it_is_503(
    edge: Edge, timed_out: str, command: CheckedClient, query: CheckedClient, tier: str
) -> None:
    """Never half of them, never 404."""
    patch(edge, command, timed_out, "success")
    getattr(edge.bench, tier).error = away("hot")
    for order_id in (timed_out, NOBODYS):
        response = late_results(edge, query, order_id)
        assert (response.status_code, response.json()["type"]) == (503, PROBLEM + "unavailable")
        assert response.headers["retry-after"]


def test_one_that_could_not_be_kept_is_503(edge: Edge, timed_out: str, command: CheckedClient) -> None:
    """And one of which nobody knows says so; in a batch the item alone. Asked again it is 409."""
    for error, kind in ((away("hot"), "unavailable"), (OutcomeUnknown("hot"), "outcome-unknown")):
        edge.bench.late.error = error
        response = patch(edge, command, timed_out, "success")
        assert (response.status_code, response.json()["type"]) == (503, PROBLEM + kind)
        open_: str = command.post("/v1/orders", json=new_order(kind)).json()["order_id"]
        changes = [{"order_id": order_id, "status": "success"} for order_id in (timed_out, open_)]
        batch = command.post("/v1/orders/changes", json={"changes": changes}, headers=as_key(edge.gateway))
        assert [result["status"] for result in batch.json()["results"]] == [503, 200]
    edge.bench.late.error = None
    assert patch(edge, command, timed_out, "success").status_code == 409
