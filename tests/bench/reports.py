"""Reports of a bench, made up: round figures that can be worked with by hand."""

from __future__ import annotations

from orderctl.bench.measuring import Measure
from orderctl.bench.rates import NEEDED
from orderctl.bench.report import Machine, Report, Result, side_of

MACHINE = Machine("Test <&> Co.", 2, 24.0, "6.1", 0.1)


def measure(rate: float, cpu_us: float = 10.0, memory_mib: float = 100.0, **facts: float) -> Measure:
    """A run of a thousand units."""
    return Measure(units=1_000, seconds=1_000 / rate, cpu_s=cpu_us / 1_000, memory_mib=memory_mib, facts=facts)


def result(name: str, real: Measure, ceiling: Measure, goal: float | None = 0.5) -> Result:
    """One scenario, of one round."""
    ratio = real.rate / ceiling.rate
    return Result(
        name=name,
        idea="An idea.",
        unit="orders",
        ceiling_is="the least",
        size=1_000,
        goal=goal,
        ratio=ratio,
        ratio_least=ratio,
        ratio_most=ratio,
        real=side_of([real]),
        ceiling=side_of([ceiling]),
        rounds=[(real, ceiling)],
    )


def report(*results: Result, smoke: bool = False) -> Report:
    """A report of them; of every scenario that a plan needs, where none is given."""
    return Report(
        started_at="2026-01-31T12:00:00.000000Z",
        smoke=smoke,
        stores="real",
        machine=MACHINE,
        versions={"orderctl": "0"},
        scenarios=list(results or (round_figures(name) for name in NEEDED)),
    )


def round_figures(name: str) -> Result:
    """A scenario whose real run takes 100 us of CPU a unit (batches of look-ups 1), beside a ceiling of 10 000 a second."""
    cpu_us = 1.0 if name.startswith("batch-lookup") else 100.0
    return result(name, measure(5_000, cpu_us), measure(10_000, nodes=2.0))
