"""`orderctl inspect` on a data directory, without a server: what it prints, how it ends, and that it changes nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.order import Status
from orderctl.stores.tiers import open_tiers
from tests.admin.one_order import OneOrder
from tests.cli.terminal import Terminal

UNKNOWN_ID = "0197b0de-5c00-7abc-8000-0123456789ab"
FUTURE_ID = "fffffff0-5c00-7abc-8000-0123456789ab"


@pytest.fixture
def data(terminal: Terminal) -> Path:
    """A data directory with nothing in it yet."""
    assert terminal.run("migrate").returncode == 0
    return terminal.folder / "orderctl-data"


def done_to(data: Path, *acts: Callable[[OneOrder], object]) -> str:
    """A new order that these things were done to; returns its id."""
    tiers = open_tiers(Config(), data, SystemClock())
    try:
        one = OneOrder(tiers, SystemClock())
        for act in acts:
            act(one)
        return one.order.order_id
    finally:
        tiers.close()


def shown(terminal: Terminal, order_id: str, *, code: int) -> dict[str, Any]:
    """What `-o json` says, having ended so."""
    done = terminal.run("inspect", order_id, "-o", "json")
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(data: Path) -> dict[str, list[Any]]:
    """All that the four files hold."""
    found: dict[str, list[Any]] = {}
    for file in sorted(data.glob("*.db")):
        with closing(sqlite3.connect(file)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            for (table,) in tables:
                found[f"{file.name}.{table}"] = connection.execute(f"SELECT * FROM {table}").fetchall()
    return found


def test_tiers_that_agree_are_exit_0(terminal: Terminal, data: Path) -> None:
    """As JSON, with the documented members; an id in upper case is the same id."""
    order_id = done_to(data, OneOrder.create, OneOrder.cache, OneOrder.pump)
    found = shown(terminal, order_id.upper(), code=0)
    assert list(found) == ["order_id", "group", "created_at", "tiers", "late_results", "consistent", "verdict"]
    assert list(found["tiers"]) == ["cache", "hot", "archive", "log"]
    assert (found["order_id"], found["consistent"]) == (order_id, True)
    assert found["verdict"] == "Hot, cache and log agree on version 1 (pending)."
    assert found["tiers"]["archive"] == {"present": False}
    assert 0 < found["tiers"]["cache"]["ttl_s"] <= 60


def test_a_difference_is_exit_1(terminal: Terminal, data: Path) -> None:
    """It is still shown, and said."""
    order_id = done_to(data, OneOrder.create, OneOrder.cache, lambda one: one.move(Status.PROCESSING))
    found = shown(terminal, order_id, code=1)
    assert found["consistent"] is False
    assert found["verdict"].startswith("The cache is behind its source")


@pytest.mark.parametrize("text", ["x", UNKNOWN_ID[:-1], UNKNOWN_ID.replace("-7", "-4"), FUTURE_ID, ""])
def test_what_is_no_order_id_is_exit_2(terminal: Terminal, text: str) -> None:
    """Before anything is looked at."""
    assert terminal.refuses("inspect", text, code=2).startswith("not an order id")
    assert not list(terminal.folder.iterdir())


def test_an_order_that_is_nowhere_is_exit_3(terminal: Terminal, data: Path) -> None:
    """Nothing contradicts anything."""
    found = shown(terminal, UNKNOWN_ID, code=3)
    assert (found["consistent"], found["verdict"]) == (True, "No tier has the order.")
    assert found["created_at"] == "2025-06-27T10:10:52.032000Z"


def test_a_tier_that_fails_is_exit_4(terminal: Terminal, data: Path) -> None:
    """Its error stands in its place, and the others are shown."""
    order_id = done_to(data, OneOrder.create, OneOrder.cache, OneOrder.pump)
    with closing(sqlite3.connect(data / "archive.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        for (table,) in tables:
            connection.execute(f"DROP TABLE {table}")
    found = shown(terminal, order_id, code=4)
    assert list(found["tiers"]["archive"]) == ["error"]
    assert "no such table" in found["tiers"]["archive"]["error"]
    assert (found["tiers"]["hot"]["version"], found["consistent"]) == (1, False)
    table = terminal.run("inspect", order_id)
    assert table.returncode == 4
    assert "failed" in table.stdout


@pytest.mark.parametrize("verb", [["inspect", UNKNOWN_ID], ["status"]], ids=lambda verb: verb[0])
@pytest.mark.parametrize("file", ["cache.db", "log.db", "archive.db"])
def test_a_tier_that_is_missing_is_exit_4_and_is_not_made(
    terminal: Terminal, data: Path, verb: list[str], file: str
) -> None:
    """An empty one in its place would hide that it was lost."""
    (data / file).unlink()
    said = terminal.refuses(*verb, code=4)
    assert said == f"{file.removesuffix('.db')}: {data / file} is missing"
    assert not (data / file).exists()


def test_a_look_makes_no_data_directory(terminal: Terminal) -> None:
    """One that was misspelt is said, and not made."""
    said = terminal.refuses("inspect", UNKNOWN_ID, "--data-dir", "misspelt", code=3)
    assert said == f"nothing was ever started on the data directory {terminal.folder / 'misspelt'}"
    assert not list(terminal.folder.iterdir())


def test_a_look_changes_nothing(terminal: Terminal, data: Path) -> None:
    """In no tier, whatever it finds."""
    order_id = done_to(
        data, OneOrder.create, OneOrder.cache, OneOrder.pump, lambda one: one.move(Status.SUCCESS), OneOrder.archive
    )
    before = rows(data)
    assert any(row for table, row in before.items() if table == "cache.db.entries")
    shown(terminal, order_id, code=1)
    shown(terminal, UNKNOWN_ID, code=3)
    assert rows(data) == before


def test_the_table_is_readable_at_80_columns(terminal: Terminal, data: Path) -> None:
    """A column a tier, and the verdict as a paragraph below."""
    order_id = done_to(
        data,
        OneOrder.create,
        lambda one: one.move(Status.PROCESSING),
        OneOrder.cache,
        lambda one: one.move(Status.CANCELLED),
        OneOrder.archive,
        OneOrder.pump,
    )
    done = terminal.run("inspect", order_id)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    head, body, verdict = done.stdout.split("\n\n")
    assert head.splitlines()[0] == f"order    {order_id}"
    table = [line.split() for line in body.splitlines()]
    assert table[0] == ["CACHE", "HOT", "ARCHIVE", "LOG"]
    assert table[1:4] == [
        ["present", "yes", "yes", "yes", "yes"],
        ["version", "2", "3", "3", "3"],
        ["status", "processing", "cancelled", "cancelled", "cancelled"],
    ]
    assert table[4] == ["kind", "record", "-", "-", "-"]
    assert " ".join(verdict.split()) == (
        "The cache is behind its source: it holds version 2 (processing), and hot version 3 (cancelled)."
    )


def test_an_order_in_no_tier_is_a_short_table(terminal: Terminal, data: Path) -> None:
    """Lines that would say nothing are left out."""
    done = terminal.run("inspect", UNKNOWN_ID)
    assert [line.split()[0] for line in done.stdout.splitlines() if line] == [
        "order", "group", "created", "CACHE", "present", "No",
    ]  # fmt: skip
