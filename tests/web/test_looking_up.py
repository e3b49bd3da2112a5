"""GET /v1/orders/{order_id}, GET /v1/orders?merchant_ref= and POST /v1/orders/lookup."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from orderctl.ids import new_order_id
from orderctl.services.answers import Answer, Failed, Pending
from orderctl.services.query import Lookup, QueryService
from tests.services.tiers import away
from tests.web.edge import DOCUMENTS, CheckedClient, Edge, as_key, new_order, pointers

ABSENT = "0189abcd-0000-7000-8000-000000000000"


@pytest.fixture
def order(command: CheckedClient) -> dict[str, Any]:
    created: dict[str, Any] = command.post("/v1/orders", json=new_order(metadata={"ä": "ü"})).json()
    return created


def test_an_order_is_read_as_it_was_created(order: dict[str, Any], query: CheckedClient) -> None:
    """The same values, its ETag, and the tier that answered."""
    response = query.get(f"/v1/orders/{order['order_id']}")
    assert (response.status_code, response.json()) == (200, order)
    assert response.headers["etag"] == f'"{order["version"]}"'
    assert response.headers["cache-status"] == "redis; hit"


def test_the_database_answers_where_the_cache_cannot(order: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """Cache-Status tells a miss from a cache that is away."""
    edge.bench.tiers.cache.invalidate([order["order_id"]])
    miss = query.get(f"/v1/orders/{order['order_id']}")
    edge.bench.cache.error = away("redis")
    bypass = query.get(f"/v1/orders/{order['order_id']}")
    assert miss.headers["cache-status"] == "redis; fwd=miss; detail=mysql"
    assert bypass.headers["cache-status"] == "redis; fwd=bypass; detail=mysql"


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [('"1"', 304), ('W/"1"', 304), ('"9", W/"1"', 304), ("*", 304), ('"2"', 200), ("1", 200), ('"a,b", "1"', 304)],
)
def test_if_none_match(order: dict[str, Any], query: CheckedClient, if_none_match: str, status: int) -> None:
    """Compared weakly; 304 has no body, and the ETag and Cache-Status of a 200."""
    response = query.get(f"/v1/orders/{order['order_id']}", headers={"If-None-Match": if_none_match})
    assert (response.status_code, response.headers["etag"], response.headers["cache-status"]) == (
        status,
        '"1"',
        "redis; hit",
    )
    assert bool(response.content) == (status == 200)


def test_min_version_wins_over_if_none_match(order: dict[str, Any], query: CheckedClient) -> None:
    """A version that is not there yet is 202, whatever the reader has; one that is there is answered as always."""
    url = f"/v1/orders/{order['order_id']}"
    pending = query.get(url, params={"min_version": 2}, headers={"If-None-Match": '"1"'})
    assert (pending.status_code, pending.json(), pending.headers["retry-after"]) == (202, {"lookup": "pending"}, "1")
    assert "cache-status" not in pending.headers
    assert query.get(url, params={"min_version": 1}).status_code == 200


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "x", "", "01", "9007199254740992", "1" * 5000, "٣"])
def test_a_min_version_that_is_none_is_refused(query: CheckedClient, text: str) -> None:
    """400 outside 1 … 2^53-1."""
    assert query.get(f"/v1/orders/{ABSENT}", params={"min_version": text}).status_code == 400


@pytest.mark.parametrize("search", ["min_verison=2", "min_version=1&min_version=2", "merchant_ref=r"])
def test_parameters_that_are_not_understood_are_refused(query: CheckedClient, search: str) -> None:
    """A misspelt min_version passed over would answer with an old order."""
    assert query.get(f"/v1/orders/{ABSENT}?{search}").status_code == 400


def test_somebody_elses_order_is_as_none(order: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """The same 404 in every header and byte, from the cache and from the database, and none has Cache-Status."""
    headers = as_key(edge.rival) | {"X-Request-Id": "same"}
    cached = query.get(f"/v1/orders/{order['order_id']}", headers=headers)
    edge.bench.tiers.cache.invalidate([order["order_id"]])
    loaded = query.get(f"/v1/orders/{order['order_id']}", headers=headers)
    none = query.get(f"/v1/orders/{ABSENT}", headers=headers)
    conditional = query.get(f"/v1/orders/{order['order_id']}", headers=headers | {"If-None-Match": '"1"'})
    assert "cache-status" not in none.headers
    for response in (cached, loaded, conditional):
        assert (response.status_code, response.content, response.headers) == (404, none.content, none.headers)


def test_the_gateway_reads_any_order(order: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """Whoever created it."""
    assert query.get(f"/v1/orders/{order['order_id']}", headers=as_key(edge.gateway)).json() == order


def test_an_id_that_is_none_is_refused(edge: Edge, query: CheckedClient) -> None:
    """400 without touching a tier; 60 s of the future are allowed for clocks that differ."""
    now_ms = edge.bench.clock.now_us() // 1000
    ahead, too_far = (new_order_id(now_ms + ms, 0, edge.bench.random) for ms in (59_000, 61_000))
    for order_id in ("x", "%FF", "lookup", too_far):
        assert query.get(f"/v1/orders/{order_id}").status_code == 400
    assert edge.bench.hot.calls + edge.bench.cache.calls == []
    assert query.get(f"/v1/orders/{ahead}").status_code == 404


def test_by_reference_is_as_by_id(order: dict[str, Any], query: CheckedClient) -> None:
    """Body, ETag, Cache-Status, 304 and min_version."""
    by_id = query.get(f"/v1/orders/{order['order_id']}", headers={"X-Request-Id": "same"})
    by_ref = query.get("/v1/orders", params={"merchant_ref": "r-1"}, headers={"X-Request-Id": "same"})
    assert (by_ref.content, by_ref.headers) == (by_id.content, by_id.headers)
    seen = query.get("/v1/orders", params={"merchant_ref": "r-1"}, headers={"If-None-Match": '"1"'})
    newer = query.get("/v1/orders", params={"merchant_ref": "r-1", "min_version": 2})
    assert (seen.status_code, newer.status_code) == (304, 202)


def test_by_reference_finds_the_merchants_own_only(order: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """404 for another merchant and for no such reference, 403 for the gateway, 400 for what is no reference."""
    own = {"merchant_ref": order["merchant_ref"]}
    assert query.get("/v1/orders", params=own, headers=as_key(edge.rival)).status_code == 404
    assert query.get("/v1/orders", params={"merchant_ref": "other"}).status_code == 404
    assert query.get("/v1/orders", params=own, headers=as_key(edge.gateway)).status_code == 403
    assert query.get("/v1/orders").status_code == 400
    for text in ("", "a b", "r" * 65, "a\n", "ä"):
        assert query.get("/v1/orders", params={"merchant_ref": text}).status_code == 400


def test_by_reference_any_visible_character_counts(command: CheckedClient, query: CheckedClient) -> None:
    """Percent-encoding brings every reference through."""
    ref = "a/b?c=d&e+f%20#~"
    created = command.post("/v1/orders", json=new_order(ref)).json()
    assert query.get("/v1/orders", params={"merchant_ref": ref}).json() == created


def test_many_are_looked_up_in_the_order_asked(order: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """Somebody else's is not found, twice the same is answered twice."""
    ids = [order["order_id"], ABSENT, order["order_id"].upper()]
    results = query.post("/v1/orders/lookup", json={"order_ids": ids}).json()["results"]
    assert results == [{"order": order}, {"order_id": ABSENT, "lookup": "not_found"}, {"order": order}]
    theirs = query.post("/v1/orders/lookup", json={"order_ids": ids[:1]}, headers=as_key(edge.rival))
    assert theirs.json()["results"] == [{"order_id": order["order_id"], "lookup": "not_found"}]


def test_a_wrong_id_refuses_the_whole_look_up(edge: Edge, query: CheckedClient) -> None:
    """400 with the pointers of all wrong ids."""
    response = query.post("/v1/orders/lookup", json={"order_ids": [ABSENT, "x", ABSENT, ""]})
    assert (response.status_code, pointers(response)) == (400, ["/order_ids/1", "/order_ids/3"])
    assert edge.bench.cache.calls == []


@pytest.mark.parametrize("body", [{}, {"order_ids": "x"}, {"order_ids": [1]}, {"order_ids": [ABSENT] * 501}])
def test_a_look_up_that_is_none_is_refused(query: CheckedClient, body: Any) -> None:
    """400 that points at the list."""
    assert pointers(query.post("/v1/orders/lookup", json=body)) == ["/order_ids"]


def test_an_empty_look_up_is_answered_empty(query: CheckedClient) -> None:
    """No ids: 200."""
    assert query.post("/v1/orders/lookup", json={"order_ids": []}).json() == {"results": []}


def test_with_both_tiers_away_nothing_is_known(order: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """503, never 404, for one order, by reference and for many."""
    edge.bench.hot.error = edge.bench.cache.error = away("mysql")
    for response in (
        query.get(f"/v1/orders/{order['order_id']}"),
        query.get("/v1/orders", params={"merchant_ref": "r-1"}),
        query.post("/v1/orders/lookup", json={"order_ids": [order["order_id"]]}),
    ):
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")


class LaterEach:
    """A query service that answers `pending` the first times."""

    def __init__(self, service: QueryService, pending: int) -> None:
        self._service = service
        self.left = pending

    def look_up(self, lookups: Sequence[Lookup]) -> list[Answer]:
        self.left -= 1
        return [Pending() for _ in lookups] if self.left >= 0 else self._service.look_up(lookups)

    def resolve(self, refs: Sequence[Any]) -> list[str | Failed | None]:
        return self._service.resolve(refs)


@pytest.mark.parametrize(
    ("prefer", "status", "applied"),
    [
        ("wait=1", 200, "wait=1"),
        ('respond-async, Wait = "1"; x=y', 200, "wait=1"),
        ("wait=99", 200, "wait=1"),
        ("wait=0", 202, "wait=0"),
        ("wait=soon", 202, None),
        ("return=minimal", 202, None),
    ],
)
def test_prefer_wait(order: dict[str, Any], edge: Edge, prefer: str, status: int, applied: str | None) -> None:
    """Asked to, the server waits instead of an early `pending`, up to its own limit, and says so."""
    service: Any = LaterEach(edge.bench.query(), pending=3)
    with CheckedClient(edge.query_app(service), DOCUMENTS["query"], edge.acme) as client:
        response = client.get(f"/v1/orders/{order['order_id']}", headers={"Prefer": prefer})
    assert (response.status_code, response.headers.get("preference-applied")) == (status, applied)


def test_many_wait_too(order: dict[str, Any], edge: Edge) -> None:
    """Without the preference a look-up of many tells which are pending."""
    service: Any = LaterEach(edge.bench.query(), pending=2)
    with CheckedClient(edge.query_app(service), None, edge.acme) as client:
        ids = {"order_ids": [order["order_id"]]}
        early = client.post("/v1/orders/lookup", json=ids)
        patient = client.post("/v1/orders/lookup", json=ids, headers={"Prefer": "wait=1"})
    assert early.json()["results"] == [{"order_id": order["order_id"], "lookup": "pending"}]
    assert patient.json()["results"] == [{"order": order}]


def test_waiting_reads_what_is_written_meanwhile(order: dict[str, Any], edge: Edge, query: CheckedClient) -> None:
    """A reader that waits for its own write is answered with it."""
    order_id = order["order_id"]

    def write() -> None:
        with CheckedClient(edge.command_app(), None, edge.gateway) as gateway:
            gateway.patch(f"/v1/orders/{order_id}", json={"status": "success"})

    writer = threading.Timer(0.05, write)
    writer.start()
    response = query.get(f"/v1/orders/{order_id}", params={"min_version": 2}, headers={"Prefer": "wait=1"})
    writer.join()
    assert (response.status_code, response.json()["status"]) == (200, "success")


def test_a_server_that_stops_waits_for_nothing(order: dict[str, Any], edge: Edge) -> None:
    """A reader who would wait is told `pending` at once, so that draining takes no longer than a look-up."""
    service: Any = LaterEach(edge.bench.query(), pending=10**6)
    with CheckedClient(edge.query_app(service), DOCUMENTS["query"], edge.acme) as client:
        edge.probe.unready = ["draining"]
        response = client.get(f"/v1/orders/{order['order_id']}", headers={"Prefer": "wait=1"})
    assert response.status_code == 202
    assert service.left == 10**6 - 1
