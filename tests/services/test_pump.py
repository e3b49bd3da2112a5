"""The pump: every committed change reaches the log, in order, whatever dies on the way, and the checkpoint tells the truth."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from orderctl import event
from orderctl.errors import OutcomeUnknown, TierError, TierRejected, TierUnavailable, UsageRefused
from orderctl.event import Op
from orderctl.ids import group_of
from orderctl.services.pump import BATCH_ITEMS, KEEP_S, PAUSE_S, PURGE_S, Checkpoint, Pump, last_checkpoint
from orderctl.stores.feed import FeedPurged
from orderctl.stores.log import CHANGES, Outgoing, Place
from tests.contract.hot_harness import GROUPS, drafts
from tests.services.moving import Killed
from tests.services.pumping import (
    CHECKPOINT_PLACE,
    STEPS_MAX,
    ChecksCheckpoints,
    PumpStage,
    open_pump_stage,
)

BACKLOG = 50_000
MEMORY_MAX = 24 << 20
"""The backlog itself is some 150 MB as events and messages; a batch of it is 6 MB."""


@pytest.fixture
def stage() -> Iterator[PumpStage]:
    with open_pump_stage() as opened:
        yield opened


def run(stage: PumpStage, new_pump: Callable[[], Pump]) -> None:
    """Pump until there is nothing left; a pump that dies is followed by a new one."""
    pump = new_pump()
    try:
        for _ in range(STEPS_MAX):
            try:
                pump.step(0)
            except Killed:
                pump.close()
                pump = new_pump()
            if is_done(stage):
                return
    finally:
        pump.close()
    raise AssertionError("the pump does not come to the end")


def is_done(stage: PumpStage) -> bool:
    checkpoint = stage.checkpoint()
    return checkpoint is not None and checkpoint.position == stage.expected[-1].source.position


def moments() -> range:
    """The moments of a run in which nothing happens."""
    with open_pump_stage() as stage:
        stage.live()
        run(stage, stage.pump)
        return range(len(stage.moments))


def test_an_event_says_all_about_its_change(stage: PumpStage) -> None:
    """Its partition is the group, its key the order's id; the version and the commit's time are in its headers."""
    orders = stage.live()
    stage.clock.advance(2)
    run(stage, stage.pump)
    assert len(stage.published()) == len(stage.expected) == 5 * 3 + 3
    for message in stage.published():
        change = event.decode(message.value)
        order = change.order
        assert message.place == Place(CHANGES, group_of(order.order_id, GROUPS))
        assert message.key == order.order_id.encode()
        assert dict(message.headers) == {
            "version": str(order.version).encode(),
            "ts_us": str(change.source.ts_us).encode(),
        }
        assert change.ts_ms == stage.clock.now_us() // 1000
        assert msgspec.structs.replace(change, ts_ms=0) in stage.expected
    ops = [event.decode(m.value).op for m in stage.published() if m.key == orders[0].order_id.encode()]
    assert ops == [Op.CREATE, Op.UPDATE, Op.UPDATE, Op.DELETE]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 100])
def test_a_checkpoint_is_a_transactions_end_and_behind_what_was_acknowledged(stage: PumpStage, size: int) -> None:
    """However the pages fall; looked at right before each one is written."""
    stage.live()
    log = ChecksCheckpoints(stage)
    run(stage, lambda: stage.pump(log=log, size=size))
    stage.check_all()
    assert log.checkpoints >= 1


def test_a_pump_may_die_at_any_moment() -> None:
    """Before and after every call, inside a transaction too; the next one sends again from the checkpoint and leaves none out."""

    def die() -> None:
        raise Killed

    for moment in moments():
        with open_pump_stage() as stage:
            stage.live()
            stage.actions[moment] = die
            log = ChecksCheckpoints(stage)
            run(stage, stage.pump)
            assert not stage.actions
            stage.live(3)
            run(stage, lambda stage=stage, log=log: stage.pump(log=log))  # type: ignore[misc]
            stage.check_all()


@pytest.mark.parametrize("error", [TierUnavailable("kafka"), OutcomeUnknown("kafka")], ids=lambda e: type(e).__name__)
def test_a_tier_may_fail_at_any_moment(error: TierError) -> None:
    """It was not asked, or its reply was lost; the same pump goes on from its checkpoint."""

    def fail() -> None:
        raise error

    for moment in moments():
        with open_pump_stage() as stage:
            stage.live()
            stage.actions[moment] = fail
            pump = stage.pump()
            for _ in range(20):
                with suppress(type(error)):
                    pump.step(0)
            pump.close()
            stage.check_all()


class PublishesAPart:
    """A log of which one publication is acknowledged only up to its `count`-th message."""

    def __init__(self, store: Any, count: int) -> None:
        self._store = store
        self._count = count
        self._is_done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        if self._is_done:
            self._store.publish(messages)
            return
        self._is_done = True
        self._store.publish(messages[: self._count])
        raise TierUnavailable("kafka")


@pytest.mark.parametrize("count", range(5))
def test_a_publication_that_half_succeeded_is_made_again(stage: PumpStage, count: int) -> None:
    """An order's changes appear for the first time in their order all the same."""
    stage.live()
    pump = stage.pump(log=PublishesAPart(stage.log, count))
    with pytest.raises(TierUnavailable):
        pump.step(0)
    pump.close()
    run(stage, stage.pump)
    stage.check_all()


@pytest.mark.parametrize(("one", "other"), [(1, 1), (1, 3), (3, 1), (2, 5)])
def test_two_pumps_at_once_are_harmless(stage: PumpStage, one: int, other: int) -> None:
    """Each sends everything in the feed's order, so first occurrences are in order, and a third one can go on at any time."""
    stage.live()
    pumps = [stage.pump(size=3), stage.pump(size=4)]
    for _ in range(STEPS_MAX):
        for pump, steps in zip(pumps, (one, other), strict=True):
            for _ in range(steps):
                pump.step(0)
        if is_done(stage):
            break
    for pump in pumps:
        pump.close()
    stage.live(2)
    run(stage, stage.pump)
    stage.check_all()


def test_a_pump_goes_on_behind_the_checkpoint(stage: PumpStage) -> None:
    """Nothing is sent twice without need."""
    stage.live()
    run(stage, stage.pump)
    before = len(stage.published())
    stage.live(2)
    run(stage, stage.pump)
    assert len(stage.published()) - before == 2 * 3 + 1
    stage.check_all()


def test_a_pump_that_was_held_up_does_not_take_the_checkpoint_back(stage: PumpStage) -> None:
    """It lost its shard meanwhile; before it writes a checkpoint it looks, and goes on from where the other one is."""
    stage.live(1)
    newest = stage.expected[-1].source.position
    held_up, other = stage.pump(size=2), stage.pump(log=stage.log, size=100)
    held_up.step(0)

    def hold_up() -> None:
        stage.clock.advance(PAUSE_S)
        run(stage, lambda: other)

    read = len(stage.moments)
    stage.actions[read] = hold_up
    held_up.step(0)
    assert stage.moments[read] == "before read"
    assert held_up.position != newest
    checkpoint = stage.checkpoint()
    assert checkpoint is not None
    assert checkpoint.position == newest
    held_up.step(0)
    assert held_up.position == newest
    held_up.close()


def test_the_feed_keeps_what_an_older_checkpoint_needs(stage: PumpStage) -> None:
    """One that was held up for a moment only, and did not look, put its checkpoint behind the newer one: no change is missed."""
    stage.live(1)
    slow, fast = stage.pump(size=2), stage.pump(size=100)
    slow.step(0)
    assert slow.position is not None
    fast.step(0)
    slow.step(0)
    checkpoint = stage.checkpoint()
    assert checkpoint is not None
    assert checkpoint.position is not None
    assert int(checkpoint.position) < int(stage.expected[-1].source.position)
    for pump in (slow, fast):
        pump.close()
    stage.clock.advance(KEEP_S / 2)
    stage.live(1)
    run(stage, stage.pump)
    stage.check_all()


def test_a_checkpoint_that_was_taken_back_is_found_before_the_feed_is_purged(stage: PumpStage) -> None:
    """By the pump that leads and has nothing to do: it goes on from there, and so the newest one stands again."""
    stage.live(1)
    pump = stage.pump(log=stage.log, size=2)
    pump.step(0)
    older = stage.checkpoint()
    assert older is not None
    stage.clock.advance(PURGE_S)
    while not is_done(stage):
        pump.step(0)
    stage.log.publish([Outgoing(CHECKPOINT_PLACE, b"embedded", msgspec.json.encode(older))])
    stage.clock.advance(KEEP_S)
    for _ in range(2):
        pump.step(0)
        successor = stage.pump()
        successor.step(0)
        successor.close()
    run(stage, lambda: pump)
    stage.check_all()


@pytest.mark.parametrize(("closed_every", "new_every", "lots"), [(1000, 1000, 1), (3, 1000, 1), (1000, 50, 2)])
def test_the_feed_is_purged_behind_the_checkpoint_some_time_after_it(
    stage: PumpStage, closed_every: int, new_every: int, lots: int
) -> None:
    """It holds what that time has brought, also where tiers fail all the while; a new pump waits once more."""
    kept: list[int] = []
    pump = stage.pump(size=100)
    for number in range(1, 151):
        stage.live(1)
        pump.step(0)
        stage.clock.advance(KEEP_S / 20)
        if number % closed_every == 0:
            pump.close()
        if number % new_every == 0:
            pump.close()
            pump = stage.pump(size=100)
        kept.append(stage.kept_changes())
    assert max(kept) <= lots * 4 * 22
    stage.clock.advance(KEEP_S)
    pump.step(0)
    pump.close()
    assert stage.kept_changes() == 0
    stage.check_all()


def test_a_pump_that_starts_late_purges_at_once(stage: PumpStage) -> None:
    """Processes that live for less than the time that is kept do not fill the disk."""
    for _ in range(3):
        stage.live()
        run(stage, stage.pump)
        stage.clock.advance(KEEP_S + 1)
    assert stage.kept_changes() == 18


def test_a_feed_that_was_purged_behind_the_checkpoint_says_so(stage: PumpStage) -> None:
    """At every step, until somebody decides: to go on would leave changes out."""
    stage.live()
    run(stage, stage.pump)
    stage.live()
    stage.feed.purge(stage.expected[-1].source.position)
    pump = stage.pump()
    before = len(stage.published())
    for _ in range(3):
        with pytest.raises(FeedPurged):
            pump.step(0)
    assert len(stage.published()) == before
    pump.close()


def test_a_reader_that_is_overtaken_by_a_purge_goes_on_from_the_checkpoint(stage: PumpStage) -> None:
    """Another pump was faster, and has purged what this one was to read."""
    stage.live()
    slow = stage.pump(size=2)
    slow.step(0)
    run(stage, lambda: stage.pump(size=100))
    stage.feed.purge(stage.expected[-1].source.position)
    with pytest.raises(FeedPurged):
        slow.step(0)
    stage.live()
    run(stage, lambda: slow)
    stage.check_all()


def test_another_shards_checkpoint_is_refused(stage: PumpStage) -> None:
    """Somebody changed the order of the shards in the configuration; positions of one mean nothing in another."""
    checkpoint = msgspec.json.encode(Checkpoint("east", "1", 1))
    stage.log.publish([Outgoing(CHECKPOINT_PLACE, b"east", checkpoint)])
    pump = stage.pump()
    with pytest.raises(UsageRefused, match="the shard east's, and embedded is configured"):
        pump.step(0)
    pump.close()


def test_the_lag_is_the_newest_changes_age(stage: PumpStage) -> None:
    """0 when there is nothing left, and never negative where the writer's clock is ahead."""
    stage.live(1)
    stage.clock.advance(3)
    pump = stage.pump(size=1 << 20)
    pump.step(0)
    assert pump.lag_us == 3_000_000
    assert pump.step(0) == pump.lag_us == 0
    stage.hot.create(drafts(1))
    stage.clock.set_wall(1)
    pump.step(0)
    assert pump.lag_us == 0
    pump.close()


def test_a_backlog_is_read_in_batches_and_in_bounded_memory(stage: PumpStage) -> None:
    """What is in hand does not grow with it, and nothing of it is left out or sent twice."""
    for _ in range(BACKLOG // 5_000):
        stage.hot.create(drafts(5_000))
    pump = Pump(stage.feed, stage.log, partition=0, groups=GROUPS, clock=stage.clock)
    end = str(BACKLOG)
    batches = [pump.step(0) for _ in range(10)]
    tracemalloc.start()
    try:
        batches += [pump.step(0) for _ in range(4)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    while pump.position != end:
        batches.append(pump.step(0))
    pump.close()
    assert sum(batches) == BACKLOG == sum(end for _, end in stage.log.ends(CHANGES))
    assert max(batches) <= BATCH_ITEMS
    assert peak < MEMORY_MAX


def test_a_shard_that_the_topic_has_no_partition_for_is_said_to_be_one(stage: PumpStage) -> None:
    """A shard was added to the configuration, and `migrate` not run."""
    with pytest.raises(TierRejected, match="1 partitions, which is fewer than there are shards"):
        last_checkpoint(stage.log, Place(CHECKPOINT_PLACE.topic, 1))
