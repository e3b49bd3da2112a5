"""GET /v1/orders/{order_id}, GET /v1/orders?merchant_ref= and POST /v1/orders/lookup."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from orderctl.ids import new_order_id
from orderctl.services.answers import Answer, Pending
from orderctl.services.askers import Lookup
from orderctl.services.query import QueryService
from orderctl.stores.hot import Ref
from tests.services.tiers import Failing, away
from tests.web.edge import DOCUMENTS, CheckedClient, Edge, as_key, new_order, pointers

PATIENCE_S = 30.0
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
        self.quick = service.quick
        self.left = pending

    def look_up(self, lookups: Sequence[Lookup]) -> list[Answer]:
        self.left -= 1
        return [Pending() for _ in lookups] if self.left >= 0 else self._service.look_up(lookups)


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


class Held:
    """A database whose loads of one order wait until they are let go."""

    def __init__(self, store: Any, order_id: str) -> None:
        self._store = store
        self._order_id = order_id
        self._gate = threading.Event()

    def let_go(self) -> None:
        self._gate.set()

    def load(self, order_ids: Sequence[str]) -> Any:
        assert self._order_id not in order_ids or self._gate.wait(PATIENCE_S)
        return self._store.load(order_ids)


@pytest.fixture
def held(order: dict[str, Any], edge: Edge) -> Iterator[Held]:
    """A hot store that must be asked for the order, and holds on to it."""
    edge.bench.tiers.cache.invalidate([order["order_id"]])
    database = Held(edge.bench.tiers.hot, order["order_id"])
    yield database
    database.let_go()


@pytest.fixture
def loading(edge: Edge, held: Held) -> Iterator[CheckedClient]:
    """A client of a query server that loads in threads of its own."""
    with (
        ThreadPoolExecutor(4) as executor,
        CheckedClient(edge.query_app(edge.bench.query(hot=held, executor=executor)), None, edge.acme) as client,
    ):
        yield client
        held.let_go()


def test_a_look_up_waits_for_a_load_in_its_own_server(
    order: dict[str, Any], held: Held, loading: CheckedClient
) -> None:
    """Without being asked to; meanwhile others are answered."""
    with ThreadPoolExecutor(3) as readers:
        target = f"/v1/orders/{order['order_id']}"
        waiting = [readers.submit(loading.get, target) for _ in range(3)]
        assert loading.get(f"/v1/orders/{ABSENT}").status_code == 404
        assert loading.get("/livez").status_code == 200
        assert not any(future.done() for future in waiting)
        held.let_go()
        answers = [future.result(PATIENCE_S) for future in waiting]
    assert {(answer.status_code, answer.headers["cache-status"]) for answer in answers} == {
        (200, "redis; fwd=miss; detail=mysql")
    }


def test_a_load_is_waited_for_as_long_as_its_lease_lives(
    order: dict[str, Any], held: Held, loading: CheckedClient
) -> None:
    """Then the look-up is pending, of one order and of many; what was loaded after all is there for the next."""
    target = f"/v1/orders/{order['order_id']}"
    pending = loading.get(target)
    many = loading.post("/v1/orders/lookup", json={"order_ids": [order["order_id"], ABSENT]})
    assert (pending.status_code, pending.headers["retry-after"]) == (202, "1")
    assert [result["lookup"] for result in many.json()["results"]] == ["pending", "not_found"]
    held.let_go()
    assert loading.get(target, headers={"Prefer": "wait=1"}).json() == order


def test_memory_answers_and_says_so(order: dict[str, Any], edge: Edge) -> None:
    """`Cache-Status: near; hit`, with the same bytes and headers as the cache's answer."""
    near = edge.bench.memory()
    near.turn_on(float("inf"))
    with CheckedClient(edge.query_app(edge.bench.query(near)), DOCUMENTS["query"], edge.acme) as client:
        target, same = f"/v1/orders/{order['order_id']}", {"X-Request-Id": "same"}
        cached, copied = client.get(target, headers=same), client.get(target, headers=same)
        not_modified = client.get(target, headers={"If-None-Match": '"1"'})
    assert (cached.headers.pop("cache-status"), copied.headers.pop("cache-status")) == ("redis; hit", "near; hit")
    assert (copied.content, copied.headers) == (cached.content, cached.headers)
    assert (not_modified.status_code, not_modified.headers["cache-status"]) == (304, "near; hit")


def test_an_archive_that_hangs_keeps_no_reference_of_an_open_order_waiting(order: dict[str, Any], edge: Edge) -> None:
    """Only those that the hot store does not know wait for it."""
    asked, gate = threading.Event(), threading.Event()

    class Hanging:
        """The archive, which does not answer yet."""

        def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
            asked.set()
            assert gate.wait(PATIENCE_S)
            return [None] * len(refs)

    edge.bench.archive = cast("Failing", Hanging())
    with ThreadPoolExecutor(1) as reader, CheckedClient(edge.query_app(), None, edge.acme) as client:
        try:
            unknown = reader.submit(client.get, "/v1/orders", params={"merchant_ref": "unknown"})
            assert asked.wait(PATIENCE_S)
            assert client.get("/v1/orders", params={"merchant_ref": order["merchant_ref"]}).json() == order
            assert not unknown.done()
        finally:
            gate.set()
        assert unknown.result(PATIENCE_S).status_code == 404
