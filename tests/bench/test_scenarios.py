"""The scenarios as they are run, small: those that need no servers."""

from __future__ import annotations

import os
import re

import pytest

from orderctl.bench.catalog import ORDER, catalog, chosen
from orderctl.bench.measuring import MIB, Measure, apart, measured, memory_mib_of
from orderctl.bench.report import Report
from orderctl.bench.running import Plan, run_all
from orderctl.bench.scenario import Where
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.errors import NotFound, UsageRefused
from orderctl.sections import HttpSection


def test_every_scenario_has_its_place() -> None:
    """A file each; what it says of itself is a sentence; a smoke run is small."""
    scenarios = catalog()
    assert tuple(scenario.name for scenario in scenarios) == ORDER
    for scenario in scenarios:
        assert re.fullmatch(r"[A-Za-z].*\.", scenario.idea)
        assert scenario.smoke <= 10_000 <= scenario.full


def test_without_servers_only_some_can_run() -> None:
    """The others are refused by name; a name that nobody has is not found. What is to be fetched first has to be named."""
    assert {one.where for one in chosen((), is_real=False)} == {Where.ANY}
    assert chosen((), is_real=True) == tuple(one for one in catalog() if not one.if_named)
    assert [one.name for one in chosen(["cdc-beside-debezium"], is_real=True)] == ["cdc-beside-debezium"]
    with pytest.raises(UsageRefused, match="cdc-backlog is measured on servers"):
        chosen(["cdc-backlog"], is_real=False)
    with pytest.raises(NotFound, match="there is no scenario warp"):
        chosen(["warp"], is_real=True)


def smoke(config: Config, *names: str, is_real: bool) -> Report:
    """One round of each, small."""
    said: list[str] = []
    plan = Plan(chosen(names, is_real=is_real), rounds=1, smoke=True)
    report = run_all(config, plan, clock=SystemClock(), tell=said.append)
    assert len(said) == 2 * len(plan.scenarios)
    return report


def check(report: Report) -> None:
    """Every run did all that it was to do, and was measured."""
    for result in report.scenarios:
        for side in (run for both in result.rounds for run in both):
            assert side.units >= min(result.size, 500) * 0.5, result.name
            assert side.seconds > 0
            assert side.memory_mib > 0
        assert result.ratio > 0


@pytest.mark.timeout(240)
def test_all_that_need_no_servers() -> None:
    """On embedded stores; 512 single creations took far fewer transactions."""
    report = smoke(Config(), is_real=False)
    check(report)
    assert (report.smoke, report.stores) == (True, "embedded")
    [cached] = [result for result in report.scenarios if result.name == "lookup-cache"]
    assert cached.real.facts["loaded"] == 0, "what was measured is the cache"
    [creates] = [result for result in report.scenarios if result.name == "single-creates"]
    assert 1 <= creates.real.facts["transactions"] <= 512 / 8


def test_what_serves_can_be_chosen() -> None:
    """With granian and uvloop the report says so, and the runs do the same."""
    http = HttpSection(server="granian", event_loop="uvloop")
    report = smoke(Config(http=http), "lookup-near", "single-creates", is_real=False)
    check(report)
    assert report.http == "granian on uvloop"
    [creates] = [result for result in report.scenarios if result.name == "single-creates"]
    assert 1 <= creates.real.facts["transactions"] <= 512 / 8


def idle() -> Measure:
    """A run that needs nothing."""
    return measured(lambda: 1)


def test_memory_is_the_process_own() -> None:
    """Not that of the one that started it, which a process's resource usage begins with."""
    much = b"x" * (200 * MIB)
    before_mib = memory_mib_of(os.getpid())
    assert apart(idle).memory_mib < before_mib - len(much) / MIB / 2
