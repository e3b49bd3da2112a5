"""Orders that have moved to the archive, over HTTP: answered as before the move, and 503 while it cannot be asked."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from orderctl.services.archiving import ArchiverSettings, Mover
from tests.services.tiers import away
from tests.web.edge import CheckedClient, Edge, as_key, new_order

PROBLEM = "urn:orderctl:problem:"


@pytest.fixture
def archived(edge: Edge, command: CheckedClient) -> dict[str, Any]:
    """An order that has ended and has moved; the cache has forgotten it."""
    bench = edge.bench
    order_id = command.post("/v1/orders", json=new_order()).json()["order_id"]
    ended: dict[str, Any] = patch(edge, command, order_id, "success").json()
    mover = Mover(
        bench.tiers.hot, bench.tiers.archive, clock=bench.clock, metrics=bench.metrics, settings=ArchiverSettings()
    )
    while mover.step(None):
        pass
    assert bench.tiers.hot.load([order_id]) == [None]
    bench.tiers.cache.invalidate([order_id])
    return ended


def patch(edge: Edge, client: CheckedClient, order_id: str, status: str, **headers: str) -> httpx2.Response:
    """The gateway's change."""
    headers = as_key(edge.gateway) | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.patch(f"/v1/orders/{order_id}", json={"status": status}, headers=headers)


def test_a_replay_is_the_archived_order(archived: dict[str, Any], command: CheckedClient) -> None:
    """200 with every header of a replay; another body is 422."""
    response = command.post("/v1/orders", json=new_order())
    assert (response.status_code, response.json()) == (200, archived)
    assert response.headers["idempotent-replayed"] == "true"
    assert response.headers["etag"] == f'"{archived["version"]}"'
    assert response.headers["location"] == f"/v1/orders/{archived['order_id']}"
    assert command.post("/v1/orders", json=new_order(amount=1)).status_code == 422


def test_a_change_is_decided_on_the_archived_order(
    archived: dict[str, Any], edge: Edge, command: CheckedClient
) -> None:
    """The same words 200, others 409, another version 412; both say how it stands. Somebody else's is 404."""
    order_id = archived["order_id"]
    same = patch(edge, command, order_id, "success", If_Match='"1"')
    assert (same.status_code, same.json()) == (200, archived)
    for response, status in (
        (patch(edge, command, order_id, "failed"), 409),
        (patch(edge, command, order_id, "failed", If_Match='"1"'), 412),
    ):
        problem = response.json()
        assert response.status_code == status
        assert (problem["current_status"], problem["current_version"]) == ("success", archived["version"])
    rival = command.patch(f"/v1/orders/{order_id}", json={"status": "cancelled"}, headers=as_key(edge.rival))
    assert rival.status_code == 404


def test_with_the_archive_away_a_single_order_is_unavailable(
    archived: dict[str, Any], edge: Edge, command: CheckedClient
) -> None:
    """503 with `Retry-After`: it is neither not found nor made a second time."""
    edge.bench.archive.error = away("cassandra")
    for response in (
        command.post("/v1/orders", json=new_order()),
        patch(edge, command, archived["order_id"], "failed"),
        patch(edge, command, archived["order_id"], "success"),
    ):
        assert (response.status_code, response.json()["type"]) == (503, PROBLEM + "unavailable")
        assert response.headers["retry-after"]
    edge.bench.archive.error = None
    assert command.post("/v1/orders", json=new_order()).json() == archived


def test_with_the_archive_away_only_items_that_need_it_are_unavailable(
    archived: dict[str, Any], edge: Edge, command: CheckedClient
) -> None:
    """The others of their batch are answered."""
    edge.bench.archive.error = away("cassandra")
    orders = [new_order(), new_order("r-2"), new_order(amount=1)]
    results = command.post("/v1/orders/batch", json={"orders": orders}).json()["results"]
    assert [result["status"] for result in results] == [503, 201, 422]
    assert results[0]["problem"]["type"] == PROBLEM + "unavailable"
    order_ids = [archived["order_id"], results[1]["order"]["order_id"]]
    changes = [{"order_id": order_id, "status": "failed"} for order_id in order_ids]
    response = command.post("/v1/orders/changes", json={"changes": changes}, headers=as_key(edge.gateway))
    results = response.json()["results"]
    assert [result["status"] for result in results] == [503, 200]
    assert results[0]["problem"]["type"] == PROBLEM + "unavailable"


def test_it_is_looked_up_in_the_archive(archived: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """By id and by reference, and `Cache-Status` says so; with the archive away it is 503, never 404."""
    path = f"/v1/orders/{archived['order_id']}"
    for target in (path, "/v1/orders?merchant_ref=r-1"):
        found = query.get(target)
        assert (found.status_code, found.json()) == (200, archived)
        assert found.headers["cache-status"] == "redis; fwd=miss; detail=cassandra"
        edge.bench.tiers.cache.invalidate([archived["order_id"]])
    edge.bench.archive.error = away("cassandra")
    assert [query.get(p).status_code for p in (path, "/v1/orders?merchant_ref=r-1")] == [503, 503]
    assert query.post("/v1/orders/lookup", json={"order_ids": [archived["order_id"]]}).status_code == 503
