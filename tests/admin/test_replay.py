"""Replay: the dry run changes nothing and is right, the run changes just that, and whoever stops it is told where to go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orderctl.admin.audit import audit_log
from orderctl.admin.replay import parse_point, text_of
from orderctl.clock import US_PER_S, ManualClock
from orderctl.errors import TierUnavailable, UsageRefused
from orderctl.ids import group_of
from orderctl.order import Status
from orderctl.services.replaying import AtOffset, AtTime, spans
from orderctl.stores.log import CHANGES, EXPIRED, PARKED, GroupActive, Message, Outgoing, Place
from orderctl.stores.record import Kind
from orderctl.stores.tiers import Tiers
from tests.admin.flowing import BEGINNING, GROUPS, Flow, unheard
from tests.admin.replay_contract import ReplayContract, older, overdue

MANY = 2_500


@pytest.fixture
def flow(tiers: Tiers, clock: ManualClock, tmp_path: Path) -> Flow:
    """Tiers with nothing in them yet."""
    return Flow(tiers, clock, tmp_path / "audit.jsonl")


@pytest.fixture
def many() -> int:
    """As many as take a second."""
    return MANY


class TestEmbedded(ReplayContract):
    """The embedded stores."""


class FailsLater:
    """A log whose reads fail after so many."""

    def __init__(self, log: object, reads: int) -> None:
        self._log = log
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, place: Place, offset: int, limit: int) -> list[Message]:
        self._reads -= 1
        if self._reads < 0:
            raise TierUnavailable("log")
        found: list[Message] = self.__getattr__("read")(place, offset, limit)
        return found


class TestCacheSync:
    """Its range of changes, against the cache as it is."""

    def test_what_would_not_be_filled_in_counts(self, flow: Flow) -> None:
        """That an order does not exist is dropped; a load that is under way gets its floor."""
        orders = flow.moved(20)
        denied, leased = orders[:10], orders[10:]
        flow.tiers.cache.invalidate([order.order_id for order in orders])
        flow.deny(denied)
        flow.lease(leased)
        plan = flow.plan("cache-sync")
        assert (plan.events, plan.orders, plan.would_change) == (40, 20, 20)
        assert {each.change for each in plan.examples} <= {
            "its cached entry, which says nothing of it, is dropped",
            "nothing older than version 2 is filled in",
        }
        assert flow.execute("cache-sync").applied == 20
        assert flow.all_cached(denied) == [None] * 10
        assert [(e.kind, e.version) for e in flow.all_cached(leased)] == [(Kind.LEASE, 2)] * 10
        assert flow.plan("cache-sync").would_change == 0

    def test_what_the_group_has_not_read_is_left_to_it(self, flow: Flow) -> None:
        """A mark that said more than was applied would hide what is missing."""
        orders = flow.moved(20)
        flow.orders.cache([older(order) for order in orders])
        flow.orders.move(orders, Status.SUCCESS)
        flow.pump()
        done = flow.execute("cache-sync")
        assert (done.events, done.left, done.applied) == (40, 20, 20)
        assert {flow.cached(order).status for order in orders} == {Status.PROCESSING}
        flow.follow()
        assert {flow.cached(order).status for order in orders} == {Status.SUCCESS}

    def test_a_group_that_went_back_in_time_is_left_to_cache_sync(self, flow: Flow) -> None:
        """Nothing is dropped by a replay, and the dry run says so beforehand."""
        [order] = flow.moved(1)
        group = group_of(order.order_id, GROUPS)
        flow.tiers.cache.reset_group(group, mark=0)
        flow.orders.cache([order])
        begin = AtOffset(group, 1)
        for run in (flow.plan, flow.execute):
            with pytest.raises(UsageRefused, match=f"the cache of group {group} went back in time"):
                run("cache-sync", begin)
        assert flow.cached(order) is not None

    def test_a_message_that_means_nothing(self, flow: Flow) -> None:
        """Dry it is parked nowhere; live it is parked again, and its order's record dropped."""
        [order] = flow.moved(1)
        place = Place(CHANGES, group_of(order.order_id, GROUPS))
        flow.tiers.log.publish([Outgoing(place, order.order_id.encode(), b"{")])
        flow.follow()
        flow.orders.cache([order])
        before = flow.state([order])
        assert (flow.plan("cache-sync").would_change, flow.state([order])) == (1, before)
        assert flow.execute("cache-sync").applied == 1
        assert flow.cached(order) is None
        assert flow.tiers.log.ends(PARKED)[place.partition] == (0, 2)

    @pytest.mark.parametrize("pages", [0, 1, 7, 30])
    def test_stopped_by_a_failure_it_goes_on(self, flow: Flow, pages: int) -> None:
        """From where it says, and together the two have done it all."""
        orders = flow.moved(100)
        flow.orders.cache([older(order) for order in orders])
        stopping = flow.replayer("cache-sync", log=FailsLater(flow.tiers.log, pages))
        plan = flow.plan("cache-sync")
        with audit_log(flow.path, flow.clock) as audit, pytest.raises(TierUnavailable):
            stopping.execute(plan, audit, reason=None, progress=unheard)
        assert stopping.stopped_at is not None
        last = flow.audited()[-1]
        assert (last["action"], last["done"], last["stopped_at"]) == ("replay", False, stopping.stopped_at)
        flow.execute("cache-sync", parse_point(stopping.stopped_at, now_us=flow.clock.now_us()))
        assert flow.plan("cache-sync").would_change == 0

    def test_the_audit_log_tells_of_it(self, flow: Flow) -> None:
        """What, from where to where, by which plan, why, and what came of it."""
        flow.orders.cache([older(order) for order in flow.moved(3)])
        flow.execute("cache-sync")
        began, ended = flow.audited()
        assert (began["daemon"], began["would_change"], began["reason"], began["done"]) == (
            "cache-sync",
            3,
            "test",
            False,
        )
        assert (ended["applied"], ended["done"], ended["plan"]) == (3, True, began["plan"])


class TestTimeouts:
    """Hints, against the rows as they are."""

    def test_rows_of_an_older_epoch_count_as_well(self, flow: Flow, clock: ManualClock) -> None:
        """They are settled first: what is final in the archive stands, and the row goes."""
        orders = overdue(flow)
        flow.tiers.archive.write([structs.replace(orders[0], status=Status.FAILED, version=9)])
        flow.tiers.registry.raise_epoch(above=0)
        plan = flow.plan("timeouts")
        done = flow.execute("timeouts")
        assert (plan.would_change, done.applied) == (20, 20)
        rows = flow.tiers.hot.load([order.order_id for order in orders[:20]])
        assert [row and row.status for row in rows] == [None] + [Status.TIMEOUT] * 19

    def test_a_database_that_is_away_stops_it(self, flow: Flow, clock: ManualClock) -> None:
        """The daemon would ask again by and by; a replay says that it is not done, and where."""

        class Away:
            def time_out(self, _: Sequence[str]) -> None:
                raise TierUnavailable("hot")

        overdue(flow)
        replayer = flow.replayer("timeouts", deadlines=Away())
        with audit_log(flow.path, flow.clock) as audit, pytest.raises(TierUnavailable):
            replayer.execute(flow.plan("timeouts"), audit, reason=None, progress=unheard)
        assert replayer.stopped_at == text_of(BEGINNING)

    def test_interrupted_it_says_where_to_go_on(self, flow: Flow) -> None:
        """By a hand on the keyboard; in one partition that is an offset, and the audit log has it, too."""
        [order] = flow.orders.create(1)
        flow.hint([order], times=1_500)
        group = group_of(order.order_id, GROUPS)
        replayer = flow.replayer("timeouts", AtOffset(group, 0))

        def interrupt(events: int) -> None:
            assert events == 1_000
            raise KeyboardInterrupt

        with audit_log(flow.path, flow.clock) as audit, pytest.raises(KeyboardInterrupt):
            replayer.execute(replayer.plan(progress=unheard), audit, reason=None, progress=interrupt)
        assert replayer.stopped_at == flow.audited()[-1]["stopped_at"] == f"{group}:1000"
        assert flow.plan("timeouts", AtOffset(group, 1_000)).events == 500


class TestArchiver:
    """Changes, against the final rows as they are."""

    def test_it_does_not_run_beside_the_daemon(self, flow: Flow) -> None:
        """Two movers could take each other's young write for their own old one; a dry run writes nothing, and may."""
        member = flow.tiers.log.join("archiver", [CHANGES])
        try:
            member.poll(1, 0)
            assert flow.plan("archiver").would_change == 0
            with pytest.raises(GroupActive, match="archiver"):
                flow.execute("archiver")
        finally:
            member.close()


class TestSeeking:
    """Moving the group back instead."""

    def seek(self, flow: Flow, *points: AtTime | AtOffset) -> None:
        replayer = flow.replayer("cache-sync", *points)
        with audit_log(flow.path, flow.clock) as audit:
            assert replayer.seek(replayer.plan(progress=unheard), audit, reason="test").sought

    def test_the_group_reads_it_all_again(self, flow: Flow) -> None:
        """From the beginning, or in one partition from an offset."""
        [order, *_] = flow.moved(50)
        group = group_of(order.order_id, GROUPS)
        committed = flow.tiers.log.committed("cache-sync", CHANGES)
        self.seek(flow, AtOffset(group, 1))
        moved_to = flow.tiers.log.committed("cache-sync", CHANGES)
        assert moved_to == [1 if number == group else offset for number, offset in enumerate(committed)]
        self.seek(flow, BEGINNING)
        assert {offset or 0 for offset in flow.tiers.log.committed("cache-sync", CHANGES)} == {0}
        assert [line["done"] for line in flow.audited()] == [False, True] * 2
        assert flow.audited()[1]["offsets"] == {str(group): 1}

    def test_never_while_the_daemon_runs(self, flow: Flow) -> None:
        """It would go on from where it is, and commit over it."""
        flow.moved(5)
        member = flow.tiers.log.join("cache-sync", [CHANGES])
        member.poll(1, 0)
        with pytest.raises(GroupActive):
            self.seek(flow, BEGINNING)
        member.close()
        self.seek(flow, BEGINNING)

    def test_never_forwards(self, flow: Flow) -> None:
        """What nobody has applied is not passed by."""
        [order] = flow.moved(1)
        flow.orders.move([order], Status.SUCCESS)
        flow.pump()
        with pytest.raises(UsageRefused, match="forwards"):
            self.seek(flow, AtOffset(group_of(order.order_id, GROUPS), 3))


class TestRanges:
    """From here to there, as operators say it."""

    def test_by_time_and_by_offset(self, flow: Flow, clock: ManualClock) -> None:
        """What was published before, or is behind, is left out."""
        flow.moved(10)
        clock.advance(60)
        since = AtTime(clock.now_us() // 1000)
        clock.advance(60)
        second = flow.moved(7)
        group = group_of(second[0].order_id, GROUPS)
        mine = [order for order in second if group_of(order.order_id, GROUPS) == group]
        log = flow.tiers.log
        assert sum(span.events for span in spans(log, CHANGES, "cache-sync", BEGINNING, None)) == 34
        assert sum(span.events for span in spans(log, CHANGES, "cache-sync", since, None)) == 14
        assert sum(span.events for span in spans(log, CHANGES, "cache-sync", BEGINNING, since)) == 20
        end = log.ends(CHANGES)[group][1]
        [span] = spans(log, CHANGES, "cache-sync", since, AtOffset(group, end - 1))
        assert (span.place, span.events) == (Place(CHANGES, group), 2 * len(mine) - 1)
        assert flow.plan("cache-sync", since).orders == 7

    def test_what_makes_no_range(self, flow: Flow) -> None:
        """Two partitions, one that is not there, or a daemon that does not read the log."""
        log = flow.tiers.log
        with pytest.raises(UsageRefused, match="different partitions"):
            spans(log, EXPIRED, "timeouts", AtOffset(1, 0), AtOffset(2, 0))
        with pytest.raises(UsageRefused, match="no partition 64"):
            spans(log, EXPIRED, "timeouts", AtOffset(64, 0), None)
        with pytest.raises(UsageRefused, match="'query' cannot be replayed"):
            flow.plan("query")

    @pytest.mark.parametrize(
        ("text", "point"),
        [
            ("17:4200", AtOffset(17, 4200)),
            ("15m", AtTime(1_000_000_000_000 - 900_000)),
            ("2001-09-09T01:46:40Z", AtTime(1_000_000_000_000)),
            ("2001-09-09T03:46:40.5+02:00", AtTime(1_000_000_000_500)),
            ("2001-09-09 01:46:40", AtTime(1_000_000_000_000)),
        ],
    )
    def test_points_as_they_are_written(self, text: str, point: AtTime | AtOffset) -> None:
        """A time, with UTC where there is no zone; how long ago; a partition's offset. What is shown is read back."""
        assert parse_point(text, now_us=1_000_000_000 * US_PER_S) == point
        assert parse_point(text_of(point), now_us=0) == point

    @pytest.mark.parametrize("text", ["", "now", "17:", "17:-1", "15", "2026-13-01", "1:2:3"])
    def test_what_is_no_point(self, text: str) -> None:
        """It is said how one is written."""
        with pytest.raises(UsageRefused, match="is no place in the log"):
            parse_point(text, now_us=0)
