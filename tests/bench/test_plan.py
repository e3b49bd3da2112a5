"""The plan's arithmetic, on round figures, and what it refuses."""

from __future__ import annotations

import msgspec
import pytest

from orderctl.bench.load_wanted import WantedLoad
from orderctl.bench.plan import Capacity, Part, plan
from orderctl.bench.rates import NEEDED, rates_of
from orderctl.errors import UsageRefused
from orderctl.ids import PARTITIONS
from tests.bench.reports import report, round_figures

LOAD = WantedLoad(lookups_per_s=1_000_000, creates_per_s=1_000, utilisation=0.5)


def part(capacity: Capacity, name: str) -> Part:
    [found] = [part for part in capacity.parts if part.name == name]
    return found


def planned(**changed: float) -> Capacity:
    return plan(report(), msgspec.structs.replace(LOAD, **changed))


def test_cores_follow_from_cpu_time() -> None:
    """A million single look-ups a second at 100 us each, at half of what was measured: 200 cores, 7 machines of 32."""
    query = part(planned(), "query servers")
    assert (query.cores, query.machines, query.binds) == (200, 7, "processor")


def test_batches_share_the_cost_of_a_request() -> None:
    """One order of a batch of 500 costs what was measured for that, one by itself what was measured for one."""
    rates = rates_of(report())
    assert rates.lookup_us(from_memory=True, batch=1) == pytest.approx(100)
    assert rates.lookup_us(from_memory=False, batch=500) == pytest.approx(1)
    assert 1 < rates.lookup_us(from_memory=True, batch=100) < 3
    assert part(planned(lookup_batch=500), "query servers").cores == 2


def test_a_shard_is_as_fast_as_its_slower_half() -> None:
    """4 000 row changes a second; MySQL takes 10 000 and the pump, a thread, 10 000: 0.8, so one shard, and its copies."""
    mysql = part(planned(), "mysql")
    assert (mysql.shares, mysql.copies, mysql.number) == (1, 3, 3)
    [processor] = [need for need in mysql.needs if need.resource == "processor"]
    assert processor.arithmetic.startswith("4,000 row changes/s / 10,000 ")
    assert part(planned(creates_per_s=10_000), "mysql").shares == 8


def test_redis_needs_the_primaries_that_its_reads_and_writes_ask_for() -> None:
    """Half of a million reads at 5 000 a primary (10 000 by two), 8 000 writes at 10 000, at half: 201.6; each twice."""
    redis = part(planned(), "redis")
    assert (redis.shares, redis.number) == (202, 404)
    assert redis.machines == 13, "as many share a machine as it has cores"


def test_what_binds_is_named() -> None:
    """A long retention makes it the archive's disk."""
    capacity = planned(retention_days=36_500)
    assert part(capacity, "cassandra").binds == "disk"
    assert "cassandra: disk binds" in capacity.limits


def test_more_of_anything_is_never_less_of_a_machine() -> None:
    """Every part of the bill grows with the load, or stays."""
    small, large = planned(), planned(lookups_per_s=2_000_000, creates_per_s=2_000)
    for before, after in zip(small.parts, large.parts, strict=True):
        assert after.number >= before.number, before.name


def test_groups_end_at_4096() -> None:
    """More than there can be are named as the limit that they are."""
    assert planned(lookups_per_s=0, creates_per_s=1).groups == 64
    capacity = planned(lookups_per_s=100_000_000)
    assert capacity.groups == PARTITIONS
    assert any("beyond the design" in limit for limit in capacity.limits)


def test_every_number_that_nobody_measured_is_listed() -> None:
    """With its meaning and its value."""
    assumed = planned().assumed
    assert set(assumed) == set(WantedLoad.__struct_fields__)
    assert assumed["retention_days"] == "365: days that the archive keeps an order"


def test_a_smoke_run_is_refused() -> None:
    """Its figures mean nothing."""
    with pytest.raises(UsageRefused, match="smoke"):
        plan(report(smoke=True), LOAD)


def test_a_report_that_lacks_a_scenario_is_refused() -> None:
    """The plan says which."""
    some = [round_figures(name) for name in NEEDED if name != "cdc-backlog"]
    with pytest.raises(UsageRefused, match="lacks cdc-backlog"):
        plan(report(*some), LOAD)


@pytest.mark.parametrize(
    ("name", "value"), [("near_hit", 1.5), ("creates_per_s", -1), ("utilisation", 0), ("cores", 0)]
)
def test_a_number_that_cannot_be_is_refused(name: str, value: float) -> None:
    """Instead of a bill that means nothing."""
    with pytest.raises(UsageRefused, match=name.replace("_", " ")):
        planned(**{name: value})


def test_nan_is_refused() -> None:
    """It is neither too large nor too small."""
    with pytest.raises(UsageRefused):
        planned(lookups_per_s=float("nan"))
