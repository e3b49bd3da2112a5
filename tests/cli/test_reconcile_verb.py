"""`orderctl reconcile` on a data directory, without a server: what it prints, how it ends, and what it leaves alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.order import Status
from orderctl.stores.rows import id_bytes
from orderctl.stores.tiers import open_tiers
from tests.admin.many_orders import ManyOrders
from tests.cli.terminal import Terminal

QUICK = ("--lag", "10ms")
SHAPE = ["compared", "equal", "diverged", "absent", "unknown", "repaired", "seconds", "differences"]


@pytest.fixture
def data(terminal: Terminal) -> Path:
    """A data directory with nothing in it yet."""
    assert terminal.run("migrate").returncode == 0
    return terminal.folder / "orderctl-data"


@contextmanager
def orders_in(data: Path) -> Iterator[ManyOrders]:
    """A hand on its tiers."""
    tiers = open_tiers(Config(), data, SystemClock())
    try:
        yield ManyOrders(tiers, SystemClock())
    finally:
        tiers.close()


def made(data: Path, act: Callable[[ManyOrders], object] = lambda _: None, count: int = 20) -> ManyOrders:
    """So many orders, and what was done to them."""
    with orders_in(data) as many:
        many.fill_up(count)
        act(many)
        return many


def execute(file: Path, statement: str, *parameters: object) -> None:
    """Change rows behind everybody's back."""
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute(statement, parameters).rowcount == 1


def found_by(terminal: Terminal, *arguments: str, code: int) -> dict[str, Any]:
    """What `-o json` says, having ended so."""
    done = terminal.run("reconcile", *QUICK, "-o", "json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["compared"] == sum(found[name] for name in ("equal", "diverged", "absent", "unknown"))
    return found


def test_tiers_that_agree_are_exit_0(terminal: Terminal, data: Path) -> None:
    """As JSON, with the documented members."""
    made(data)
    found = found_by(terminal, code=0)
    assert list(found) == SHAPE
    assert (found["compared"], found["equal"], found["absent"], found["differences"]) == (18, 16, 2, [])
    assert list(found_by(terminal, "--archive", code=0)) == [*SHAPE, "archive"]


def test_bytes_that_mean_nothing_are_dropped(terminal: Terminal, data: Path) -> None:
    """They have no version to be told; the order is loaded anew by whoever asks next."""
    many = made(data)
    order = many.open_cached[0]
    execute(data / "cache.db", "UPDATE entries SET value = ? WHERE order_id = ?", b"?", id_bytes(order.order_id))
    [difference] = found_by(terminal, code=1)["differences"]
    assert difference == {
        "order_id": order.order_id, "cache_version": None, "source_version": 1, "source": "hot", "repair": "invalidate",
    }  # fmt: skip
    assert found_by(terminal, "--execute", "--yes", code=0)["repaired"] == 1
    assert found_by(terminal, code=0)["diverged"] == 0


def test_a_row_that_is_missing_is_told_and_its_record_kept(terminal: Terminal, data: Path) -> None:
    """The cached copy may be the last one; --archive knows it by its reference."""
    many = made(data)
    order = many.open_cached[0]
    execute(data / "hot.db", "DELETE FROM orders WHERE order_id = ?", id_bytes(order.order_id))
    for extra in ((), ("--execute", "--yes")):
        found = found_by(terminal, *extra, code=1)
        assert found["differences"] == [
            {"order_id": order.order_id, "cache_version": 1, "source_version": None, "source": None, "repair": None}
        ]
    archive = found_by(terminal, "--archive", code=1)["archive"]
    assert archive["differences"] == [
        {"order_id": order.order_id, "hot_version": None, "archive_version": None, "why": "in_neither"}
    ]


def test_without_execute_nothing_is_written(terminal: Terminal, data: Path) -> None:
    """Neither entries nor messages nor an audit line; it says what --execute would do."""
    many = made(data, lambda many: many.finish(many.open_cached[:2]))
    done = terminal.run("reconcile", *QUICK)
    assert done.returncode == 1
    assert done.stderr == "orderctl: nothing was changed: --execute repairs 2 of them\n"
    assert not (data / "audit.jsonl").exists()
    with orders_in(data) as now:
        entries = now.tiers.cache.get([order.order_id for order in many.open_cached[:2]])
    assert [entry and entry.version for entry in entries] == [1, 1]


def test_execute_asks_first_and_leaves_lines(terminal: Terminal, data: Path) -> None:
    """Without a terminal it needs --yes; the audit log says why, and what it came to."""
    made(data, lambda many: many.finish(many.open_cached[:2]))
    assert terminal.refuses("reconcile", "--execute", code=2) == "there is no terminal to ask at"
    found = found_by(terminal, "--execute", "--yes", "--reason", "a test", code=0)
    assert (found["diverged"], found["repaired"]) == (2, 2)
    lines = [json.loads(line) for line in (data / "audit.jsonl").read_text().splitlines()]
    assert [(line["action"], line["done"], line["reason"]) for line in lines] == [
        ("reconcile", False, "a test"),
        ("reconcile", True, "a test"),
    ]
    assert (lines[1]["repaired"], lines[1]["sample"]) == (2, 1.0)


def test_the_table_is_readable_at_80_columns(terminal: Terminal, data: Path) -> None:
    """Counts, then a line for each difference."""

    def act(many: ManyOrders) -> None:
        many.finish(many.open_cached[:2])
        many.copy(many.open_bare[:1], status=Status.SUCCESS)
        assert many.remove(many.finish(many.open_cached[2:3]))

    made(data, act)
    done = terminal.run("reconcile", *QUICK, "--archive")
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    counts, differences, archive, faults = done.stdout.split("\n\n")
    assert [line.split() for line in counts.splitlines()][:3] == [
        ["compared", "18"],
        ["equal", "13"],
        ["diverged", "3"],
    ]
    assert differences.splitlines()[0].split() == ["ORDER_ID", "CACHE", "SOURCE", "IN", "REPAIR"]
    assert sorted(line.split()[1:] for line in differences.splitlines()[1:]) == [
        ["1", "-", "-", "-"], ["1", "2", "hot", "apply"], ["1", "2", "hot", "apply"],
    ]  # fmt: skip
    assert archive.splitlines()[1].split() == ["archive", "diverged", "2"]
    assert sorted(line.split()[-1] for line in faults.splitlines()[1:]) == ["in_neither", "open_and_archived"]


@pytest.mark.parametrize("file", ["cache.db", "hot.db", "archive.db"])
def test_a_tier_that_fails_is_exit_4(terminal: Terminal, data: Path, file: str) -> None:
    """What the others have is still compared; what was not is unknown, and the error is told."""
    made(data)
    with closing(sqlite3.connect(data / file)) as connection:
        for table in ("entries", "orders"):
            connection.execute(f"ALTER TABLE {table} RENAME TO elsewhere") if _has(connection, table) else None
    done = terminal.run("reconcile", *QUICK, "-o", "json")
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    assert (found["diverged"], found["differences"]) == (0, [])
    assert "no such table" in done.stderr
    assert found["unknown"] > 0


def test_an_interruption_says_where_to_go_on(terminal: Terminal, data: Path) -> None:
    """--timeout, or Ctrl-C; what it says is what --resume takes."""
    made(data)
    done = terminal.run("reconcile", "--rps", "0.5", "--timeout", "1500ms")
    assert done.returncode == 5
    said, _ = done.stderr.splitlines()
    assert said.startswith("orderctl: ")
    place = said.split("--resume ")[1].split()[0]
    assert place.startswith("cache:")
    assert found_by(terminal, "--resume", place, code=0)["compared"] > 0
    assert terminal.refuses("reconcile", "--resume", "there", code=2).startswith("'there' is no place")


@pytest.mark.parametrize("wrong", [("--groups", "64"), ("--groups", "x"), ("--sample", "2"), ("--since", "5")])
def test_wrong_use_is_exit_2(terminal: Terminal, data: Path, wrong: tuple[str, str]) -> None:
    """Before anything is looked at."""
    terminal.refuses("reconcile", *wrong, code=2)


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone())
