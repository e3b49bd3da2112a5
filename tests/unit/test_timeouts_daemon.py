"""The timeouts daemon, its sweep and its events side by side over tiers in memory, by the real clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from msgspec import structs

from orderctl.clock import ManualClock, SystemClock
from orderctl.config import Config
from orderctl.daemons.base import Context
from orderctl.daemons.loop import Loop
from orderctl.daemons.timeouts import PAUSE_S_MAX, TimeoutsDaemon
from orderctl.duration import Duration
from orderctl.errors import TierUnavailable, UsageRefused
from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.sections import DaemonSection, TimeoutsSection
from orderctl.services.expiry import Expired, encode_expired
from orderctl.stores.hot import Created
from orderctl.stores.log import EXPIRED, Outgoing, Place
from orderctl.stores.tiers import Tiers, open_tiers
from tests.acceptance.server import PATIENCE_S, until
from tests.contract.hot_harness import GROUPS, a_draft
from tests.services.tiers import away
from tests.unit.daemon_kit import Script, half, new_metrics
from tests.unit.flow_kit import configured, gauge, manifest, with_failing, without_log

SOON = TimeoutsSection(sweep_interval=Duration(0.05), sweep_grace=Duration(0.2))
NEVER = TimeoutsSection(sweep_interval=Duration(0.05), sweep_grace=Duration(60))


@pytest.fixture
def tiers() -> Iterator[Tiers]:
    """Tiers in memory, by the real clock: the daemon's two threads each wait on it."""
    opened = open_tiers(Config(), None, SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def context(tiers: Tiers) -> Context:
    """What the daemon is given; its sweep comes soon after the deadline."""
    config = Config(timeouts=SOON)
    return Context(config=config, tiers=tiers, clock=SystemClock(), metrics=new_metrics(), random=os.urandom)


@pytest.fixture
def begin() -> Iterator[Callable[[Context], TimeoutsDaemon]]:
    """Make a daemon, which is drained in the end."""
    begun: list[TimeoutsDaemon] = []

    def begin(context: Context) -> TimeoutsDaemon:
        begun.append(TimeoutsDaemon(manifest("timeouts"), context))
        return begun[-1]

    yield begin
    for daemon in begun:
        daemon.drain()


def overdue(context: Context, number: int = 3) -> list[Order]:
    """Orders whose deadline has just come."""
    now_us = context.clock.now_us()
    outcomes = context.tiers.hot.create([a_draft(deadline_at=now_us) for _ in range(number)])
    return [outcome.order for outcome in outcomes if isinstance(outcome, Created)]


def publish(context: Context, orders: list[Order]) -> None:
    """An event for each, as the expiry daemon does."""
    context.tiers.log.publish(
        [
            Outgoing(
                Place(EXPIRED, group_of(order.order_id, GROUPS)),
                order.order_id.encode(),
                encode_expired(Expired(order.order_id, 0)),
            )
            for order in orders
        ]
    )


def timed_out(context: Context, orders: list[Order], *steps: Callable[[], float]) -> Callable[[], bool]:
    """Whether, after one more of each of these steps, all of them are."""

    def look() -> bool:
        for step in steps:
            step()
        found = context.tiers.hot.load([order.order_id for order in orders])
        return all(order is not None and order.status is Status.TIMEOUT for order in found)

    return look


def test_events_time_out_what_they_name(context: Context, begin: Callable[[Context], TimeoutsDaemon]) -> None:
    """Long before a sweep would."""
    context = configured(context, timeouts=NEVER)
    daemon = begin(context)
    orders = overdue(context)
    publish(context, orders)
    until(timed_out(context, orders, daemon.step), seconds=PATIENCE_S, what="timed out by events")
    assert gauge(context, "timeouts_total", found_by="expiry") == len(orders)
    assert daemon.not_ready() == []


def test_without_events_the_sweep_finds_them(context: Context, begin: Callable[[Context], TimeoutsDaemon]) -> None:
    """And says so."""
    daemon = begin(context)
    orders = overdue(context)
    until(timed_out(context, orders, daemon.step), seconds=PATIENCE_S, what="swept")
    assert gauge(context, "timeouts_total", found_by="sweep") == len(orders)
    assert gauge(context, "timeouts_total", found_by="expiry") == 0


def test_two_share_the_groups_and_one_alone_has_all(
    context: Context, begin: Callable[[Context], TimeoutsDaemon]
) -> None:
    """Each sweeps its own; an order is timed out once."""
    one, two = begin(context), begin(context)

    def shared() -> bool:
        one.step()
        two.step()
        mine, yours = one.own_groups, two.own_groups
        return bool(mine and yours) and sorted([*(mine or ()), *(yours or ())]) == list(range(GROUPS))

    until(shared, seconds=PATIENCE_S, what="the groups are shared out")
    orders = overdue(context, 100)
    until(timed_out(context, orders, one.step, two.step), seconds=PATIENCE_S, what="swept by both")
    assert gauge(context, "timeouts_total", found_by="sweep") == len(orders)
    two.drain()
    until(
        lambda: one.step() >= 0 and one.own_groups == frozenset(range(GROUPS)), seconds=PATIENCE_S, what="one has all"
    )


def test_a_log_that_is_away_does_not_keep_the_sweep(
    context: Context, begin: Callable[[Context], TimeoutsDaemon]
) -> None:
    """It sweeps all groups then, and goes on with the events when they are back."""
    lonely, log = without_log(context)
    daemon = begin(lonely)
    orders = overdue(context)
    until(timed_out(lonely, orders, daemon.step), seconds=PATIENCE_S, what="swept without the log")
    log.error = None
    more = overdue(context)
    publish(context, more)
    until(lambda: daemon.step() >= 0 and daemon.own_groups is not None, seconds=PATIENCE_S, what="the log is back")
    until(timed_out(lonely, more, daemon.step), seconds=PATIENCE_S, what="timed out again")


def test_a_database_that_is_away_fails_the_step(context: Context, begin: Callable[[Context], TimeoutsDaemon]) -> None:
    """It is tried again within a second, since orders go on falling due."""
    failing_context, failing = with_failing(context, "deadlines")
    daemon = begin(failing_context)
    failing["deadlines"].error = away("hot")
    with pytest.raises(TierUnavailable):
        daemon.step()
    assert daemon.pause_s_max == PAUSE_S_MAX
    failing["deadlines"].error = None
    orders = overdue(context)
    until(timed_out(context, orders, daemon.step), seconds=PATIENCE_S, what="swept when it is back")


def test_after_any_number_of_failures_the_next_try_is_soon() -> None:
    """While the database is away a sweep is tried about once a second, and not ever less often."""
    clock, script = ManualClock(), Script([away("hot")] * 50)
    script.loop = Loop(script, clock=clock, random=half, metrics=new_metrics(), pause_s_max=TimeoutsDaemon.pause_s_max)
    script.loop.run()
    assert script.steps == 50
    assert 20 < clock.monotonic_s() <= 50


def test_two_under_one_name_do_not_go_on(context: Context, begin: Callable[[Context], TimeoutsDaemon]) -> None:
    """The later one stays; the earlier one's next step says why it ends."""
    named = configured(context, timeouts=SOON, daemon=DaemonSection(instance="a"))
    first = begin(named)
    until(lambda: first.step() >= 0 and bool(first.own_groups), seconds=PATIENCE_S, what="the first has joined")
    second = begin(structs.replace(named, metrics=new_metrics()))
    second.step()

    def refused() -> bool:
        try:
            first.step()
        except UsageRefused:
            return True
        return False

    until(refused, seconds=PATIENCE_S, what="the first is refused")
