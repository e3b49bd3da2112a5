"""What a bench found, as it is kept: every round, the medians, the machine, and the versions of everything."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from orderctl.bench.measuring import Latency, Measure
from orderctl.errors import UsageRefused

FORMAT = 1


class Machine(Struct, frozen=True):
    """What it ran on, and how busy that was before (`load_1m`, the number of processes that wanted to run)."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    load_1m: float


class Side(Struct, frozen=True):
    """The medians of one side's rounds. `spread` is the distance from the slowest round to the fastest, by the median."""

    rate: float
    rate_per_core: float
    cpu_us: float
    memory_mib: float
    spread: float
    latency_ms: Latency | None
    facts: dict[str, float]


class Result(Struct, frozen=True, kw_only=True):
    """One scenario. `ratio` is the median of the rounds' own, since what else ran on the machine hit both of a round's runs."""

    name: str
    idea: str
    unit: str
    ceiling_is: str
    size: int
    goal: float | None
    ratio: float
    ratio_least: float
    ratio_most: float
    real: Side
    ceiling: Side
    rounds: list[tuple[Measure, Measure]]


class Report(Struct, frozen=True, kw_only=True):
    """A run. A smoke run shows that the bench works; its figures mean nothing, and `plan` refuses them.

    `missing` names the scenarios that were to be measured and were not, since the run ended before.
    """

    format: int = FORMAT
    started_at: str
    smoke: bool
    stores: str
    http: str = "hypercorn on asyncio"
    machine: Machine
    versions: dict[str, str]
    scenarios: list[Result]
    missing: list[str] = []


def side_of(measures: list[Measure]) -> Side:
    """The medians; of latencies and facts those of the round in the middle by rate, since they belong together."""
    rates = [measure.rate for measure in measures]
    middle = sorted(measures, key=lambda measure: measure.rate)[len(measures) // 2]
    return Side(
        rate=round(median(rates), 1),
        rate_per_core=round(median(measure.rate_per_core for measure in measures), 1),
        cpu_us=round(median(measure.cpu_s / measure.units for measure in measures) * 1e6, 3),
        memory_mib=round(max(measure.memory_mib for measure in measures), 1),
        spread=round((max(rates) - min(rates)) / median(rates), 3),
        latency_ms=middle.latency_ms,
        facts=middle.facts,
    )


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises:
        UsageRefused: there is none, or it is something else.

    """
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise UsageRefused(
            f"{path} cannot be read: {error.strerror}", hint="`orderctl bench run --save FILE` writes one"
        ) from error
    except msgspec.DecodeError as error:
        raise UsageRefused(f"{path} is no report of `orderctl bench`: {error}") from error
    if report.format != FORMAT:
        raise UsageRefused(f"{path} is of format {report.format}; this orderctl reads {FORMAT}")
    return report
