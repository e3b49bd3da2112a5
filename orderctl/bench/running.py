"""Runs scenarios: in each round the real thing and its ceiling, which take turns in being first."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct, structs

import orderctl
from orderctl.bench import own_log, raw_cassandra, raw_mysql, raw_redis
from orderctl.bench.ground import Ground, ground_on
from orderctl.bench.measuring import MIB, Measure
from orderctl.bench.report import Machine, Report, Result, side_of
from orderctl.bench.scenario import Scenario
from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.config import Config
from orderctl.daemons.event_loops import require_installed
from orderctl.errors import OrderctlError

LIBRARIES: Final = (
    *(
        "hypercorn",
        "granian",
        "uvloop",
        "starlette",
        "msgspec",
        "redis",
        "hiredis",
        "pymysql",
        "confluent-kafka",
        "cassandra-driver",
    ),
)


class Plan(Struct, frozen=True):
    """What to run. `size` is the units of each run, None for each scenario's own."""

    scenarios: Sequence[Scenario]
    rounds: int
    smoke: bool
    size: int | None = None


def run_all(
    config: Config,
    plan: Plan,
    *,
    clock: Clock,
    tell: Callable[[str], None],
    keep: Callable[[Report], None] = lambda _report: None,
) -> Report:
    """Run every scenario; `tell` hears how far it is, and `keep` gets the report anew after each that is finished.

    So whatever ends the run, the last report that was kept has all that was measured, and names what is missing.

    Raises:
        ConfigError: the HTTP server that is configured is not installed.
        UsageRefused: daemons run on this deployment.
        OrderctlError: a run did not do what is measured, or did nothing.

    """
    require_installed(config.http)
    started_us, machine = clock.now_us(), machine_now()
    with ground_on(config) as ground:
        report = Report(
            started_at=rfc3339(started_us),
            smoke=plan.smoke,
            stores="real" if ground.is_real else "embedded",
            http=f"{config.http.server} on {config.http.event_loop}",
            machine=machine,
            versions=versions_of(ground),
            scenarios=[],
            missing=[scenario.name for scenario in plan.scenarios],
        )
        for scenario in plan.scenarios:
            result = _run(scenario, ground, plan, tell)
            report = structs.replace(report, scenarios=[*report.scenarios, result], missing=report.missing[1:])
            keep(report)
        return report


def _run(scenario: Scenario, ground: Ground, plan: Plan, tell: Callable[[str], None]) -> Result:
    size = plan.size or (scenario.smoke if plan.smoke else scenario.full)
    tell(f"{scenario.name}: preparing {size:,} {scenario.unit}")
    rounds: list[tuple[Measure, Measure]] = []
    with scenario.prepare(ground, size) as runs:
        for number in range(plan.rounds):
            if number % 2:
                ceiling, real = runs.ceiling(), runs.real()
            else:
                real, ceiling = runs.real(), runs.ceiling()
            if not real.units or not ceiling.units:
                raise OrderctlError(
                    f"{scenario.name}: round {number + 1} did nothing: 0 of {size:,} {scenario.unit}"
                    + ("" if ceiling.units else ", by the ceiling")
                )
            rounds.append((real, ceiling))
            tell(
                f"{scenario.name}: round {number + 1} of {plan.rounds}: {real.rate:,.0f} {scenario.unit}/s, "
                f"ceiling {ceiling.rate:,.0f}"
            )
    return result_of(scenario, size, rounds)


def result_of(scenario: Scenario, size: int, rounds: list[tuple[Measure, Measure]]) -> Result:
    """What the rounds of a scenario come to."""
    ratios = [real.rate / ceiling.rate for real, ceiling in rounds]
    return Result(
        name=scenario.name,
        idea=scenario.idea,
        unit=scenario.unit,
        ceiling_is=scenario.ceiling,
        size=size,
        goal=scenario.goal,
        ratio=round(median(ratios), 3),
        ratio_least=round(min(ratios), 3),
        ratio_most=round(max(ratios), 3),
        real=side_of([real for real, _ in rounds]),
        ceiling=side_of([ceiling for _, ceiling in rounds]),
        rounds=rounds,
    )


def machine_now() -> Machine:
    """This one."""
    lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    processor = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / MIB / 1024, 1),
        kernel=platform.release(),
        load_1m=round(os.getloadavg()[0], 2),
    )


def versions_of(ground: Ground) -> dict[str, str]:
    """The package's, Python's, the libraries' and the servers'."""
    found = {"orderctl": orderctl.__version__, "Python": platform.python_version()}
    found |= {name: _installed(name) for name in LIBRARIES}
    if ground.is_real:
        for module in (raw_mysql, raw_redis, own_log, raw_cassandra):
            found |= module.versions(ground.config)
    return found


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
