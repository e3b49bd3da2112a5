"""Starting: what is refused with one clear line, and how systemd is told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.daemons.manifest import names
from orderctl.daemons.sockets import listen
from orderctl.stores.tiers import open_tiers
from tests.acceptance.server import PATIENCE_S, PATIENTLY, STOP_S, Server, until


@pytest.fixture
def taken() -> Iterator[str]:
    """An address where somebody listens already."""
    with closing(listen("127.0.0.1:0", setting="", backlog=16)) as sock:
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("name", ["COMMAND", "QUERY", "ADMIN"])
def test_a_port_in_use_is_one_clear_line(tmp_path: Path, taken: str, name: str) -> None:
    """It names the address and the setting; exit code 2, no traceback."""
    server = Server(tmp_path / "data", settings={f"ORDERCTL_{name}__BIND": taken})
    server.spawn()
    assert server.process is not None
    assert server.process.wait(STOP_S) == 2
    assert f"cannot listen at {taken}: address already in use" in server.log
    assert f"[{name.lower()}] bind" in server.log
    assert "Traceback" not in server.log
    assert not list(tmp_path.glob("*.ready"))


def test_one_daemon_alone_has_the_others_null(tmp_path: Path) -> None:
    """The ready file names every member; only what was asked for has an address."""
    with Server(tmp_path / "data", "query") as server:
        assert server.process is not None
        assert server.ready["pid"] == server.process.pid
        assert server.ready["command"] is None
        assert server.ready["query"].startswith("http://127.0.0.1:")
        assert server.ready["data_dir"] == str(tmp_path / "data")
        assert server.admin("/readyz").status == 200
        assert server.stop() == 0


def test_two_processes_share_a_data_directory(tmp_path: Path) -> None:
    """Each with one server: what the one creates the other reads."""
    body = {"merchant_ref": "r", "amount": 1, "currency": "EUR", "payment_method": "card"}
    with Server(tmp_path / "data", "command") as command, Server(tmp_path / "data", "query") as query:
        created = command.command("POST", "/v1/orders", body=body).json
        assert query.query("GET", f"/v1/orders/{created['order_id']}", Prefer=PATIENTLY).json == created
        assert command.stop() == query.stop() == 0


def test_a_clean_end_leaves_no_heartbeat(tmp_path: Path) -> None:
    """While it runs, the registry knows it and where to ask it, its API or else its admin server, from the moment it is ready."""
    with Server(tmp_path / "data") as server, closing(open_tiers(Config(), tmp_path / "data", SystemClock())) as tiers:
        beats = {beat.daemon: (beat.state, beat.address) for beat in tiers.registry.heartbeats()}
        where = {name: server.ready.get(name) or server.ready["admin"] for name in names()}
        assert beats == {name: ("running", where[name]) for name in names()}
        assert server.stop() == 0
        assert tiers.registry.heartbeats() == []


@pytest.mark.parametrize("arguments", [[], ["command", "query", "--workers", "2"]], ids=["one", "workers"])
def test_systemd_hears_ready_the_watchdog_and_stopping(tmp_path: Path, arguments: list[str]) -> None:
    """Over a socket like systemd's, and from the main process alone."""
    path = tmp_path / "notify"
    messages: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(0)

        def has_said(what: str, times: int = 1) -> bool:
            try:
                while True:
                    messages.append(sock.recv(4096).decode())
            except BlockingIOError:
                return sum(what in message for message in messages) >= times

        settings = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        server = Server(tmp_path / "data", *arguments, settings=settings)
        with ExitStack() as stack:
            stack.push(server)
            server.spawn()
            until(lambda: has_said("READY=1"), seconds=PATIENCE_S, what="READY=1")
            until(lambda: has_said("WATCHDOG=1", times=5), seconds=PATIENCE_S, what="the watchdog is fed")
            assert not has_said("STOPPING=1")
            assert server.stop() == 0
        assert has_said("STOPPING=1")
        assert not has_said("READY=1", times=2)


def test_logs_are_json_with_the_daemon_in_them(tmp_path: Path) -> None:
    """Every line that is not the introduction is an object with time, level and event."""
    with Server(tmp_path / "data") as server:
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert {"starting", "ready", "stopping", "stopped"} <= {line["event"] for line in lines}
    assert all({"ts", "level", "event"} <= set(line) for line in lines)
