"""cdc, cache-sync and archiver, step by step over tiers in memory: who leads, who follows what, and what goes on alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.daemons.archiver import PURGE_BATCH
from orderctl.daemons.base import Context
from orderctl.duration import Duration
from orderctl.errors import TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Change, Order, Status
from orderctl.sections import ArchiverSection, DaemonSection
from orderctl.stores.cache import Fill
from orderctl.stores.late import LateResult
from orderctl.stores.log import CHANGES, topics
from orderctl.stores.record import record_of
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.log import open_embedded_log
from orderctl.stores.tiers import Tiers, open_tiers
from tests.contract.archive_harness import ref_of
from tests.contract.hot_harness import drafts
from tests.services.tiers import Failing, away
from tests.unit.daemon_kit import context_of
from tests.unit.flow_kit import (
    archiver,
    cache_sync,
    cdc,
    configured,
    create,
    finish,
    gauge,
    published,
    steps,
    with_failing,
    without_log,
)

GROUPS = 64
STEPS_MAX = 60


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tiers(clock: ManualClock) -> Iterator[Tiers]:
    opened = open_tiers(Config(), None, clock)
    yield opened
    opened.close()


@pytest.fixture
def context(tiers: Tiers, clock: ManualClock) -> Context:
    return context_of(tiers, clock)


# --- cdc ---------------------------------------------------------------------------------------------------------------


def test_cdc_publishes_what_was_committed(context: Context, tiers: Tiers) -> None:
    """In its first step, which makes it the leader; the lag is the newest change's age, and 0 when there is nothing left."""
    create(tiers)
    daemon = cdc(context)
    with capture_logs() as logs:
        assert daemon.step() == 0
    assert [line["event"] for line in logs] == ["leading"]
    assert published(tiers) == 3
    daemon.step()
    assert gauge(context, "cdc_lag_seconds") == 0
    daemon.drain()


def test_an_idle_cdc_waits_for_news(context: Context, clock: ManualClock) -> None:
    """Whether it leads, and waits within its step, or not, and is to be called again later."""
    leader, other = cdc(context), cdc(context)
    leader.step()
    for daemon in (leader, other):
        before_s = clock.monotonic_s()
        pause_s = daemon.step()
        assert clock.monotonic_s() - before_s + pause_s == pytest.approx(0.25, abs=0.01)
    leader.drain()
    other.drain()


@pytest.mark.parametrize("instance", ["", "%i"])
def test_one_cdc_leads_and_the_other_takes_over_when_it_drains(
    context: Context, tiers: Tiers, clock: ManualClock, instance: str
) -> None:
    """At once, with or without an instance name: the next leader does not wait for a session to end."""
    context = configured(context, daemon=DaemonSection(instance=instance))
    leader, other = cdc(context), cdc(configured(context, daemon=DaemonSection(instance=instance and "another")))
    create(tiers)
    leader.step()
    assert other.step() > 0
    assert published(tiers) == 3
    create(tiers)
    leader.drain()
    began_s = clock.monotonic_s()
    while published(tiers) < 6 and clock.monotonic_s() < began_s + 3:
        clock.advance(other.step())
    assert published(tiers) == 6
    assert clock.monotonic_s() - began_s < 1
    other.drain()


def test_a_leader_that_falls_silent_is_succeeded_and_steps_back(
    context: Context, tiers: Tiers, clock: ManualClock
) -> None:
    """It lost its shard without a word, and hears of it when it comes back; nothing is missed and nothing breaks."""
    leader, other = cdc(context), cdc(context)
    leader.step()
    other.step()
    create(tiers)
    clock.advance(7)
    steps(other, 3)
    assert published(tiers) == 3
    with capture_logs() as logs:
        assert leader.step() > 0
    assert [line["event"] for line in logs] == ["no longer the leader"]
    leader.drain()
    other.drain()


def test_a_log_that_is_away_ends_the_step_and_the_next_goes_on(context: Context, tiers: Tiers) -> None:
    """From the checkpoint: nothing is left out."""
    context, failing = with_failing(context, "log")
    create(tiers)
    daemon = cdc(context)
    daemon.step()
    create(tiers)
    failing["log"].error = away("kafka")
    for _ in range(3):
        with pytest.raises(TierUnavailable):
            daemon.step()
    failing["log"].error = None
    steps(daemon, 2)
    assert published(tiers) == 6
    daemon.drain()


def test_a_shard_that_is_away_does_not_hold_up_the_others(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """All of them are pumped before the failure of one is told."""
    with ExitStack() as stack:
        log = stack.enter_context(closing(open_embedded_log(None, clock=clock)))
        log.ensure_topics(topics(groups=GROUPS, shards=2))
        hots = [stack.enter_context(closing(open_embedded_hot(None, groups=GROUPS, clock=clock))) for _ in range(2)]
        opened = [hot.open_feed(shard=name, clock=clock) for hot, name in zip(hots, ("east", "west"), strict=True)]
        feeds = [Failing(stack.enter_context(closing(feed))) for feed in opened]
        two: Any = structs.replace(tiers, log=log, feeds=tuple(feeds))
        for hot in hots:
            hot.store.create(drafts(2))
        feeds[0].error = away("mysql")
        daemon = cdc(structs.replace(context, tiers=two))
        for _ in range(2):
            with pytest.raises(TierUnavailable):
                daemon.step()
        assert published(two) == 2
        feeds[0].error = None
        daemon.step()
        assert published(two) == 4
        daemon.drain()


# --- cache-sync --------------------------------------------------------------------------------------------------------


def put_in_cache(tiers: Tiers, order: Order) -> None:
    """A record, as a reader's fill leaves it."""
    token = b"t" * 16
    tiers.cache.lookup([order.order_id], tokens=[token])
    assert tiers.cache.fill([Fill(order.order_id, token, record_of(order), 3_600_000)]) == [True]


def cached_version(tiers: Tiers, order: Order) -> int | None:
    (entry,) = tiers.cache.get([order.order_id])
    return entry.version if entry is not None else None


def test_the_cache_follows_the_log(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """What is cached comes to what was committed; what is not stays out."""
    one, two = create(tiers, 2)
    pump, follower = cdc(context), cache_sync(context)
    steps(follower, 1)
    put_in_cache(tiers, one)
    tiers.hot.change([Change(o.order_id, Status.PROCESSING) for o in (one, two)], now_us=clock.now_us())
    pump.step()
    steps(follower, 2)
    assert (cached_version(tiers, one), cached_version(tiers, two)) == (2, None)
    assert tiers.cache.marks([group_of(one.order_id, GROUPS)]) != [None]
    pump.drain()
    follower.drain()


def test_cache_sync_follows_its_share_of_the_groups(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """Two share them; when one leaves, the other has them all, and goes on where it was."""
    pump, one, other = cdc(context), cache_sync(context), cache_sync(context)
    followers = [one, other]
    for _ in range(3):
        for follower in followers:
            follower.step()
    orders = create(tiers, 20)
    for order in orders:
        put_in_cache(tiers, order)
    for status, at_work in ((Status.PROCESSING, followers), (Status.SUCCESS, [other])):
        if at_work == [other]:
            one.drain()
        tiers.hot.change([Change(order.order_id, status) for order in orders], now_us=clock.now_us())
        pump.step()
        for _ in range(3):
            for follower in at_work:
                follower.step()
    assert {cached_version(tiers, order) for order in orders} == {3}
    pump.drain()
    other.drain()


def test_a_cache_that_went_back_in_time_is_noticed_in_a_quiet_group(
    context: Context, tiers: Tiers, clock: ManualClock
) -> None:
    """Within a second or so, without any event."""
    (order,) = create(tiers, 1)
    pump, follower = cdc(context), cache_sync(context)
    pump.step()
    steps(follower, 2)
    put_in_cache(tiers, order)
    group = group_of(order.order_id, GROUPS)
    tiers.cache.reset_group(group, mark=0)
    put_in_cache(tiers, order)
    began_s = clock.monotonic_s()
    with capture_logs() as logs:
        while clock.monotonic_s() < began_s + 1.5:
            follower.step()
    assert cached_version(tiers, order) is None
    assert [line["groups"] for line in logs if line["log_level"] == "warning"] == [1]
    pump.drain()
    follower.drain()


def test_a_cache_that_is_away_leaves_the_batch_for_later(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """Nothing is committed before it was applied."""
    (order,) = create(tiers, 1)
    pump = cdc(context)
    failing_context, failing = with_failing(context, "cache")
    follower = cache_sync(failing_context)
    steps(follower, 1)
    put_in_cache(tiers, order)
    tiers.hot.change([Change(order.order_id, Status.SUCCESS)], now_us=clock.now_us())
    pump.step()
    failing["cache"].error = away("redis")
    for _ in range(2):
        with pytest.raises(TierUnavailable):
            follower.step()
    assert sum(offset or 0 for offset in tiers.log.committed("cache-sync", CHANGES)) == 0
    failing["cache"].error = None
    steps(follower, 1)
    assert cached_version(tiers, order) == 2
    pump.drain()
    follower.drain()


def test_an_idle_cache_sync_waits_for_news(context: Context, clock: ManualClock) -> None:
    """Within its step."""
    daemon = cache_sync(context)
    daemon.step()
    before_s = clock.monotonic_s()
    pause_s = daemon.step()
    assert clock.monotonic_s() - before_s + pause_s == pytest.approx(0.25, abs=0.01)
    daemon.drain()


# --- archiver ----------------------------------------------------------------------------------------------------------


def are_archived(tiers: Tiers, orders: list[Order]) -> bool:
    order_ids = [order.order_id for order in orders]
    return None not in tiers.archive.load(order_ids) and set(tiers.hot.load(order_ids)) == {None}


def test_a_final_order_moves_within_settle_s_and_a_little(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """Woken by its event, or by itself."""
    daemon = archiver(configured(context, archiver=ArchiverSection(settle_s=Duration(3))))
    steps(daemon, 3)
    orders = finish(tiers, clock)
    began_s = clock.monotonic_s()
    while not are_archived(tiers, orders) and clock.monotonic_s() < began_s + 10:
        clock.advance(daemon.step())
    assert 3 <= clock.monotonic_s() - began_s < 3 + 5
    assert context.metrics.registry.get_sample_value("orderctl_archived_total") == 3
    daemon.drain()


def test_two_archivers_share_the_groups(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """Each order is moved by one of them; when one leaves, the other has them all."""
    daemons = [archiver(context), archiver(context)]
    for _ in range(3):
        for daemon in daemons:
            daemon.step()
    orders = finish(tiers, clock, 20)
    for _ in range(4):
        daemons[0].step()
    moved = [are_archived(tiers, [order]) for order in orders]
    assert 0 < sum(moved) < 20
    daemons[0].drain()
    steps(daemons[1], STEPS_MAX)
    assert are_archived(tiers, orders)
    daemons[1].drain()


def test_without_the_log_it_does_all(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """The log only wakes it and shares out the groups; the failure is counted, and it does not spin."""
    context, log = without_log(context)
    daemon = archiver(context)
    orders = finish(tiers, clock)
    for _ in range(STEPS_MAX):
        pause_s = daemon.step()
        clock.advance(pause_s)
        if are_archived(tiers, orders):
            break
    assert are_archived(tiers, orders)
    daemon.step()
    assert daemon.step() > 0
    assert gauge(context, "tier_errors_total", tier="kafka", kind="TierUnavailable") > 0
    log.error = None
    more = finish(tiers, clock)
    steps(daemon, STEPS_MAX)
    assert are_archived(tiers, more)
    daemon.drain()


def test_when_the_log_goes_away_it_keeps_to_its_groups(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """The others' orders are still the others' to write."""
    away_context, log = without_log(context)
    log.error = None
    here, there = archiver(away_context), archiver(context)
    for _ in range(3):
        here.step()
        there.step()
    log.error = TierUnavailable("kafka")
    orders = finish(tiers, clock, 20)
    for _ in range(STEPS_MAX):
        clock.advance(here.step())
    moved = [are_archived(tiers, [order]) for order in orders]
    assert 0 < sum(moved) < 20
    there.step()
    steps(there, STEPS_MAX)
    assert are_archived(tiers, orders)
    here.drain()
    there.drain()


def test_it_holds_back_while_the_cache_is_behind(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """By the lag of cache-sync, looked at every second; it says so once, and goes on when the cache has caught up."""
    context = configured(context, archiver=ArchiverSection(lag_max=2))
    pump, follower, daemon = cdc(context), cache_sync(context), archiver(context)
    orders = finish(tiers, clock)
    pump.step()
    with capture_logs() as logs:
        for _ in range(5):
            pause_s = daemon.step()
            assert pause_s == 1
            clock.advance(pause_s)
    assert [line["lag_events"] for line in logs] == [6]
    assert not are_archived(tiers, orders)
    steps(follower, 3)
    for _ in range(STEPS_MAX):
        clock.advance(daemon.step())
        if are_archived(tiers, orders):
            break
    assert are_archived(tiers, orders)
    for each in (pump, follower, daemon):
        each.drain()


def test_the_archiver_moves_late_results_too(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """Also while the cache is behind, and whatever becomes of them the orders move on."""
    context, failing = with_failing(configured(context, archiver=ArchiverSection(lag_max=2)), "late")
    daemon = archiver(context)
    orders = finish(tiers, clock)
    result = LateResult(orders[0].order_id, Status.FAILED, None, clock.now_us())
    tiers.late.keep([result])
    failing["late"].error = TierUnavailable("hot")
    steps(daemon, 4)
    assert tiers.hot.load([order.order_id for order in orders]) == [None] * len(orders)
    assert tiers.late.load([result.order_id]) == [[result]]
    assert gauge(context, "tier_errors_total", tier="hot", kind="TierUnavailable") == 1
    failing["late"].error = None
    pump = cdc(context)
    pump.step()
    for _ in range(4):
        clock.advance(1)
        daemon.step()
    assert tiers.late.load([result.order_id]) == [[]]
    assert tiers.late_archive.load([result.order_id]) == [[result]]
    for each in (pump, daemon):
        each.drain()


def test_an_idle_archiver_waits_for_news(context: Context, clock: ManualClock) -> None:
    """Within its step."""
    daemon = archiver(context)
    steps(daemon, 2)
    before_s = clock.monotonic_s()
    pause_s = daemon.step()
    assert clock.monotonic_s() - before_s + pause_s == pytest.approx(0.25, abs=0.01)
    daemon.drain()


def test_references_are_forgotten_when_their_window_is_over(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """In batches, but as fast as they come: one that was full is followed by the next at once."""
    context = configured(context, archiver=ArchiverSection(idempotency_window=Duration(60)))
    daemon = archiver(context)
    number = 2 * PURGE_BATCH + 1
    orders = finish(tiers, clock, number)
    refs = [ref_of(order) for order in orders]
    while not are_archived(tiers, orders):
        daemon.step()
    clock.advance(59)
    daemon.step()
    assert None not in tiers.hot.resolve(refs)
    clock.advance(2)
    steps(daemon, 3)
    assert set(tiers.hot.resolve(refs)) == {None}
    daemon.drain()


def test_the_lag_is_the_oldest_final_rows_age(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """As of the last look, and never negative: command servers have clocks of their own."""
    daemon = archiver(configured(context, archiver=ArchiverSection(settle_s=Duration(100))))
    (order,) = create(tiers, 1)
    clock.set_wall(order.created_at)
    tiers.hot.change([Change(order.order_id, Status.SUCCESS)], now_us=clock.now_us())
    clock.advance(7)
    daemon.step()
    assert gauge(context, "archive_lag_seconds") == pytest.approx(7, abs=0.3)
    clock.set_wall(1)
    clock.advance(2)
    daemon.step()
    assert gauge(context, "archive_lag_seconds") == 0
    daemon.drain()
