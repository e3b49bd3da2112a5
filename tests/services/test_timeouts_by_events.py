"""Time-outs that events bring about: early, late, repeated, unreadable, and while tiers are away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orderctl.errors import OutcomeUnknown, TierRejected, TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Change, Status
from orderctl.services.answers import Stored
from orderctl.services.timeouts import EARLY_MAX_S, RETRY_S
from orderctl.stores.deadlines import DeadlineStore, TimeOutOutcome
from orderctl.stores.log import EXPIRED, PARKED, Place
from orderctl.stores.record import record_of
from orderctl.stores.sharded import PartlyRead, PartlyWritten
from tests.services.tiers import Bench, asking, away
from tests.services.timing import GROUPS, HOUR_S, Host, due_in, event, raw

SKEWS = pytest.mark.parametrize("skew_s", [-HOUR_S, 0.0, HOUR_S], ids=["behind", "right", "ahead"])
"""The clock of the daemon's host."""


class LosesTheReply:
    """A deadline store that commits and then says that it does not know, once."""

    def __init__(self, store: DeadlineStore) -> None:
        self._store = store
        self.lost = 0

    def time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome]:
        outcomes = self._store.time_out(order_ids)
        if not self.lost:
            self.lost += 1
            raise OutcomeUnknown("hot")
        return outcomes


class OneShardAway:
    """A deadline store whose last order's shard, and whatever else the sweep would find there, is away."""

    def __init__(self, store: DeadlineStore) -> None:
        self._store = store

    def time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome]:
        raise PartlyWritten([*self._store.time_out(order_ids[:-1]), TierUnavailable("hot")])

    def time_out_overdue(self, groups: frozenset[int] | None, *, limit: int, late_by_us: int = 0) -> None:
        found = self._store.time_out_overdue(groups, limit=limit, late_by_us=late_by_us)
        raise PartlyWritten([*found, TierUnavailable("hot")])

    def oldest_overdue_us(self) -> int:
        raise PartlyRead([self._store.oldest_overdue_us(), TierUnavailable("hot")])


class TestEvents:
    """Messages of `orders.expired`."""

    @SKEWS
    def test_an_event_times_its_order_out(self, bench: Bench, skew_s: float) -> None:
        """At once and by the database's clock, however wrong the host's is; the lateness is the database's word, too."""
        host = Host(bench, skew_s=skew_s)
        order, other = due_in(bench, 10, 10)
        host.pass_time(10.25)
        assert host.named(order) == {Place(EXPIRED, group_of(order.order_id, GROUPS)): 1}
        assert host.status(order, other) == ["timeout", "pending"]
        assert host.found == (1, 0)
        assert bench.counted("timeout_lateness_seconds_sum") == 0.25

    @SKEWS
    def test_an_early_event_is_waited_for(self, bench: Bench, skew_s: float) -> None:
        """The cache node's clock was ahead: the order is timed out when its deadline has come, and not before."""
        host = Host(bench, skew_s=skew_s)
        [order] = due_in(bench, 1.5)
        host.named(order)
        assert host.hints.next_in_s() == pytest.approx(1.5)
        host.pass_time(1.4)
        assert host.hints.ask_again() == 0
        assert host.status(order) == ["pending"]
        host.pass_time(0.1)
        assert host.hints.ask_again() == 1
        assert host.status(order) == ["timeout"]
        assert host.found == (1, 0)
        assert host.hints.next_in_s() == float("inf")

    def test_an_event_that_is_far_too_early_is_left_to_the_sweep(self, bench: Bench) -> None:
        """Nothing is kept in memory until a deadline that is minutes away."""
        host = Host(bench)
        [order] = due_in(bench, EARLY_MAX_S + 0.1)
        host.named(order)
        assert host.hints.next_in_s() == float("inf")
        host.pass_time(10)
        host.sweep().step(None)
        assert host.status(order) == ["timeout"]
        assert host.found == (0, 1)

    def test_what_is_kept_in_memory_is_bounded(self, bench: Bench) -> None:
        """Whatever is too much is left to the sweep."""
        host = Host(bench, again_max=3)
        orders = due_in(bench, *[1] * 5)
        host.named(*orders)
        host.named(*orders)
        host.pass_time(1)
        assert host.hints.ask_again() == 3
        assert host.status(*orders).count("timeout") == 3

    def test_an_event_that_comes_twice_times_out_once(self, bench: Bench) -> None:
        """In one batch, and in a later one."""
        host = Host(bench)
        [order] = due_in(bench, 1)
        host.pass_time(1)
        host.named(order, order)
        host.named(order)
        assert host.found == (1, 0)
        [stored] = bench.tiers.hot.load([order.order_id])
        assert stored is not None
        assert stored.version == order.version + 1

    def test_a_final_order_is_left_as_it_is(self, bench: Bench) -> None:
        """And so is one that has moved to the archive, or never was."""
        host = Host(bench)
        order, moved = due_in(bench, 1, 1)
        bench.tiers.hot.change([Change(order.order_id, Status.SUCCESS)], now_us=bench.clock.now_us())
        host.pass_time(2)
        gone = due_in(bench, 9)[0].order_id[:-1] + "f"
        host.hints.handle([event(order.order_id), event(gone)])
        assert host.status(order, moved) == ["success", "pending"]
        assert host.found == (0, 0)

    def test_readers_need_not_wait_for_the_log(self, bench: Bench) -> None:
        """The cached record is the timed-out order as soon as the database has it."""
        host, command = Host(bench), bench.command()
        [answer] = command.create([asking()])
        assert isinstance(answer, Stored)
        order_id = answer.record.order_id
        [order] = bench.tiers.hot.load([order_id])
        assert order is not None
        host.pass_time(900)
        host.named(order)
        assert not host.time_outs.tell_cache()
        [entry] = bench.tiers.cache.get([order_id])
        [stored] = bench.tiers.hot.load([order_id])
        assert entry is not None
        assert stored is not None
        assert stored.status is Status.TIMEOUT
        record = record_of(stored)
        assert (entry.version, entry.body) == (record.version, record.body)


class TestUnreadable:
    """Messages that name nothing."""

    def test_they_are_parked_and_the_others_flow_on(self, bench: Bench) -> None:
        """With the reason, and their offsets are committed with the rest."""
        host = Host(bench)
        [order] = due_in(bench, 0)
        bad = [b"", b"{}", b"\xff", b'{"order_id": "x", "expired_at_ms": 1}']
        messages = [raw(value, offset) for offset, value in enumerate(bad)]
        committed = host.hints.handle([*messages, event(order.order_id, 7)])
        assert committed[Place(EXPIRED, 0)] >= len(bad)
        assert host.status(order) == ["timeout"]
        assert len(bench.tiers.log.read(Place(PARKED, 0), 0, 9)) == len(bad)
        assert bench.counted("parked_total") == len(bad)

    def test_they_come_again_while_they_cannot_be_parked(self, bench: Bench) -> None:
        """A message is not gone before its copy is acknowledged."""
        host = Host(bench)
        bench.log.error = away("log")
        with pytest.raises(TierUnavailable):
            host.hints.handle([raw(b"rubbish")])


class TestAway:
    """Tiers that fail meanwhile."""

    def test_an_order_is_asked_for_again_when_its_database_is_back(self, bench: Bench) -> None:
        """Without holding the topic up; it still counts as found by its event."""
        host = Host(bench)
        [order] = due_in(bench, 0)
        host.deadlines.error = away("hot")
        host.named(order)
        host.pass_time(RETRY_S)
        assert host.hints.ask_again() == 1
        host.deadlines.error = None
        host.pass_time(RETRY_S)
        assert host.hints.ask_again() == 1
        assert host.status(order) == ["timeout"]
        assert host.found == (1, 0)
        assert bench.counted("tier_errors_total", tier="hot", kind="TierUnavailable") == 2

    def test_an_unknown_outcome_is_asked_for_again(self, bench: Bench) -> None:
        """What was timed out meanwhile is not timed out twice."""
        host = Host(bench, deadlines=LosesTheReply(bench.tiers.deadlines))
        [order] = due_in(bench, 0)
        host.named(order)
        host.pass_time(RETRY_S)
        assert host.hints.ask_again() == 1
        [stored] = bench.tiers.hot.load([order.order_id])
        assert stored is not None
        assert (stored.status, stored.version) == (Status.TIMEOUT, order.version + 1)
        assert host.hints.next_in_s() == float("inf")

    def test_what_is_refused_is_not_asked_for_for_ever(self, bench: Bench) -> None:
        """It is a fault of ours; the metric of overdue orders shows it."""
        host = Host(bench)
        [order] = due_in(bench, 0)
        host.deadlines.error = TierRejected("hot")
        host.named(order)
        assert host.hints.next_in_s() == float("inf")

    def test_one_shard_does_not_hold_up_the_others(self, bench: Bench) -> None:
        """Its orders are asked for again, and the sweep goes on with what there is."""
        host = Host(bench, deadlines=OneShardAway(bench.tiers.deadlines))
        here, there = due_in(bench, 0, 0)
        host.named(here, there)
        assert host.status(here, there) == ["timeout", "pending"]
        assert host.hints.next_in_s() == RETRY_S
        host.pass_time(1)
        host.sweep().step(None)
        assert host.status(there) == ["timeout"]
        assert host.found == (1, 1)
        assert bench.counted("tier_errors_total", tier="hot", kind="TierUnavailable") == 3

    def test_a_cache_that_is_away_holds_nothing_up(self, bench: Bench) -> None:
        """It is told by the log later."""
        host = Host(bench)
        orders = due_in(bench, 0, 0)
        bench.cache.error = away("cache")
        host.named(*orders)
        assert not host.time_outs.tell_cache()
        assert host.status(*orders) == ["timeout"] * 2
