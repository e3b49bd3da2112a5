"""How far daemons are behind: counted and dated from what is in the tiers, bounded, and honest where nobody can know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.errors import TierUnavailable
from orderctl.order import Change, Order, Status
from orderctl.services.lag import COUNT_MAX, Lag, archiver_lag, cdc_lag, follower_lag
from orderctl.services.pump import Checkpoint, Pump
from orderctl.stores.feed import FeedPurged
from orderctl.stores.hot import Created
from orderctl.stores.log import CHANGES, CHECKPOINTS, Outgoing, Place, topics
from orderctl.stores.sqlite.log import open_embedded_log
from orderctl.stores.tiers import SHARD, Tiers, open_tiers
from tests.contract.hot_harness import GROUPS, a_draft
from tests.services.tiers import Failing, away

FOLLOWER = "cache-sync"
NONE = Lag(0, 0.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tiers(clock: ManualClock) -> Iterator[Tiers]:
    opened = open_tiers(Config(), None, clock)
    yield opened
    opened.close()


def create(tiers: Tiers, clock: ManualClock, number: int = 1) -> list[Order]:
    """That many new orders, in one transaction."""
    now_us = clock.now_us()
    drafts = [a_draft(created_at=now_us, updated_at=now_us) for _ in range(number)]
    return [outcome.order for outcome in tiers.hot.create(drafts) if isinstance(outcome, Created)]


def finish(tiers: Tiers, clock: ManualClock, number: int = 1) -> None:
    """That many orders that are final now."""
    changes = [Change(order.order_id, Status.SUCCESS) for order in create(tiers, clock, number)]
    tiers.hot.change(changes, now_us=clock.now_us())


def pump(tiers: Tiers, clock: ManualClock) -> None:
    """All that was committed goes to the log."""
    one = Pump(tiers.feeds[0], tiers.log, partition=0, groups=GROUPS, clock=clock)
    while one.step(0):
        pass
    one.close()


def publish(tiers: Tiers, group: int, number: int = 1) -> None:
    """Messages, whatever they say."""
    tiers.log.publish([Outgoing(Place(CHANGES, group), b"key", b"value")] * number)


def checkpoint(tiers: Tiers, value: bytes) -> None:
    """What the pump is said to have left behind."""
    tiers.log.publish([Outgoing(Place(CHECKPOINTS, 0), SHARD.encode(), value)])


# --- cdc -------------------------------------------------------------------------------------------------------------


def test_cdc_has_nothing_to_do(tiers: Tiers, clock: ManualClock) -> None:
    """Before the first order, and when all is published."""
    assert cdc_lag(tiers.feeds, tiers.log, clock) == NONE
    create(tiers, clock, 3)
    pump(tiers, clock)
    clock.advance(60)
    assert cdc_lag(tiers.feeds, tiers.log, clock) == NONE


def test_cdc_is_behind_by_what_it_has_not_published(tiers: Tiers, clock: ManualClock) -> None:
    """The age is the first change's; it begins at the first change of all where there is no checkpoint."""
    create(tiers, clock, 2)
    clock.advance(2.5)
    create(tiers, clock)
    clock.advance(1)
    assert cdc_lag(tiers.feeds, tiers.log, clock) == Lag(3, 3.5)
    pump(tiers, clock)
    create(tiers, clock)
    clock.advance(0.25)
    assert cdc_lag(tiers.feeds, tiers.log, clock) == Lag(1, 0.25)


def test_cdc_of_several_shards(tiers: Tiers, clock: ManualClock) -> None:
    """The changes of all, and the age of the oldest; a shard's place is its checkpoints' partition."""
    log, other = open_embedded_log(None, clock=clock), open_tiers(Config(), None, clock)
    try:
        log.ensure_topics(topics(groups=GROUPS, shards=2))
        create(tiers, clock)
        clock.advance(1)
        create(other, clock, 2)
        clock.advance(1)
        feeds = [other.feeds[0], tiers.feeds[0]]
        assert cdc_lag(feeds, log, clock) == Lag(3, 2.0)
        with closing(Pump(feeds[1], log, partition=1, groups=GROUPS, clock=clock)) as pump_of_one:
            pump_of_one.step(0)
        assert cdc_lag(feeds, log, clock) == Lag(2, 1.0)
        log.publish([Outgoing(Place(CHECKPOINTS, 1), SHARD.encode(), b"rubbish")])
        assert cdc_lag(feeds, log, clock) is None
    finally:
        other.close()
        log.close()


def test_counting_ends_somewhere(tiers: Tiers, clock: ManualClock) -> None:
    """A look reads no more than so many, and the age is known from the first."""
    finish(tiers, clock, 3 * COUNT_MAX // 4)
    clock.advance(7)
    assert cdc_lag(tiers.feeds, tiers.log, clock) == Lag(COUNT_MAX, 7.0)


def test_a_feed_that_was_purged_under_the_checkpoint(tiers: Tiers, clock: ManualClock) -> None:
    """How much is missing nobody knows."""
    create(tiers, clock, 3)
    tiers.feeds[0].purge("2")
    checkpoint(tiers, msgspec.json.encode(Checkpoint(SHARD, "1", 0)))
    assert cdc_lag(tiers.feeds, tiers.log, clock) is None


def test_a_checkpoint_that_means_nothing(tiers: Tiers, clock: ManualClock) -> None:
    """As above."""
    checkpoint(tiers, b"rubbish")
    assert cdc_lag(tiers.feeds, tiers.log, clock) is None


def test_a_pump_that_purges_while_it_is_looked_at(tiers: Tiers, clock: ManualClock) -> None:
    """It has gone past the checkpoint that was read: that is read again."""
    create(tiers, clock, 2)

    class Purging:
        """A feed whose pump publishes all, and purges it, right before it is opened for the first time."""

        def __init__(self) -> None:
            self.is_new = True

        def open(self, position: str | None) -> Any:
            if self.is_new:
                self.is_new = False
                pump(tiers, clock)
                raise FeedPurged
            return tiers.feeds[0].open(position)

    feeds: list[Any] = [Purging()]
    assert cdc_lag(feeds, tiers.log, clock) == NONE


def test_a_log_that_is_away(tiers: Tiers, clock: ManualClock) -> None:
    """Is the caller's to deal with; readers that were opened are closed."""
    log = Failing(tiers.log)
    log.error = away("log")
    failing: Any = log
    with pytest.raises(TierUnavailable):
        cdc_lag(tiers.feeds, failing, clock)
    with pytest.raises(TierUnavailable):
        follower_lag(failing, FOLLOWER, CHANGES, clock)


# --- followers of the log --------------------------------------------------------------------------------------------


def test_a_follower_has_nothing_to_do(tiers: Tiers, clock: ManualClock) -> None:
    """Of an empty topic, and of one that it has committed whole."""
    assert follower_lag(tiers.log, FOLLOWER, CHANGES, clock) == NONE
    publish(tiers, 3)
    member = tiers.log.join(FOLLOWER, [CHANGES])
    assert len(member.poll(10, 0)) == 1
    member.commit({Place(CHANGES, 3): 1})
    member.close()
    clock.advance(60)
    assert follower_lag(tiers.log, FOLLOWER, CHANGES, clock) == NONE


def test_a_follower_is_behind_by_what_it_has_not_committed(tiers: Tiers, clock: ManualClock) -> None:
    """The age is that of the oldest such message, in whichever partition it is."""
    publish(tiers, 3, 2)
    clock.advance(1)
    publish(tiers, 5, 4)
    clock.advance(1)
    publish(tiers, 3)
    assert follower_lag(tiers.log, FOLLOWER, CHANGES, clock) == Lag(7, 2.0)
    member = tiers.log.join(FOLLOWER, [CHANGES])
    member.poll(10, 0)
    member.commit({Place(CHANGES, 3): 2})
    member.close()
    assert follower_lag(tiers.log, FOLLOWER, CHANGES, clock) == Lag(5, 1.0)


def test_a_message_of_a_clock_that_is_ahead(tiers: Tiers, clock: ManualClock) -> None:
    """No age is below nothing."""
    publish(tiers, 0)
    clock.set_wall(clock.now_us() - 5_000_000)
    assert follower_lag(tiers.log, FOLLOWER, CHANGES, clock) == Lag(1, 0.0)


# --- archiver --------------------------------------------------------------------------------------------------------


def test_the_archiver_has_nothing_to_do(tiers: Tiers, clock: ManualClock) -> None:
    """Open orders are none of its business."""
    create(tiers, clock, 3)
    assert archiver_lag(tiers.hot, clock) == NONE


def test_the_archiver_is_behind_by_the_final_rows(tiers: Tiers, clock: ManualClock) -> None:
    """The age is since the oldest of them became final."""
    finish(tiers, clock)
    clock.advance(4)
    finish(tiers, clock, 2)
    clock.advance(1)
    assert archiver_lag(tiers.hot, clock) == Lag(3, 5.0)


def test_the_archivers_backlog_is_counted_by_pages(tiers: Tiers, clock: ManualClock) -> None:
    """Beyond a page, and no further than the bound."""
    finish(tiers, clock, 2_500)
    assert archiver_lag(tiers.hot, clock).events == 2_500
    finish(tiers, clock, COUNT_MAX)
    assert archiver_lag(tiers.hot, clock).events == COUNT_MAX
