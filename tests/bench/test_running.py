"""What is left of a run that ends early: all that was finished."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure, measured
from orderctl.bench.report import Report, read_report
from orderctl.bench.running import Plan, run_all
from orderctl.bench.scenario import Runs, Scenario, Where
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.errors import NotFound, OrderctlError
from tests.cli.terminal import PROGRAM, environment


def ten() -> Measure:
    return measured(lambda: 10)


def nothing() -> Measure:
    return measured(lambda: 0)


def scenario(name: str, real: Callable[[], Measure] = ten, ceiling: Callable[[], Measure] = ten) -> Scenario:
    """One that needs nothing of its ground."""

    @contextmanager
    def prepare(_ground: Ground, _size: int) -> Iterator[Runs]:
        yield Runs(real, ceiling)

    return Scenario(
        name=name,
        idea="An idea.",
        unit="orders",
        ceiling="the least",
        goal=None,
        where=Where.ANY,
        full=10,
        smoke=10,
        prepare=prepare,
    )


def run(*scenarios: Scenario, kept: list[Report] | None = None) -> Report:
    kept = [] if kept is None else kept
    plan = Plan(scenarios, rounds=1, smoke=True)
    return run_all(Config(), plan, clock=SystemClock(), tell=lambda _said: None, keep=kept.append)


@pytest.mark.parametrize(("real", "ceiling"), [(nothing, ten), (ten, nothing)])
def test_a_round_that_did_nothing_is_an_error(real: Callable[[], Measure], ceiling: Callable[[], Measure]) -> None:
    """No rate and no ratio can be made of it, and a median would hide it."""
    with pytest.raises(OrderctlError, match=r"idle: round 1 did nothing: 0 of 10 orders"):
        run(scenario("idle", real, ceiling))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotFound("the scenario's own failure")])
def test_what_was_finished_is_kept(error: BaseException) -> None:
    """However it ends: the report of the first scenario names the two that are missing."""

    def fails() -> Measure:
        raise error

    kept: list[Report] = []
    with pytest.raises(type(error)):
        run(scenario("first"), scenario("second", fails), scenario("third"), kept=kept)
    assert [result.name for result in kept[-1].scenarios] == ["first"]
    assert kept[-1].missing == ["second", "third"]


def test_a_whole_run_lacks_nothing() -> None:
    """What is kept last is what is returned."""
    kept: list[Report] = []
    report = run(scenario("first"), scenario("second"), kept=kept)
    assert report == kept[-1]
    assert report.missing == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_is_saved(tmp_path: Path, number: signal.Signals) -> None:
    """Exit 130; the file and stdout have the first scenario, and stderr says what is missing. Nothing else is left."""
    rounds = ("--smoke", "--rounds", "1")
    command = [*PROGRAM, "bench", "run", "lookup-near", "lookup-cache", *rounds, "--save", "kept.json"]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment({"TMPDIR": str(scratch)}), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"orderctl: lookup-cache: preparing"):
            os.kill(process.pid, number)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"orderctl: not measured: lookup-cache" in err
    assert b"lookup-near" in out
    report = read_report(tmp_path / "kept.json")
    assert [result.name for result in report.scenarios] == ["lookup-near"]
    assert list(scratch.glob("orderctl-bench-*")) == []
