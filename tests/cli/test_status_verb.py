"""`orderctl status` as people read it, and watched by a program."""

from __future__ import annotations

import json

from orderctl.admin.status import DaemonStatus, Status, TierStatus
from orderctl.cli.status import table
from tests.cli.terminal import Terminal

LONG = "hot: 2003: Can't connect to the server " * 5


def founded(terminal: Terminal) -> None:
    """A data directory in which nobody serves."""
    done = terminal.run("key", "create", "--merchant", "m", "--role", "merchant", ORDERCTL_DATA_DIR="data")
    assert done.returncode == 0


def test_errors_stand_below_the_tables_and_everything_fits() -> None:
    """Lags of long standing too; a daemon's words steer no terminal."""
    daemons = [
        DaemonStatus("cache-sync", "failing", 1_234_567, 86_400.123, f"{LONG}\x1b[2J"),
        DaemonStatus("expiry", "running"),
    ]
    shown = table(Status(daemons, [TierStatus("archive", "cassandra", "up", 1234.567)], 12_345))
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("TIER") < shown.index("parked messages: 12,345") < shown.index("cache-sync: hot: 2003")
    assert "\x1b" not in shown
    assert "parked messages: not known" in table(Status([], []))


def test_the_json_has_what_programs_rely_on(terminal: Terminal) -> None:
    """Exit 4, since no daemon runs."""
    founded(terminal)
    done = terminal.run("status", "-o", "json", ORDERCTL_DATA_DIR="data")
    found = json.loads(done.stdout)
    assert done.returncode == 4
    assert list(found) == ["daemons", "tiers", "parked"]
    assert set(found["daemons"][0]) == {"name", "state", "lag_events", "lag_s", "last_error"}
    assert set(found["tiers"][0]) == {"name", "kind", "state", "latency_ms"}


def test_a_program_watches_line_by_line(terminal: Terminal) -> None:
    """A line each time, until --timeout."""
    founded(terminal)
    done = terminal.run("status", "--watch", "-o", "jsonl", "--timeout", "3s", ORDERCTL_DATA_DIR="data")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 5
    assert len(lines) >= 2
    assert all(line["parked"] == 0 for line in lines)


def test_watching_what_was_not_started_yet(terminal: Terminal) -> None:
    """It may be started at any time."""
    done = terminal.run("status", "--watch", "-o", "jsonl", "--timeout", "1s", ORDERCTL_DATA_DIR="data")
    assert done.returncode == 5
    assert json.loads(done.stdout.splitlines()[0])["daemons"][0]["state"] == "stopped"
