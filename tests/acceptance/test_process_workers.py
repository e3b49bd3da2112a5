"""Several processes behind one port: ready together, replaced one by one, and never orphaned."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.server import PATIENCE_S, PATIENTLY, Server, until


def new_order(number: int) -> dict[str, Any]:
    """A creation's body."""
    return {"merchant_ref": f"r-{number}", "amount": 1, "currency": "EUR", "payment_method": "card"}


def worker_pids(server: Server) -> list[int]:
    """The workers' processes, as /status has them."""
    return [worker["pid"] for worker in server.admin("/status").json["workers"] if "pid" in worker]


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even as a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def metric(server: Server, sample: str) -> float | None:
    """A sample of /metrics."""
    for line in server.admin("/metrics").body.decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name == sample:
            return float(value)
    return None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Both API servers, two workers; their temporary files are in `tmp_path`."""
    (tmp_path / "tmp").mkdir()
    with Server(
        tmp_path / "data", "command", "query", "--workers", "2", settings={"TMPDIR": str(tmp_path / "tmp")}
    ) as started:
        yield started


def test_ready_means_all_workers_and_metrics_are_summed(server: Server, tmp_path: Path) -> None:
    """Each worker beats for itself; what they count is one number; nothing of theirs is left at the end."""
    assert len(set(worker_pids(server))) == 2
    status = server.admin("/status").json
    assert sorted(daemon["name"] for daemon in status["daemons"]) == ["command", "command", "query", "query"]
    assert len({daemon["instance"] for daemon in status["daemons"]}) == 4
    for number in range(12):
        assert server.command("POST", "/v1/orders", body=new_order(number)).status == 201
    assert metric(server, 'orderctl_creates_total{outcome="created"}') == 12
    until(
        lambda: (metric(server, 'orderctl_transactions_total{tier="mysql"}') or 0) >= 12,
        seconds=PATIENCE_S,
        what="the workers' transactions are counted",
    )
    assert server.stop() == 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_killed_worker_comes_back_while_the_other_serves(server: Server) -> None:
    """/readyz says that one is missing, and then that all are there."""
    first, second = worker_pids(server)
    os.kill(first, signal.SIGKILL)
    assert server.command("POST", "/v1/orders", body=new_order(1)).status == 201
    until(lambda: first not in worker_pids(server), seconds=PATIENCE_S, what="the supervisor has noticed")
    until(lambda: len(worker_pids(server)) == 2, seconds=PATIENCE_S, what="a new worker is there")
    assert second in worker_pids(server)
    until(lambda: server.admin("/readyz").status == 200, seconds=PATIENCE_S, what="ready again")
    assert server.stop() == 0


def test_a_worker_that_was_terminated_is_replaced_too(server: Server) -> None:
    """It drains by itself, as an operator may want of a single one."""
    first, _ = worker_pids(server)
    os.kill(first, signal.SIGTERM)
    until(lambda: is_gone(first), seconds=PATIENCE_S, what="it has drained")
    until(lambda: len(set(worker_pids(server)) - {first}) == 2, seconds=PATIENCE_S, what="a new worker is there")
    assert server.stop() == 0


def test_no_worker_outlives_a_killed_supervisor(server: Server, tmp_path: Path) -> None:
    """SIGKILL gives it no chance to say anything: the workers see their stdin end."""
    pids = worker_pids(server)
    created = server.command("POST", "/v1/orders", body=new_order(1)).json
    server.kill()
    until(lambda: all(map(is_gone, pids)), seconds=PATIENCE_S, what="all workers are gone")
    assert list((tmp_path / "tmp").iterdir()) == []
    with Server(server.data_dir) as again:
        assert again.query("GET", f"/v1/orders/{created['order_id']}", Prefer=PATIENTLY).json == created
