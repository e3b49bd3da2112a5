"""`orderctl inspect --watch` and `--explain`, as programs read them."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.order import Status
from orderctl.stores.tiers import open_tiers
from tests.admin.one_order import OneOrder
from tests.cli.terminal import PROGRAM, SECONDS_MAX, Terminal, environment


@pytest.fixture
def data(terminal: Terminal) -> Path:
    """A data directory with nothing in it yet."""
    assert terminal.run("migrate").returncode == 0
    return terminal.folder / "orderctl-data"


def test_a_line_comes_when_something_has_changed(terminal: Terminal, data: Path) -> None:
    """And none only because time went by; Ctrl-C ends it with 130."""
    with closing(open_tiers(Config(), data, SystemClock())) as tiers:
        one = OneOrder(tiers, SystemClock())
        one.create()
        command = [*PROGRAM, "inspect", one.order.order_id, "--watch", "-o", "jsonl", "--timeout", f"{SECONDS_MAX}s"]
        with subprocess.Popen(
            command, cwd=terminal.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as watching:
            try:
                assert watching.stdout is not None
                seen = [json.loads(watching.stdout.readline())]
                for status in (Status.PROCESSING, Status.SUCCESS):
                    one.move(status)
                    seen.append(json.loads(watching.stdout.readline()))
                watching.send_signal(signal.SIGINT)
                rest, said = watching.communicate(timeout=SECONDS_MAX)
            finally:
                watching.kill()
    assert [found["tiers"]["hot"]["status"] for found in seen] == ["pending", "processing", "success"]
    assert (watching.returncode, rest, said) == (130, b"", b"")


def test_a_time_limit_ends_it(terminal: Terminal, data: Path) -> None:
    """Exit 5, after what was seen; without --watch there is one of 30 s."""
    with closing(open_tiers(Config(), data, SystemClock())) as tiers:
        one = OneOrder(tiers, SystemClock())
        one.create()
    done = terminal.run("inspect", one.order.order_id, "--watch", "-o", "jsonl", "--timeout", "8s")
    assert (done.returncode, len(done.stdout.splitlines())) == (5, 1)


def test_the_explanation_is_a_member_where_it_is_asked_for(terminal: Terminal, data: Path) -> None:
    """Steps and decisions; else the members are as ever."""
    with closing(open_tiers(Config(), data, SystemClock())) as tiers:
        one = OneOrder(tiers, SystemClock())
        one.create()
        one.pump()
    found: dict[str, Any] = json.loads(terminal.run("inspect", one.order.order_id, "--explain", "-o", "json").stdout)
    assert list(found["explanation"]) == ["steps", "decisions"]
    assert list(found["explanation"]["steps"][1]) == ["at", "tier", "what", "lag_ms", "rule"]
    assert found["explanation"]["steps"][1]["what"] == "version 1 (pending) was committed"
    plain = json.loads(terminal.run("inspect", one.order.order_id, "-o", "json").stdout)
    assert list(plain) == [name for name in found if name != "explanation"]
