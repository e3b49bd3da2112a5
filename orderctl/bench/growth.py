"""The cost of an order against how many are stored: each path measured at each size, and the slope of that."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from msgspec import Struct, structs

from orderctl.bench.ground import Ground, ground_on
from orderctl.bench.growth_tasks import Task
from orderctl.bench.measuring import Measure
from orderctl.bench.report import Machine
from orderctl.bench.running import machine_now, versions_of
from orderctl.bench.server_cpu import cpu_of, servers_of
from orderctl.bench.slope import Slope, slope_of
from orderctl.bench.stocking import Stock, cached_of, check_cached, forget, nothing_stored, stock_up
from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.config import Config
from orderctl.errors import OrderctlError

FORMAT: Final = 1


class GrowthPlan(Struct, frozen=True, kw_only=True):
    """What to run: each task at each size, the smallest first. `cache_max` bounds what is put into the cache."""

    tasks: Sequence[Task]
    sizes: Sequence[int]
    rounds: int
    cache_max: int
    smoke: bool


class Stored(Struct, frozen=True, kw_only=True):
    """How many orders sat in each tier at a size, when measuring began and when it ended; `fill_s` is how long storing took.

    `archive` counts what was stored, and not what the archiver added. `load_1m` is the machine's load, in between.
    """

    size: int
    hot: int
    hot_after: int
    cache: int
    archive: int
    fill_s: float
    load_1m: float


class Cost(Struct, frozen=True, kw_only=True):
    """One round: microseconds an order, of the processes under test, of each tier's servers on this machine, and of the clock."""

    size: int
    cpu_us: float
    wall_us: float
    servers_us: dict[str, float]


class Growing(Struct, frozen=True, kw_only=True):
    """One task. `trend` is the slope of `cpu_us` for ten times the orders, None with too few sizes or rounds.

    `server_trends` are those of the servers' CPU.
    """

    name: str
    idea: str
    unit: str
    units: int
    costs: list[Cost]
    trend: Slope | None = None
    server_trends: dict[str, Slope] = {}

    def median_us(self, size: int) -> float | None:
        """The cost at a size, None where it was not measured there."""
        found = [cost.cpu_us for cost in self.costs if cost.size == size]
        return median(found) if found else None


class GrowthReport(Struct, frozen=True, kw_only=True):
    """All of it. `missing` are the sizes that were to be measured and were not."""

    format: int = FORMAT
    started_at: str
    smoke: bool
    stores: str
    machine: Machine
    versions: dict[str, str]
    stored: list[Stored]
    tasks: list[Growing]
    missing: list[int]


def run_growth(
    config: Config,
    plan: GrowthPlan,
    *,
    clock: Clock,
    tell: Callable[[str], None],
    keep: Callable[[GrowthReport], None],
) -> GrowthReport:
    """Measure; `keep` gets the report anew after each size.

    Raises:
        UsageRefused: daemons run on this deployment.
        OrderctlError: a run did not do what is measured, or the cache does not hold what was put there.

    """
    started_us, machine, sizes = clock.now_us(), machine_now(), sorted(set(plan.sizes))
    with ground_on(config) as ground:
        report = GrowthReport(
            started_at=rfc3339(started_us),
            smoke=plan.smoke,
            stores="real" if ground.is_real else "embedded",
            machine=machine,
            versions=versions_of(ground),
            stored=[],
            tasks=[_nothing_of(task, plan) for task in plan.tasks],
            missing=sizes,
        )
        stock, size = nothing_stored(ground, clock.now_us() // 1_000), 0
        try:
            for size in sizes:
                began_s = clock.monotonic_s()
                stock = stock_up(ground, stock, size, cache_max=plan.cache_max, tell=tell)
                fill_s = clock.monotonic_s() - began_s
                report = _measure_size(ground, plan, report, stock, fill_s=fill_s, tell=tell)
                keep(report)
        finally:
            forget(ground, stock, cached=cached_of(size, plan.cache_max))
        return report


def _measure_size(
    ground: Ground, plan: GrowthPlan, report: GrowthReport, stock: Stock, *, fill_s: float, tell: Callable[[str], None]
) -> GrowthReport:
    size, hot, loads = stock.hot, _count_hot(ground), [os.getloadavg()[0]]
    measured: list[Growing] = []
    for task, before in zip(plan.tasks, report.tasks, strict=True):
        tell(f"{size:,} stored: {task.name}")
        costs = [*before.costs, *_rounds(ground, task, stock, plan, before.units)]
        measured.append(with_trends(structs.replace(before, costs=costs)))
        tell(f"{size:,} stored: {task.name}: {measured[-1].median_us(size):,.1f} us of CPU for each of the {task.unit}")
        loads.append(os.getloadavg()[0])
    with ground.opened() as tiers:
        check_cached(tiers, stock)  # or something that was measured has emptied it
    stored = Stored(
        size=size,
        hot=hot,
        hot_after=_count_hot(ground),
        cache=2 * stock.cached,
        archive=stock.archive,
        fill_s=round(fill_s, 1),
        load_1m=round(median(loads), 1),
    )
    return structs.replace(report, stored=[*report.stored, stored], tasks=measured, missing=report.missing[1:])


def _rounds(ground: Ground, task: Task, stock: Stock, plan: GrowthPlan, units: int) -> list[Cost]:
    servers = servers_of(ground.config)
    costs: list[Cost] = []
    with task.prepare(ground, stock, units) as run:
        for number in range(plan.rounds):
            before = cpu_of(servers)
            measure = run()
            if not measure.units:
                raise OrderctlError(f"{task.name}: round {number + 1} did nothing: 0 of {units:,} {task.unit}")
            costs.append(_cost(stock.hot, measure, before, cpu_of(servers)))
    return costs


def _cost(size: int, measure: Measure, before: dict[str, float], after: dict[str, float]) -> Cost:
    def each_us(seconds: float) -> float:
        return round(seconds / measure.units * 1e6, 3)

    return Cost(
        size=size,
        cpu_us=each_us(measure.cpu_s),
        wall_us=each_us(measure.seconds),
        servers_us={tier: each_us(seconds - before[tier]) for tier, seconds in after.items()},
    )


def with_trends(task: Growing) -> Growing:
    """With the slopes of its costs over the logarithm (base 10) of the size, where there is enough to tell one."""
    if len({cost.size for cost in task.costs}) < 2 or len(task.costs) < 3:
        return task
    tiers = {tier for cost in task.costs for tier in cost.servers_us}
    return structs.replace(
        task,
        trend=_trend(task.costs, lambda cost: cost.cpu_us),
        server_trends={tier: _server_trend(task.costs, tier) for tier in sorted(tiers)},
    )


def _server_trend(costs: Sequence[Cost], tier: str) -> Slope:
    return _trend(costs, lambda cost: cost.servers_us[tier])


def _trend(costs: Sequence[Cost], of: Callable[[Cost], float]) -> Slope:
    return slope_of([(math.log10(cost.size), of(cost)) for cost in costs])


def _nothing_of(task: Task, plan: GrowthPlan) -> Growing:
    units = task.smoke if plan.smoke else task.full
    return Growing(name=task.name, idea=task.idea, unit=task.unit, units=units, costs=[])


def _count_hot(ground: Ground) -> int:
    with ground.opened() as tiers:
        return tiers.hot.count_open()
