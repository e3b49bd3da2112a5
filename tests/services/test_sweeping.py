"""The sweep: what it leaves to events, whose orders it sweeps and when, how fast, and what it does with older epochs."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.errors import TierUnavailable
from orderctl.order import Order, Status
from orderctl.services.sweeping import BACKSTOP_S
from orderctl.services.timeouts import BATCH
from tests.services.tiers import Bench, away
from tests.services.timing import GROUPS, HOUR_S, Host, due_in, groups_of

ALL = frozenset(range(GROUPS))


def lateness(host: Host) -> float:
    """The sum of all lateness, in seconds."""
    return host.bench.counted("timeout_lateness_seconds_sum")


class TestWhen:
    """What is swept, and when."""

    @pytest.mark.parametrize("skew_s", [-HOUR_S, 0.0, HOUR_S], ids=["behind", "right", "ahead"])
    @pytest.mark.parametrize("own", [None, ALL], ids=["nobody's", "ours"])
    def test_events_are_left_a_grace(self, bench: Bench, skew_s: float, own: frozenset[int] | None) -> None:
        """An order is swept when it has been overdue for that long by the database's clock, whatever the host's says."""
        host = Host(bench, skew_s=skew_s)
        sweep = host.sweep(grace_s=1.0)
        [order] = due_in(bench, 5)
        host.pass_time(5.9)
        sweep.step(own)
        assert host.status(order) == ["pending"]
        host.pass_time(0.1)
        sweep.step(own)
        assert host.status(order) == ["timeout"]
        assert host.found == (0, 1)
        assert lateness(host) == 1.0

    def test_others_groups_are_swept_a_little_later(self, bench: Bench) -> None:
        """Whoever has them comes first; with nobody there, no order waits for the log to give its group to somebody."""
        host = Host(bench)
        sweep = host.sweep(grace_s=1.0)
        order, *others = due_in(bench, *[5] * 20)
        own = groups_of([order])
        others = [each for each in others if not groups_of([each]) & own]
        host.pass_time(6)
        sweep.step(own)
        assert host.status(order, *others) == ["timeout", *["pending"] * len(others)]
        host.pass_time(BACKSTOP_S)
        sweep.step(own)
        assert host.status(*others) == ["timeout"] * len(others)

    def test_no_groups_of_its_own_is_no_reason_to_rest(self, bench: Bench) -> None:
        """There may be nobody else."""
        host = Host(bench)
        [order] = due_in(bench, 0)
        host.pass_time(1 + BACKSTOP_S)
        host.sweep().step(frozenset())
        assert host.status(order) == ["timeout"]

    def test_final_orders_and_those_that_are_not_due_stay(self, bench: Bench) -> None:
        """Nothing is written."""
        host = Host(bench)
        [order] = due_in(bench, 60)
        host.pass_time(59)
        before = bench.tiers.hot.transactions
        host.sweep().step(None)
        assert host.status(order) == ["pending"]
        assert bench.tiers.hot.transactions == before


class TestPace:
    """How often, and how fast."""

    def test_it_rests_while_there_is_nothing_to_do(self, bench: Bench) -> None:
        """For between half of the interval and all of it, at random: never in step with others."""
        assert Host(bench).sweep(interval_s=1.0).step(None) == 0.75

    def test_it_goes_on_while_it_finds_more(self, bench: Bench) -> None:
        """At a bounded rate, a batch at a time."""
        host = Host(bench)
        due_in(bench, *[0] * (2 * BATCH + 1))
        host.pass_time(1)
        sweep = host.sweep(rate_max=1_000.0, interval_s=9.0)
        assert [sweep.step(None) for _ in range(3)] == pytest.approx([BATCH / 1_000, BATCH / 1_000, 0.001])
        # Then the cache is told, a batch at a time as well.
        assert [sweep.step(None) for _ in range(3)] == pytest.approx([0, 0, 6.75])
        assert host.found == (0, 2 * BATCH + 1)

    def test_it_says_how_late_the_oldest_is(self, bench: Bench) -> None:
        """Of those that are still open; 0 when there is none."""
        host = Host(bench)
        due_in(bench, 0)
        host.pass_time(0.5)
        sweep = host.sweep()
        sweep.step(None)
        assert bench.counted("oldest_overdue_seconds") == 0.5
        host.pass_time(1)
        sweep.step(None)
        assert bench.counted("oldest_overdue_seconds") == 0

    def test_a_database_that_is_away_ends_the_step(self, bench: Bench) -> None:
        """The daemon is failing then, and tries again."""
        host = Host(bench)
        [order] = due_in(bench, 0)
        host.pass_time(9)
        host.deadlines.error = away("hot")
        sweep = host.sweep()
        with pytest.raises(TierUnavailable):
            sweep.step(None)
        host.deadlines.error = None
        sweep.step(None)
        assert host.status(order) == ["timeout"]


class TestOlderEpochs:
    """Open rows that a promoted copy has, and that may be final in the archive."""

    @pytest.fixture
    def orders(self, bench: Bench) -> list[Order]:
        """Two overdue ones of an older epoch; the first is final in the archive."""
        lost, archived = due_in(bench, 0, 0)
        ended = structs.replace(archived, status=Status.SUCCESS, version=archived.version + 2)
        bench.tiers.archive.write([ended])
        assert bench.tiers.shards[0].registry.raise_epoch(above=0)
        return [archived, lost]

    @pytest.mark.parametrize("by_event", [True, False], ids=["event", "sweep"])
    def test_the_archive_s_word_stands(self, bench: Bench, orders: list[Order], by_event: bool) -> None:
        """What is final there leaves the hot store; what is not there is timed out, in the new epoch."""
        host = Host(bench)
        host.pass_time(2)
        if by_event:
            host.named(*orders)
        else:
            host.sweep().step(None)
        assert host.status(*orders) == ["gone", "timeout"]
        assert host.found == ((1, 0) if by_event else (0, 1))
        [stored] = bench.tiers.hot.load([orders[1].order_id])
        assert stored is not None
        assert stored.version > 1 << 32

    def test_nothing_is_decided_without_the_archive(self, bench: Bench, orders: list[Order]) -> None:
        """The rows stay as they are until it is back."""
        host = Host(bench)
        host.pass_time(2)
        bench.archive.error = away("archive")
        sweep = host.sweep()
        host.named(*orders)
        sweep.step(None)
        assert host.status(*orders) == ["pending", "pending"]
        bench.archive.error = None
        host.pass_time(1)
        sweep.step(None)
        assert host.status(*orders) == ["gone", "timeout"]
