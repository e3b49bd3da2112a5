"""Taking leave: requests that were taken are answered, load balancers are warned, and impatience is obeyed."""

from __future__ import annotations

import http.client
import json
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.server import PATIENCE_S, PATIENTLY, STOP_S, Server, call, until

NEW_ORDER = {"merchant_ref": "r-1", "amount": 1, "currency": "EUR", "payment_method": "card"}
WORKERS = [[], ["command", "query", "--workers", "2"]]
FAST = {"ORDERCTL_HTTP__SERVER": "granian", "ORDERCTL_HTTP__EVENT_LOOP": "uvloop"}
KINDS = pytest.mark.parametrize(
    ("arguments", "kind"),
    [(WORKERS[0], {}), (WORKERS[1], {}), (WORKERS[0], FAST), (WORKERS[1], FAST)],
    ids=["one", "workers", "one-fast", "workers-fast"],
)


class HalfRequest:
    """A creation whose body has come by half: it is in flight for as long as the test wants."""

    def __init__(self, server: Server) -> None:
        self._body = json.dumps(NEW_ORDER).encode()
        where = urlsplit(server.ready["command"])
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE_S)
        self._connection.putrequest("POST", "/v1/orders")
        self._connection.putheader("Authorization", f"Bearer {server.key('demo')}")
        self._connection.putheader("Content-Type", "application/json")
        self._connection.putheader("Content-Length", str(len(self._body)))
        self._connection.endheaders(self._body[:20])
        # The server has taken it once it has taken a later one on the same socket's queue.
        call(server.ready["command"], "GET", "/livez")

    def finish(self) -> http.client.HTTPResponse:
        """Send the rest, and read the answer."""
        self._connection.send(self._body[20:])
        response = self._connection.getresponse()
        response.read()
        return response

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def is_refused(url: str) -> bool:
    """Whether nobody listens there any more."""
    try:
        call(url, "GET", "/livez")
    except ConnectionError:
        return True
    return False


def readyz(url: str) -> int:
    """The status of /readyz."""
    return call(url, "GET", "/readyz").status


@KINDS
def test_a_request_in_flight_is_answered_before_the_end(
    tmp_path: Path, arguments: list[str], kind: dict[str, str]
) -> None:
    """The listener closes at once, the answer comes with `Connection: close`, the exit code is 0, the ready file is gone."""
    with (
        Server(tmp_path / "data", *arguments, settings=kind) as server,
        closing(HalfRequest(server)) as request,
    ):
        assert server.process is not None
        server.process.terminate()
        until(lambda: is_refused(server.ready["command"]), seconds=PATIENCE_S, what="the listener is closed")
        answer = request.finish()
        assert answer.status == 201
        assert answer.headers["connection"] == "close"
        assert server.process.wait(STOP_S) == 0
        assert not list(tmp_path.glob("*.ready"))


@KINDS
def test_readyz_warns_before_the_listener_closes(tmp_path: Path, arguments: list[str], kind: dict[str, str]) -> None:
    """For `drain_delay` requests are still taken while /readyz, on every port, says 503."""
    settings = {"ORDERCTL_DAEMON__DRAIN_DELAY": "8s", **kind}
    with Server(tmp_path / "data", *arguments, settings=settings) as server:
        began_s = time.monotonic()
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        for name in ("admin", "command", "query"):
            until(lambda name=name: readyz(server.ready[name]) == 503, seconds=6, what=f"{name}: /readyz is 503")  # type: ignore[misc]
        answer = server.command("POST", "/v1/orders", body=NEW_ORDER)
        assert answer.status == 201
        assert answer.headers["connection"] == "close"
        assert server.process.wait(STOP_S) == 0
        assert time.monotonic() - began_s >= 8


@pytest.mark.parametrize("arguments", WORKERS, ids=["one", "workers"])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, arguments: list[str]) -> None:
    """Exit code 130, whatever is in flight; what was acknowledged is there after the next start."""
    with Server(tmp_path / "data", *arguments, settings={"ORDERCTL_DAEMON__DRAIN_DELAY": "1m"}) as server:
        created = server.command("POST", "/v1/orders", body=NEW_ORDER).json
        with closing(HalfRequest(server)):
            assert server.process is not None
            server.process.terminate()
            until(lambda: readyz(server.ready["admin"]) == 503, seconds=PATIENCE_S, what="draining")
            server.process.terminate()
            assert server.process.wait(STOP_S) == 130
        until(lambda: is_refused(server.ready["command"]), seconds=PATIENCE_S, what="no worker is left")
    with Server(tmp_path / "data") as server:
        assert server.query("GET", f"/v1/orders/{created['order_id']}", Prefer=PATIENTLY).json == created


@pytest.mark.parametrize("kind", [{}, FAST], ids=["default", "fast"])
def test_a_client_that_never_finishes_does_not_hold_the_end(tmp_path: Path, kind: dict[str, str]) -> None:
    """Beyond `stop_timeout` nobody is waited for."""
    settings = {"ORDERCTL_DAEMON__STOP_TIMEOUT": "500ms", "ORDERCTL_HTTP__BODY_TIMEOUT": "5m", **kind}
    with Server(tmp_path / "data", settings=settings) as server, closing(HalfRequest(server)):
        assert server.process is not None
        server.process.terminate()
        assert server.process.wait(STOP_S) == 0


def test_a_signal_while_it_starts_is_obeyed(tmp_path: Path) -> None:
    """As soon as the process holds its signals it ends in order, ready or not."""
    server = Server(tmp_path / "data", settings={"ORDERCTL_DAEMON__DRAIN_DELAY": "0s"})
    with server:
        assert server.stop() == 0
    with ExitStack() as stack:
        stack.push(server)
        server.spawn()
        until(lambda: server.log.count('"event": "starting"') == 2, seconds=PATIENCE_S, what="starting")
        assert server.stop() == 0
