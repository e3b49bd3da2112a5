"""Growth and memory on real servers, small; nothing is left of them."""

from __future__ import annotations

import pytest

from orderctl.bench.growth import GrowthPlan, run_growth
from orderctl.bench.growth_tasks import tasks
from orderctl.bench.memory import run_memory
from orderctl.clock import SystemClock
from tests.bench.test_real_scenarios import left_behind
from tests.stack import RunningStack, needs

pytestmark = [needs("sql", "redis", "kafka", "cassandra"), pytest.mark.timeout(300)]
NAMES = ("batch-lookup-cache", "batch-lookup-hot", "batch-lookup-archive", "cdc", "cache-sync-2", "archiver")


def test_growth_on_servers(stack: RunningStack) -> None:
    """Each tier is filled by its servers' fast ways, and every path finds there what it looks for; their CPU is told of."""
    before = left_behind(stack.config)
    chosen = [task for task in tasks(is_real=True, members=(2,)) if task.name in NAMES]
    plan = GrowthPlan(tasks=chosen, sizes=(1_000,), rounds=2, cache_max=1_000, smoke=True)
    report = run_growth(stack.config, plan, clock=SystemClock(), tell=lambda _said: None, keep=lambda _report: None)
    [stored] = report.stored
    assert (stored.hot, stored.cache, stored.archive) == (1_000, 1_000, 1_000)
    assert {task.name for task in report.tasks} == set(NAMES)
    for task in report.tasks:
        assert len(task.costs) == 2
        assert set(task.costs[0].servers_us) == {"mysql", "redis", "kafka", "cassandra"}
    assert left_behind(stack.config) <= before


def test_memory_on_servers(stack: RunningStack) -> None:
    """The daemons run on topics of their own, which are gone afterwards."""
    before = left_behind(stack.config)
    report = run_memory(stack.config, idle_s=1, load_s=5, clock=SystemClock(), tell=lambda _said: None)
    assert report.orders > 0
    assert {one.name for one in report.daemons} >= {"cdc", "cache-sync", "archiver", "expiry", "timeouts"}
    assert left_behind(stack.config) <= before
