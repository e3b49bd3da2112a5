"""Success against time-out at the deadline: two parties who ask for every order at once, and what must be true in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from msgspec import Struct

from orderctl.order import Change, NewOrder, Refusal, Refused, Status
from orderctl.services.answers import ChangeAnswer, Failed, Stored
from orderctl.services.command import CommandService, CreateRequest
from orderctl.stores.deadlines import DeadlineStore, NotDue, TimedOut
from orderctl.stores.hot import HotStore
from orderctl.stores.late import LateStore
from orderctl.stores.record import Record
from tests.contract.hot_harness import at_once

RACES = 2_000
TIMEOUT_S = 1
CAPTURERS, TIMERS = 3, 2
BATCH_MAX = 8
ASKINGS_MAX = 100_000
"""More batches than any party in these tests needs: a race that does not end is a failure."""


class Arena(Struct, frozen=True):
    """What the parties share."""

    command: CommandService
    deadlines: DeadlineStore
    hot: HotStore
    late: LateStore


def orders_due_at_once(command: CommandService) -> list[str]:
    """As many orders as there are races; they are due `TIMEOUT_S` from now."""
    order_ids: list[str] = []
    for begin in range(0, RACES, 500):
        news = [NewOrder(f"race {n}", 1, "EUR", "card", timeout_s=TIMEOUT_S) for n in range(begin, begin + 500)]
        answers = command.create([CreateRequest("m", new) for new in news])
        order_ids += [answer.record.order_id for answer in answers if isinstance(answer, Stored)]
    assert len(order_ids) == RACES
    return order_ids


def race(arena: Arena, order_ids: Sequence[str], seed: int) -> dict[str, ChangeAnswer]:
    """Let everybody loose at the same moment; returns what the gateway was told of each order.

    Each party has its own order of asking, so that every order is somebody's first.
    """
    told: dict[str, ChangeAnswer] = {}
    timed_out: list[str] = []

    def capture(number: int) -> None:
        own = order_ids[number::CAPTURERS]
        for batch in _batches(own, Random(seed + number)):
            told.update(_captured(arena.command, batch))

    def time_out(number: int) -> None:
        random, due = Random(seed + CAPTURERS + number), list(order_ids)
        for _ in range(ASKINGS_MAX):
            not_due: list[str] = []
            for batch in _batches(due, random):
                outcomes = arena.deadlines.time_out(batch)
                timed_out.extend(outcome.order.order_id for outcome in outcomes if isinstance(outcome, TimedOut))
                not_due += [id_ for id_, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, NotDue)]
            due = not_due
            if not due:
                return
        raise AssertionError("the orders do not become due")

    parties = [lambda n=n: capture(n) for n in range(CAPTURERS)]
    at_once([*parties, *(lambda n=n: time_out(n) for n in range(TIMERS))])
    assert len(timed_out) == len(set(timed_out)), "an order was timed out twice"
    _check(arena, told, set(timed_out))
    return told


def _captured(command: CommandService, order_ids: Sequence[str]) -> dict[str, ChangeAnswer]:
    """The answers to a success of each order, asked for until somebody knows, as a gateway does."""
    told: dict[str, ChangeAnswer] = {}
    wanted = list(order_ids)
    for _ in range(ASKINGS_MAX):
        answers = command.change([Change(id_, Status.SUCCESS, f"capture of {id_}") for id_ in wanted])
        told |= dict(zip(wanted, answers, strict=True))
        wanted = [id_ for id_ in wanted if isinstance(told[id_], Failed)]
        if not wanted:
            return told
    raise AssertionError("the gateway is never told")


def _check(arena: Arena, told: dict[str, ChangeAnswer], timed_out: set[str]) -> None:
    """One final status an order, what was acknowledged stayed, and what was refused is kept."""
    assert len(told) == RACES
    order_ids = list(told)
    for order, late in zip(arena.hot.load(order_ids), arena.late.load(order_ids), strict=True):
        assert order is not None
        answer = told[order.order_id]
        assert order.version == 2, "it moved more than once"
        if isinstance(answer, Record):
            assert order.status is answer.status is Status.SUCCESS
            assert late == []
        else:
            assert isinstance(answer, Refused)
            assert answer.why is Refusal.ILLEGAL_TRANSITION
            assert order == answer.order
            assert order.status is Status.TIMEOUT
            assert order.updated_at >= order.deadline_at, "it was timed out early"
            kept = [(one.status, one.status_reason) for one in late]
            assert kept == [(Status.SUCCESS, f"capture of {order.order_id}")]
        assert (order.status is Status.TIMEOUT) == (order.order_id in timed_out)


def winners(told: dict[str, ChangeAnswer]) -> tuple[int, int]:
    """How many races the success won, and how many the time-out."""
    successes = sum(isinstance(answer, Record) for answer in told.values())
    return successes, len(told) - successes


def _batches(order_ids: Sequence[str], random: Random) -> Iterator[list[str]]:
    """All of them, shuffled, in batches of any size."""
    left = list(order_ids)
    random.shuffle(left)
    while left:
        size = random.randint(1, BATCH_MAX)
        yield left[:size]
        left = left[size:]
