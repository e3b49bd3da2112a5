"""What `DeadlineStore.time_out` promises: by the database's clock and rows alone, once, and never early."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.event import Op
from orderctl.order import FINAL, Status
from orderctl.stores.deadlines import DeadlineStore, NotDue, Settled, TimedOut
from orderctl.stores.hot import Changed, HotStore, OldEpoch
from orderctl.version import next_version
from tests.contract.deadline_harness import HOUR_US, US_PER_MS, DeadlineHarness, OpenedDeadlines, all_due, due
from tests.contract.feed_harness import events, read_all
from tests.contract.hot_harness import an_order, to


class TimingOutContract:
    """Timing out orders that somebody names."""

    def test_an_order_that_is_due_is_timed_out(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """Its next version, without a reason, at the database's time, which says how late it is."""
        now_us = harness.now_us()
        order = due(hot, now_us - 5 * US_PER_MS, updated_at=now_us - HOUR_US)
        [outcome] = deadlines.time_out([order.order_id])
        assert isinstance(outcome, TimedOut)
        assert outcome.order == structs.replace(
            order, status=Status.TIMEOUT, version=order.version + 1, updated_at=order.deadline_at + outcome.late_us
        )
        assert now_us <= outcome.order.updated_at <= harness.now_us()
        assert hot.load([order.order_id]) == [outcome.order]

    def test_an_order_is_not_timed_out_early(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """Nothing is written, and the answer says how long to wait; after that long it is timed out."""
        order = due(hot, harness.now_us() + 300 * US_PER_MS)
        [outcome] = deadlines.time_out([order.order_id])
        assert isinstance(outcome, NotDue)
        assert 0 < outcome.due_in_us <= 300 * US_PER_MS
        assert hot.load([order.order_id]) == [order]
        harness.pass_time(outcome.due_in_us / 1e6)
        [outcome] = deadlines.time_out([order.order_id])
        assert isinstance(outcome, TimedOut)

    def test_a_processing_order_is_timed_out_and_loses_its_reason(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """The reason was why it was processing."""
        order = due(hot, harness.now_us())
        hot.change([to(order, Status.PROCESSING, status_reason="at the bank")], now_us=order.updated_at)
        [outcome] = deadlines.time_out([order.order_id])
        assert isinstance(outcome, TimedOut)
        assert (outcome.order.status_reason, outcome.order.version) == (None, order.version + 2)
        assert hot.load([order.order_id]) == [outcome.order]

    @pytest.mark.parametrize("status", sorted(FINAL))
    def test_a_final_order_stays_as_it_is(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore, status: Status
    ) -> None:
        """However long its deadline has passed."""
        order = due(hot, harness.now_us() - HOUR_US)
        [changed] = hot.change([to(order, status, status_reason="why")], now_us=order.updated_at)
        assert isinstance(changed, Changed)
        assert deadlines.time_out([order.order_id]) == [Settled()]
        assert deadlines.time_out_overdue(None, limit=9) == []
        assert hot.load([order.order_id]) == [changed.order]

    def test_a_batch_is_answered_in_its_order(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """Due, not due, unknown, and one that is named twice, which is timed out once."""
        now_us = harness.now_us()
        past, future = due(hot, now_us), due(hot, now_us + HOUR_US)
        unknown = an_order().order_id
        ids = [future.order_id, past.order_id, unknown, past.order_id]
        kinds = [type(outcome) for outcome in deadlines.time_out(ids)]
        assert kinds == [NotDue, TimedOut, Settled, Settled]
        assert deadlines.time_out([]) == []

    def test_a_large_batch_is_one_call(self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore) -> None:
        """More than a statement takes at once."""
        orders = all_due(hot, [harness.now_us()] * 1_200)
        outcomes = deadlines.time_out([order.order_id for order in orders[::-1]])
        timed_out = [outcome.order for outcome in outcomes if isinstance(outcome, TimedOut)]
        assert timed_out == hot.load([order.order_id for order in orders[::-1]])

    def test_time_does_not_run_back_in_an_order(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """A command server whose clock is ahead has written a later time than the database's."""
        ahead_us = harness.now_us() + HOUR_US
        order = due(hot, harness.now_us() - US_PER_MS, updated_at=ahead_us)
        [outcome] = deadlines.time_out([order.order_id])
        assert isinstance(outcome, TimedOut)
        assert outcome.order.updated_at == ahead_us
        assert outcome.late_us < HOUR_US
        assert hot.load([order.order_id]) == [outcome.order]

    def test_a_row_of_an_older_epoch_is_left_alone(
        self, harness: DeadlineHarness, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """A final state of it may be in the archive; one that was created since is timed out."""
        old = due(hot, harness.now_us())
        harness.set_epoch(3)
        new = due(hot, harness.now_us())
        [left, done] = deadlines.time_out([old.order_id, new.order_id])
        assert left == OldEpoch(old)
        assert isinstance(done, TimedOut)
        assert done.order.version == next_version(new.version, 3)
        assert hot.load([old.order_id, new.order_id]) == [old, done.order]

    def test_a_time_out_is_in_the_feed_as_any_change(
        self, harness: DeadlineHarness, opened: OpenedDeadlines, hot: HotStore, deadlines: DeadlineStore
    ) -> None:
        """The row before and the row after, and nothing for an order that stays as it is."""
        order, other = due(hot, harness.now_us()), due(hot, harness.now_us() + HOUR_US)
        [outcome, _] = deadlines.time_out([order.order_id, other.order_id])
        assert isinstance(outcome, TimedOut)
        if opened.read_feed is None:
            return
        reader = opened.read_feed()
        try:
            changes = [(event.op, event.before, event.after) for event in events(read_all(reader))]
        finally:
            reader.close()
        assert changes == [(Op.CREATE, None, order), (Op.CREATE, None, other), (Op.UPDATE, order, outcome.order)]
