"""Over real sockets: slow bodies, large bodies, half requests, and what goes together."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from orderctl.sections import HttpSection
from orderctl.services.answers import CreateAnswer
from orderctl.services.command import CommandService, CreateRequest
from orderctl.web.edge import EdgeSettings
from tests.acceptance.server import until
from tests.web.edge import Edge, new_order, open_edge
from tests.web.server import PATIENCE_S, SERVERS, RawResponse, connection, head, read_response, served

BODY_TIMEOUT_S = 0.5
MIB = 1 << 20


@pytest.fixture(params=list(SERVERS.values()), ids=list(SERVERS))
def http(request: pytest.FixtureRequest) -> HttpSection:
    """What serves."""
    chosen: HttpSection = request.param
    return chosen


@pytest.fixture
def port(edge: Edge, http: HttpSection) -> Iterator[int]:
    """A command server."""
    with served(edge.command_app(), http) as port:
        yield port


def post(client: socket.socket, key: str, body: bytes) -> RawResponse:
    client.sendall(head("/v1/orders", key, f"Content-Length: {len(body)}") + body)
    return read_response(client)


def test_a_trickled_body_is_given_up(http: HttpSection) -> None:
    """408 at the deadline although bytes keep coming, and the connection ends; nothing was written."""
    with open_edge(EdgeSettings(body_timeout_s=BODY_TIMEOUT_S)) as edge, served(edge.command_app(), http) as port:
        response, took_s = trickle(port, edge.acme)
        calls = list(edge.bench.hot.calls)
    assert (response.status, response.json()["type"]) == (408, "urn:orderctl:problem:request-timeout")
    assert took_s >= BODY_TIMEOUT_S
    assert response.headers["x-request-id"] == response.json()["request_id"]
    assert response.closed
    assert calls == []


def trickle(port: int, key: str) -> tuple[RawResponse, float]:
    """Send a body byte by byte until there is an answer: the answer, and after how many seconds it came."""
    with connection(port) as client:
        client.sendall(head("/v1/orders", key, "Content-Length: 1000") + b'{"merchant_ref": "')
        started_s = time.monotonic()
        ended = threading.Event()

        def send_on() -> None:
            while not ended.wait(0.02):
                try:
                    client.send(b"r")
                except OSError:
                    return

        sender = threading.Thread(target=send_on)
        sender.start()
        try:
            return read_response(client), time.monotonic() - started_s
        finally:
            ended.set()
            sender.join()


def test_a_body_that_says_it_is_too_large_is_refused_at_once(edge: Edge, port: int) -> None:
    """413 before a byte of it is read, and the connection ends."""
    with connection(port) as client:
        client.sendall(head("/v1/orders", edge.acme, f"Content-Length: {MIB + 1}"))
        response = read_response(client)
    assert (response.status, response.headers["content-type"]) == (413, "application/problem+json")
    assert response.closed


def test_the_answer_reaches_a_client_that_still_sends(edge: Edge, port: int) -> None:
    """The rest of the body is read for a moment: no reset takes the answer away."""
    with connection(port) as client:
        client.sendall(head("/v1/orders", edge.acme, f"Content-Length: {3 * MIB}"))
        client.sendall(b" " * 3 * MIB)
        assert read_response(client).status == 413
    with connection(port) as client:
        client.sendall(head("/v1/orders", "wrong", f"Content-Length: {MIB}"))
        client.sendall(b" " * MIB)
        assert read_response(client).status == 401


def test_a_body_of_unknown_length_is_counted(edge: Edge, port: int) -> None:
    """413 as soon as a chunked body is over the limit."""
    with connection(port) as client:
        client.sendall(head("/v1/orders", edge.acme, "Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(17):
            client.sendall(chunk)
        response = read_response(client)
    assert (response.status, response.closed) == (413, True)


def test_a_body_of_the_limit_is_read(edge: Edge, port: int) -> None:
    """1 MiB is allowed, with a length and without."""
    body = json.dumps(new_order()).encode().ljust(MIB)
    with connection(port) as client:
        assert post(client, edge.acme, body).status == 201
        client.sendall(head("/v1/orders", edge.acme, "Transfer-Encoding: chunked"))
        client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert read_response(client).status == 200


def test_an_early_answer_keeps_the_connection(edge: Edge, port: int) -> None:
    """A refused request whose body has come ends nothing: the next one on the connection is served."""
    with connection(port) as client:
        refused = post(client, "wrong", json.dumps(new_order()).encode())
        served_ = post(client, edge.acme, json.dumps(new_order()).encode())
    assert (refused.status, refused.closed, served_.status) == (401, False, 201)


@pytest.mark.parametrize("sent", ["", "Content-Length: 500\r\n", 'Content-Length: 500\r\n\r\n{"merchant_ref"'])
def test_a_client_that_leaves_half_way_harms_nobody(edge: Edge, port: int, sent: str) -> None:
    """Nothing is written, and others are served."""
    with connection(port) as client:
        client.sendall(head("/v1/orders", edge.acme)[:-2] + sent.encode())
    assert edge.bench.hot.calls == []
    with connection(port) as client:
        assert post(client, edge.acme, json.dumps(new_order()).encode()).status == 201


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"POST /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    ],
    ids=["no HTTP", "two lengths", "a large head"],
)
def test_what_is_no_request_is_refused_without_a_body(port: int, sent: bytes, status: int) -> None:
    """400 or 431, and the connection ends."""
    with connection(port) as client:
        client.sendall(sent)
        response = read_response(client)
    assert (response.status, response.body, response.closed) == (status, b"", True)


def test_a_body_that_is_no_http_is_refused(edge: Edge, port: int) -> None:
    """400 where the length of a chunk is no number, and the connection ends."""
    with connection(port) as client:
        client.sendall(head("/v1/orders", edge.acme, "Transfer-Encoding: chunked") + b"zz\r\n")
        response = read_response(client)
    assert (response.status, response.body, response.closed) == (400, b"", True)
    assert edge.bench.hot.calls == []


def by_threads(port: int, key: str, count: int) -> list[int]:
    """`count` clients, each with a thread and a connection of its own, that start together."""
    together = threading.Barrier(count)

    def one(number: int) -> int:
        with connection(port) as client:
            together.wait()
            return post(client, key, json.dumps(new_order(f"r-{number}")).encode()).status

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def by_one_loop(port: int, key: str, count: int) -> list[int]:
    """`count` requests of one asynchronous client, connecting as it goes."""

    async def main() -> list[int]:
        limits = httpx2.Limits(max_connections=count)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits, timeout=PATIENCE_S
        ) as client:
            sent = (client.post("/v1/orders", json=new_order(f"r-{number}")) for number in range(count))
            return [response.status_code for response in await asyncio.gather(*sent)]

    return asyncio.run(main())


@pytest.mark.parametrize("clients", [by_threads, by_one_loop])
def test_64_concurrent_creations_take_at_most_4_transactions(
    edge: Edge, clients: Callable[[int, str, int], list[int]]
) -> None:
    """Counted by the store. They are concurrent: the first is not written before the last has come."""
    held = Held(edge.bench.command())
    app, came = edge.command_app(held), count(1)

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and next(came) == 64:
            held.go_on.set()
        await app(scope, receive, send)

    with served(counted) as port:
        assert clients(port, edge.acme, 64) == [201] * 64
    assert edge.bench.tiers.hot.transactions <= 4


class Held:
    """A command service whose creations wait until they are let go."""

    def __init__(self, service: CommandService) -> None:
        self._service = service
        self.change = service.change
        self.taken, self.go_on = threading.Event(), threading.Event()

    def create(self, requests: Sequence[CreateRequest]) -> list[CreateAnswer]:
        self.taken.set()
        assert self.go_on.wait(PATIENCE_S)
        return self._service.create(requests)


def until_refused(port: int) -> None:
    """Wait until nobody listens on the port any more."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionError:
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"somebody still listens on {port}")


def test_a_client_that_does_not_wait_is_served_nonetheless(edge: Edge, http: HttpSection) -> None:
    """An order that was taken is written, whether its client hears of it or not."""
    held = Held(edge.bench.command())
    with served(edge.command_app(held), http) as port:
        with connection(port) as client:
            body = json.dumps(new_order()).encode()
            client.sendall(head("/v1/orders", edge.acme, f"Content-Length: {len(body)}") + body)
            assert held.taken.wait(PATIENCE_S)
        held.go_on.set()
        until(lambda: edge.bench.tiers.hot.transactions == 1, what="it is written")


def test_a_server_that_stops_finishes_what_it_has_taken(edge: Edge, http: HttpSection) -> None:
    """A creation that is at the database when the listener closes is answered, and is there."""
    held = Held(edge.bench.command())

    def let_go(port: int) -> None:
        until_refused(port)
        held.go_on.set()

    with ThreadPoolExecutor(2) as pool:
        with served(edge.command_app(held), http) as port:
            client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            answer = pool.submit(post, client, edge.acme, json.dumps(new_order()).encode())
            assert held.taken.wait(PATIENCE_S)
            releasing = pool.submit(let_go, port)
        releasing.result()
        assert answer.result().status == 201
        client.close()
    assert edge.bench.tiers.hot.transactions == 1


def test_50_identical_creations_make_one_order(edge: Edge, port: int) -> None:
    """One 201, and 49 replays of the same order."""
    together = threading.Barrier(50)

    def one(_: int) -> RawResponse:
        with connection(port) as client:
            together.wait()
            return post(client, edge.acme, json.dumps(new_order()).encode())

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(50)))
    assert sorted(answer.status for answer in answers) == [200] * 49 + [201]
    assert sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers) == 49
    assert len({answer.body for answer in answers}) == 1


def test_of_two_final_changes_one_wins(edge: Edge, port: int) -> None:
    """One 200 and one 409, whichever came first."""
    together = threading.Barrier(2)
    with connection(port) as client:
        order_id = post(client, edge.acme, json.dumps(new_order()).encode()).json()["order_id"]

    def one(status: str) -> int:
        body = json.dumps({"status": status}).encode()
        with connection(port) as client:
            together.wait()
            length = f"Content-Length: {len(body)}"
            client.sendall(head(f"/v1/orders/{order_id}", edge.gateway, length, method="PATCH") + body)
            return read_response(client).status

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(one, ("success", "failed"))) == [200, 409]
