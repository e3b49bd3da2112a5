"""`inspect --explain`: an order's time line, from its creation to its archiving, and what decides how it stands."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.admin.explaining import explain
from orderctl.admin.explanation import Explanation, Step
from orderctl.admin.inspection import InspectSettings, inspect
from orderctl.cli.inspection import table
from orderctl.clock import ManualClock
from orderctl.event import ChangeEvent, Op, Source, encode
from orderctl.order import Status
from orderctl.services.invalidation import publish_orders
from orderctl.stores.late import LateResult
from orderctl.stores.log import CHANGES, EXPIRED, PARKED, Outgoing, Place
from orderctl.stores.tiers import Tiers
from tests.admin.one_order import GROUPS, OneOrder
from tests.services.tiers import Failing, away

SETTINGS = InspectSettings(groups=GROUPS)


@pytest.fixture
def one(tiers: Tiers, clock: ManualClock) -> OneOrder:
    """An order that is created, and that the log knows half a second later."""
    one = OneOrder(tiers, clock)
    one.create()
    clock.advance(0.5)
    one.pump()
    return one


def explained(one: OneOrder, **tiers: object) -> Explanation:
    """What is told of it."""
    return explain(structs.replace(one.tiers, **tiers), one.clock, one.order.order_id, SETTINGS)


def step(explanation: Explanation, words: str) -> Step:
    """The one step that says so."""
    [found] = [step for step in explanation.steps if words in step.what]
    return found


def said(explanation: Explanation, words: str) -> str:
    """The one decision that says so."""
    [found] = [decision for decision in explanation.decisions if words in decision]
    return found


def test_a_life_is_told_in_the_order_of_time(one: OneOrder, clock: ManualClock) -> None:
    """Each commit with the time since the last one, each message with the time since its commit."""
    clock.advance(2)
    one.move(Status.PROCESSING)
    clock.advance(0.25)
    one.pump()
    clock.advance(3)
    one.move(Status.SUCCESS)
    one.pump()
    one.archive()
    one.remove()
    clock.advance(1)
    one.pump()
    explanation = explained(one)
    assert [(step.tier, step.what.split(",")[0]) for step in explanation.steps] == [
        ("command", "the order's id was made"),
        ("hot", "version 1 (pending) was committed"),
        ("log", "cdc published version 1"),
        ("hot", "version 2 (processing) was committed"),
        ("log", "cdc published version 2"),
        ("hot", "version 3 (success) was committed"),
        ("log", "cdc published version 3"),
        ("hot", "the row left"),
        ("log", "cdc published that the row left"),
        ("hot", "its deadline"),
    ]
    assert [step.lag_ms for step in explanation.steps[1:9]] == [None, 500, 2500, 250, 3250, 0, 0, 1000]
    assert all(step.rule for step in explanation.steps[1:9] if step.tier == "hot")
    assert "final is final" in str(step(explanation, "version 3 (success) was").rule)
    assert said(explanation, "hot has no row").endswith("it is final")
    assert said(explanation, "no entry").startswith("the cache has no entry")


def test_what_comes_again_is_told_as_that(one: OneOrder, clock: ManualClock) -> None:
    """Nobody is changed by it."""
    message = one.tiers.log.read(one.place, 0, 10)[-1]
    one.publish(message.value)
    again = step(explained(one), "version 1 came again")
    assert "at least once" in str(again.rule)


def test_a_promotion_is_told(one: OneOrder, clock: ManualClock) -> None:
    """The version's upper part is the epoch."""
    clock.advance(1)
    touched = structs.replace(one.order, version=2 << 32)
    now_us = clock.now_us()
    one.publish(encode(ChangeEvent(one.order, touched, Op.UPDATE, Source("s", "9", now_us), now_us // 1000)))
    assert "epoch 2" in str(step(explained(one), f"version {2 << 32} (pending)").rule)


def test_what_else_the_log_knows_is_told(one: OneOrder, tiers: Tiers, clock: ManualClock) -> None:
    """A timer that went off, an invalidation, a parked message, and one that means nothing; no other order's."""
    other = OneOrder(tiers, clock)
    key, partition = one.order.order_id.encode(), one.place.partition
    clock.advance(1)
    tiers.log.publish([Outgoing(Place(EXPIRED, partition), key, b"{}"), Outgoing(Place(PARKED, partition), key, b"{}")])
    tiers.log.publish([Outgoing(Place(EXPIRED, partition), other.order.order_id.encode(), b"{}")])
    publish_orders(tiers.log, [one.order.order_id], GROUPS)
    one.publish(b"?")
    explanation = explained(one)
    assert "a hint" in str(step(explanation, "its timer in the cache went off").rule)
    assert "forgets" in str(step(explanation, "told to forget").rule)
    assert "could not be processed" in str(step(explanation, "parked").rule)
    assert step(explanation, "no change event").lag_ms is None


def test_a_time_out_and_what_came_too_late(one: OneOrder, tiers: Tiers, clock: ManualClock) -> None:
    """The deadline, the time-out, and the outcome that was refused."""
    clock.set_wall(one.order.deadline_at + 1_000_000)
    one.move(Status.TIMEOUT)
    one.pump()
    tiers.late.keep([LateResult(one.order.order_id, Status.SUCCESS, "paid", clock.now_us() + 1)])
    explanation = explained(one)
    whats = [step.what for step in explanation.steps]
    deadline = whats.index("its deadline came while it was open")
    assert deadline < whats.index("version 2 (timeout) was committed") < whats.index("success came too late: paid")
    assert "database's clock" in str(step(explanation, "(timeout) was committed").rule)
    assert "refund" in str(step(explanation, "too late").rule)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (OneOrder.cache, "readers are answered with the cache's version 1; this version or a higher one replaces it"),
        (OneOrder.lease, "a reader holds the lease"),
        (OneOrder.deny, "the cache says `absent`"),
        (OneOrder.announce, "its creator's word"),
        (lambda one: one.cache(version=5), "the cache's version 5; nothing lower does"),
    ],
)
def test_what_the_cache_does_next_is_told(one: OneOrder, act: object, words: str) -> None:
    """By the entry that is there."""
    assert callable(act)
    act(one)
    assert said(explained(one), words)


def test_how_far_the_cache_has_followed_is_told(one: OneOrder, tiers: Tiers) -> None:
    """By the group's mark."""
    group = one.place.partition
    tiers.cache.reset_group(group, mark=0)
    assert said(explained(one), "offset 0").endswith("1 of its events are still to be applied")
    tiers.cache.reset_group(group, mark=1)
    assert said(explained(one), "offset 1").endswith("all of its events are applied")


@pytest.mark.parametrize("name", ["hot", "cache", "archive", "log", "late"])
def test_a_tier_that_is_away_is_said(one: OneOrder, tiers: Tiers, name: str) -> None:
    """What the others know is told all the same."""
    failing = Failing(getattr(tiers, name))
    failing.error = away(name)
    explanation = explained(one, **{name: failing})
    assert any(f"{name}: The tier could not be reached" in decision for decision in explanation.decisions)
    assert explanation.steps


def test_a_search_that_ended_at_its_bound_is_said(one: OneOrder, clock: ManualClock) -> None:
    """The first and the last messages were looked at."""
    one.publish(b"?", key=b"another", times=20)
    one.move(Status.PROCESSING)
    one.pump()
    bounded = structs.replace(SETTINGS, search_max=5)
    explanation = explain(one.tiers, clock, one.order.order_id, bounded)
    assert said(explanation, "not all that was published")
    assert [step(explanation, words).tier for words in ("version 1 (pending) was", "version 2 (processing) was")] == [
        "hot", "hot",
    ]  # fmt: skip


def test_the_table_is_readable_at_80_columns(one: OneOrder, clock: ManualClock) -> None:
    """A step a paragraph; nothing of it without being asked."""
    one.move(Status.SUCCESS)
    one.pump()
    inspection, _ = inspect(one.tiers, clock, one.order.order_id, SETTINGS)
    assert "committed" not in table(inspection)
    shown = table(structs.replace(inspection, explanation=explained(one)))
    assert max(map(len, shown.splitlines())) <= 80
    assert "    version 2 (success) was committed\n" in shown
    assert Place(CHANGES, one.place.partition) == one.place
