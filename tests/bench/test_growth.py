"""Costs at several sizes: what they come to, and a small run of it on embedded stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from xml.etree import ElementTree as ET

import msgspec
import pytest

from orderctl.bench.ground import Ground
from orderctl.bench.growth import Cost, Growing, GrowthPlan, GrowthReport, Stored, run_growth, with_trends
from orderctl.bench.growth_chart import growth_chart, spelt_size
from orderctl.bench.growth_tasks import Task, tasks
from orderctl.bench.measuring import Measure, measured
from orderctl.bench.scenario import Run
from orderctl.bench.server_cpu import cpu_of, servers_of
from orderctl.bench.stocking import Stock
from orderctl.cli.bench_growth import table, verdict
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.errors import OrderctlError
from tests.bench.reports import MACHINE


def growing(name: str, costs: dict[int, Sequence[float]]) -> Growing:
    """A task with these costs at these sizes."""
    return with_trends(
        Growing(
            name=name,
            idea="An idea.",
            unit="orders",
            units=100,
            costs=[
                Cost(size=size, cpu_us=us, wall_us=us, servers_us={"mysql": 1.0})
                for size, each in costs.items()
                for us in each
            ],
        )
    )


def report(*found: Growing) -> GrowthReport:
    """A report of them."""
    sizes = sorted({cost.size for one in found for cost in one.costs})
    stored = [
        Stored(size=size, hot=size, hot_after=size, cache=size, archive=size, fill_s=1.0, load_1m=1.0) for size in sizes
    ]
    return GrowthReport(
        started_at="2026-01-31T12:00:00.000000Z",
        smoke=False,
        stores="real",
        machine=MACHINE,
        versions={},
        stored=stored,
        tasks=list(found),
        missing=[],
    )


FLAT = growing("flat", {100_000: (10, 12, 11), 1_000_000: (11, 10, 12)})
STEEP = growing("steep<", {100_000: (10, 10.5, 10.2), 1_000_000: (20, 20.5, 20.2)})


def test_a_trend_is_one_beyond_the_spread() -> None:
    """Ten microseconds more for ten times the orders, and nothing."""
    assert FLAT.trend is not None
    assert STEEP.trend is not None
    assert not FLAT.trend.is_trend
    assert STEEP.trend.is_trend
    assert STEEP.trend.value == pytest.approx(10)
    assert STEEP.server_trends["mysql"].value == 0
    assert verdict(report(FLAT)) == "no trend beyond the spread in any of 1 paths"
    assert "in 1 of 2 paths: steep< +65.6%" in verdict(report(FLAT, STEEP))


def test_the_machines_own_trend_is_not_judged() -> None:
    """What answers a constant knows of no order; and one size has no trend."""
    constant = growing("constant", {100_000: (10, 10.5, 10.2), 1_000_000: (20, 20.5, 20.2)})
    assert verdict(report(constant, FLAT)) == "no trend beyond the spread in any of 1 paths"
    assert verdict(report(growing("flat", {100_000: (1, 2, 3)}))) == "one size: no trend can be told"


def test_the_table_and_the_picture_show_every_path() -> None:
    """A panel each, well-formed, with a point for each round."""
    shown = table(report(FLAT, STEEP))
    assert "rises" in shown
    assert "none beyond the spread" in shown
    root = ET.fromstring(growth_chart(report(FLAT, STEEP)))  # our own bytes
    points = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(points) == 12
    texts = {one.text for one in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"flat", "steep<", "10^5", "10^6"} <= texts
    assert spelt_size(300_000) == "300,000"


def small(*names: str, sizes: Sequence[int] = (1_000, 2_000)) -> GrowthPlan:
    """Those tasks at sizes of a smoke run."""
    known = {task.name: task for task in tasks(is_real=False, members=(1,))}
    chosen = [known[name] for name in names]
    return GrowthPlan(tasks=chosen, sizes=sizes, rounds=2, cache_max=1_000, smoke=True)


@pytest.mark.timeout(240)
def test_each_size_is_stored_and_measured() -> None:
    """The tiers hold what the report says, and the cache no more than it may; each look-up found its order where it was."""
    kept: list[GrowthReport] = []
    plan = small("batch-lookup-cache", "batch-lookup-hot", "batch-lookup-archive", "batch-change")
    found = run_growth(Config(), plan, clock=SystemClock(), tell=lambda _said: None, keep=kept.append)
    assert [(one.hot, one.archive, one.cache) for one in found.stored] == [(1_000, 1_000, 1_000), (2_000, 2_000, 1_000)]
    assert [one.missing for one in kept] == [[2_000], []]
    assert all(len(task.costs) == 4 and task.trend is not None for task in found.tasks)
    assert msgspec.json.decode(msgspec.json.encode(found), type=GrowthReport) == found


def test_sizes_that_were_finished_are_kept() -> None:
    """A round that did nothing ends the run, by name; the smaller size stays."""

    @contextmanager
    def prepare(_ground: Ground, stock: Stock, _units: int) -> Iterator[Run]:
        def run() -> Measure:
            return measured(lambda: int(stock.hot < 2_000))

        yield run

    plan = small()
    task = Task(name="lazy", idea="An idea.", unit="orders", full=1, smoke=1, prepare=prepare)
    kept: list[GrowthReport] = []
    with pytest.raises(OrderctlError, match="lazy: round 1 did nothing"):
        run_growth(
            Config(),
            msgspec.structs.replace(plan, tasks=[task]),
            clock=SystemClock(),
            tell=lambda _said: None,
            keep=kept.append,
        )
    assert [one.size for one in kept[-1].stored] == [1_000]
    assert kept[-1].missing == [2_000]


def test_without_servers_none_is_measured() -> None:
    """An embedded store has no process of its own."""
    assert cpu_of(servers_of(Config())) == {}
