"""What every route has: keys, request ids, problems for what is not offered, metrics, health; and the admin port."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from orderctl.order import Role
from orderctl.services.keys import digest_of
from tests.web.edge import CheckedClient, Edge, new_order

ABSENT = "0189abcd-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic {key}",
        "{key}",
        "Bearer {key} x",
        "Bearer\t{key}",
        "Bearer {key}x",
    ],
)
def test_no_key_or_a_wrong_one(edge: Edge, command: CheckedClient, authorization: str) -> None:
    """401 with a challenge, before the body is looked at."""
    headers = {"Authorization": authorization.format(key=edge.acme)}
    response = command.post("/v1/orders", content=b"{", headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_every_operation_asks_for_a_key(edge: Edge, command: CheckedClient, query: CheckedClient) -> None:
    """No route of /v1 answers without one."""
    for client, method, path in (
        (command, "POST", "/v1/orders"),
        (command, "POST", "/v1/orders/batch"),
        (command, "POST", "/v1/orders/changes"),
        (command, "PATCH", f"/v1/orders/{ABSENT}"),
        (query, "GET", f"/v1/orders/{ABSENT}"),
        (query, "GET", "/v1/orders?merchant_ref=r"),
        (query, "POST", "/v1/orders/lookup"),
    ):
        assert client.request(method, path, headers={"Authorization": "Bearer x"}).status_code == 401


def test_the_scheme_is_read_in_any_case(edge: Edge, command: CheckedClient) -> None:
    """`bearer` is as good (RFC 9110)."""
    headers = {"Authorization": f"bearer  {edge.acme}"}
    assert command.post("/v1/orders", json=new_order(), headers=headers).status_code == 201


def test_two_keys_are_none(edge: Edge, command: CheckedClient) -> None:
    """Which of them counts is nothing to guess at."""
    headers = [("Authorization", f"Bearer {edge.acme}"), ("Authorization", f"Bearer {edge.rival}")]
    del command.headers["Authorization"]
    assert command.request("POST", "/v1/orders", json=new_order(), headers=headers).status_code == 401


def test_a_revoked_key_is_none(edge: Edge, command: CheckedClient) -> None:
    """From the next reading of the keys on."""
    registry = edge.bench.tiers.registry
    secret = edge.add_key(Role.MERCHANT, "acme")
    (key,) = (key for key in registry.api_keys() if key.digest == digest_of(secret))
    registry.revoke_key(key.key_id, now_us=edge.bench.clock.now_us())
    edge.keys.reload()
    headers = {"Authorization": f"Bearer {secret}"}
    assert command.post("/v1/orders", json=new_order(), headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("asked", "is_kept"), [("a", True), ("!~" * 32, True), ("x" * 65, False), ("", False), ("a b", False), ("ä", False)]
)
def test_request_ids(command: CheckedClient, asked: str, *, is_kept: bool) -> None:
    """The caller's is kept if it is 1-64 visible ASCII; the problem says it too."""
    response = command.get("/nowhere", headers={b"X-Request-Id": asked.encode("latin-1")})
    assert (response.headers["x-request-id"] == asked) == is_kept
    assert response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/orders", "POST"),
        ("DELETE", f"/v1/orders/{ABSENT}", "PATCH"),
        ("GET", "/v1/orders/batch", "POST"),
        ("OPTIONS", "/v1/orders", "POST"),
        ("POST", "/livez", "GET, HEAD"),
    ],
)
def test_other_methods_are_not_offered(command: CheckedClient, method: str, path: str, allow: str) -> None:
    """405 as a problem document that names those that are."""
    response = command.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/orders/", "/v1/orders/a/b", f"/v1/orders/{ABSENT}/late-results/", "/metrics"]
)
def test_other_paths_are_not_found(command: CheckedClient, query: CheckedClient, path: str) -> None:
    """404 as a problem document, no redirects; what is not built is not offered."""
    for client in (command, query):
        response = client.get(path, follow_redirects=False)
        assert (response.status_code, response.json()["type"]) == (404, "urn:orderctl:problem:not-found")


def test_head_is_get_without_the_body(command: CheckedClient, query: CheckedClient) -> None:
    """With the same headers."""
    order = command.post("/v1/orders", json=new_order()).json()
    url, same = f"/v1/orders/{order['order_id']}", {"X-Request-Id": "same"}
    assert query.head(url, headers=same).headers == query.get(url, headers=same).headers


class Faulty:
    """A service whose calls fail as nobody expected."""

    def create(self, requests: Any) -> Any:
        raise ZeroDivisionError("secret")

    change = create


def test_a_fault_is_a_problem_and_a_line_in_the_log(edge: Edge) -> None:
    """500 with no word of what happened; the log has it, under the same id."""
    with structlog.testing.capture_logs() as log, CheckedClient(edge.command_app(Faulty()), None, edge.acme) as client:
        response = client.post("/v1/orders", json=new_order(), headers={"X-Request-Id": "id-1"})
    assert (response.status_code, response.json()["type"]) == (500, "urn:orderctl:problem:internal-error")
    assert "secret" not in response.text
    assert "Zero" not in response.text
    (line,) = log
    assert (line["request_id"], type(line["exc_info"])) == ("id-1", ZeroDivisionError)
    assert edge.bench.counted("http_requests_total", route="/v1/orders", status="500") == 1


def test_requests_are_counted_by_route(edge: Edge, command: CheckedClient) -> None:
    """By the route's template; paths that nobody has share one label."""
    command.patch(f"/v1/orders/{ABSENT}", json={"status": "cancelled"})
    command.get("/v1/orders")
    command.get("/a")
    command.get("/b")
    counted = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for metric in edge.bench.metrics.http_requests.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {("/v1/orders/{order_id}", "404"): 1, ("/v1/orders", "405"): 1, ("unmatched", "404"): 2}
    assert edge.bench.counted("request_seconds_count", route="unmatched") == 2
    assert edge.bench.counted("batch_orders_count", batch="change") == 1


def test_health(edge: Edge, command: CheckedClient, query: CheckedClient) -> None:
    """200, or 503 with the reasons; no key is asked for."""
    for client in (command, query):
        del client.headers["Authorization"]
        assert (client.get("/livez").status_code, client.get("/readyz").status_code) == (200, 200)
    edge.probe.lacking = ["command: hot: away"]
    for client in (command, query):
        assert client.get("/readyz").json() == {"status": "ok", "degraded": ["command: hot: away"]}
    edge.probe.unready = ["mysql is away", "the clock is off"]
    edge.probe.ill = ["stuck"]
    for client in (command, query):
        ready, live = client.get("/readyz"), client.get("/livez")
        assert (ready.status_code, ready.json()["detail"]) == (503, "mysql is away; the clock is off")
        assert (live.status_code, live.json()["type"]) == (503, "urn:orderctl:problem:not-alive")


def test_the_admin_port(edge: Edge) -> None:
    """Health, metrics and status, without a key; nothing else."""
    with CheckedClient(edge.admin_app(), None, "") as client:
        assert client.get("/livez").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200
        metrics = client.get("/metrics")
        assert (metrics.content, metrics.headers["content-type"]) == (
            b"# metrics\n",
            "text/plain; version=0.0.4; charset=utf-8",
        )
        assert client.get("/status").json() == {"daemons": [], "tiers": []}
        assert client.get("/v1/orders").status_code == 404
