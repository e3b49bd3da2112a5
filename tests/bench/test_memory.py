"""Every daemon's memory, looked at for some seconds."""

from __future__ import annotations

import pytest

from orderctl.bench.memory import run_memory
from orderctl.cli.bench_memory import table
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.daemons.manifest import select


@pytest.mark.timeout(240)
def test_each_daemon_is_looked_at_idle_and_under_load() -> None:
    """All there are, on embedded stores; orders went through, and nobody had less than it has."""
    report = run_memory(Config(), idle_s=1, load_s=5, clock=SystemClock(), tell=lambda _said: None)
    assert {one.name for one in report.daemons} == {manifest.name for manifest in select(())}
    assert report.orders > 0
    for one in report.daemons:
        assert one.started > 10
        assert one.loaded <= one.peak
        assert len(one.samples) >= 7
        assert one.growth.low <= one.growth.value <= one.growth.high
        assert one.name in table(report)
