"""`orderctl bench` and `orderctl plan` as a user runs them, without servers."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.bench.reports import report
from tests.cli.terminal import Terminal

LOAD = ("--lookups-per-s", "1000000", "--creates-per-s", "1000")


def test_list_shows_every_scenario(terminal: Terminal) -> None:
    """Its goal, and on which stores it runs."""
    shown = json.loads(terminal.run("bench", "list", "-o", "json").stdout)
    assert [one["name"] for one in shown][:2] == ["lookup-near", "lookup-cache"]
    assert set(shown[0]) == {"name", "idea", "unit", "ceiling", "goal", "where", "size"}
    assert "archiver-backlog" in terminal.run("bench", "list").stdout


@pytest.mark.timeout(180)
def test_a_smoke_run_is_kept_and_drawn_and_measures_nothing(terminal: Terminal) -> None:
    """Data to stdout, progress to stderr, the report and the picture where they were asked for; `plan` refuses it."""
    done = terminal.run(
        "bench", "run", "lookup-near", "--smoke", "--save", "bench.json", "--plot", "bench.svg", "-o", "json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((terminal.folder / "bench.json").read_text())
    assert "lookup-near: round 1 of 1" in done.stderr
    assert (terminal.folder / "bench.svg").read_text().startswith("<svg ")
    assert not (terminal.folder / "orderctl-data").exists()
    assert "smoke" in terminal.refuses("plan", "--bench", "bench.json", *LOAD, code=2)


def test_what_cannot_be_run(terminal: Terminal) -> None:
    """Exit 3 for a scenario that is not there, 2 for one that needs servers, and for a file that cannot be written."""
    assert terminal.refuses("bench", "run", "warp", code=3) == "there is no scenario warp"
    assert "measured on servers" in terminal.refuses("bench", "run", "cdc-backlog", code=2)
    assert "cannot be written" in terminal.refuses("bench", "run", "--smoke", "--save", "no/where.json", code=2)


@pytest.mark.timeout(180)
def test_growth_is_kept_and_drawn(terminal: Terminal) -> None:
    """JSON to stdout and to the file, the picture beside it; what cannot be is refused."""
    options = ("--smoke", "--sizes", "1000", "--save", "growth.json", "--plot", "growth.svg", "-o", "json")
    done = terminal.run("bench", "growth", "lookup-cache", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((terminal.folder / "growth.json").read_text())
    assert (terminal.folder / "growth.svg").read_text().startswith("<svg ")
    assert "no path warp" in terminal.refuses("bench", "growth", "warp", code=3)
    for sizes in ("ten", "10", ","):
        assert "--sizes takes numbers" in terminal.refuses("bench", "growth", "--sizes", sizes, code=2)


def test_plan_shows_its_arithmetic(terminal: Terminal) -> None:
    """The bill, how it comes, what binds, and what was assumed."""
    (terminal.folder / "bench.json").write_bytes(msgspec.json.encode(report()))
    shown = terminal.run("plan", "--bench", "bench.json", *LOAD).stdout
    for words in ("query servers", "1,000,000/s x", "processor binds", "days that the archive keeps", "Test <&> Co."):
        assert words in shown
    found = json.loads(
        terminal.run(
            "plan", "--bench", "bench.json", *LOAD, "--assume", "cores=16", "--near-hit", "1", "-o", "json"
        ).stdout
    )
    assert found["assumed"]["cores"].startswith("16:")
    assert found["assumed"]["near_hit"].startswith("1:")
    assert {part["name"] for part in found["parts"]} >= {"redis", "mysql", "kafka", "cassandra"}


def test_plan_needs_what_was_measured(terminal: Terminal) -> None:
    """No report, no plan; and what is assumed has a name and a number."""
    assert "missing option '--bench'" in terminal.refuses("plan", *LOAD, code=2)
    assert "cannot be read" in terminal.refuses("plan", "--bench", "none.json", *LOAD, code=2)
    (terminal.folder / "bench.json").write_bytes(msgspec.json.encode(report()))
    wrong = ("plan", "--bench", "bench.json", *LOAD, "--assume")
    assert terminal.refuses(*wrong, "warp=9", code=2) == "nothing called 'warp' is assumed"
    assert terminal.refuses(*wrong, "cores=many", code=2) == "'cores=many' is not NAME=NUMBER"
