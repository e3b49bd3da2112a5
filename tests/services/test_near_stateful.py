"""Process memory under any sequence of questions, late answers, invalidations and silences; and under threads."""

from __future__ import annotations

import random
import threading
from functools import partial

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from msgspec import Struct

from orderctl.clock import SystemClock
from orderctl.ids import group_of
from orderctl.order import Status
from orderctl.services.near import Ticket
from tests.contract.hot_harness import at_once
from tests.services.nearby import GROUPS, ON_S, OPEN_TTL_S, Nearby, order_ids, record

ORDERS = [*order_ids(1, 3), *order_ids(2, 2)]
FINAL = 5
some_order = st.sampled_from(ORDERS)
some_orders = st.lists(some_order, min_size=1, max_size=4)


class Asked(Struct):
    """A question that was put to the tiers, and when, by the model's own count of events."""

    ticket: Ticket
    at: int
    at_s: float
    answered: dict[str, int]


class NearMachine(RuleBasedStateMachine):
    """What readers saw of each order, kept beside the memory and without any of its means."""

    floors_max = 1_000
    questions = Bundle[Asked]("questions")

    @initialize(orders_max=st.integers(0, 6), copies_max=st.integers(1, 6))
    def begin(self, orders_max: int, copies_max: int) -> None:
        self.it = Nearby(orders_max=orders_max, copies_max=copies_max, floors_max=self.floors_max, is_on=False)
        self.orders_max = orders_max
        self.events = 0
        self.answered: dict[str, int] = {}
        self.forgotten_at: dict[str, int] = {}
        self.group_forgotten_at: dict[int, int] = {}
        self.too_late: set[tuple[str, bytes]] = set()
        """Answers to questions from before the order's group, or one of its orders, was forgotten."""
        self.on_since: int | None = None

    @rule(target=questions, ids=some_orders)
    def ask(self, ids: list[str]) -> Asked:
        self.events += 1
        return Asked(self.it.near.begin(ids), self.events, self.it.clock.monotonic_s(), dict(self.answered))

    @rule(asked=consumes(questions), ids=some_orders, data=st.data())
    def answer(self, asked: Asked, ids: list[str], data: st.DataObject) -> None:
        """With any version that was ever committed: caches go back in time."""
        self.too_late |= {
            (order_id, self.body(asked))
            for order_id in ids
            if asked.at < self.group_forgotten_at.get(group_of(order_id, GROUPS), 0)
        }
        versions = {order_id: data.draw(st.integers(1, FINAL)) for order_id in ids}
        records = [
            record(order_id, version, Status.SUCCESS if version == FINAL else Status.PENDING, body=self.body(asked))
            for order_id, version in versions.items()
        ]
        allowed = self.it.near.put_many(asked.ticket, records)
        for (order_id, version), may_be in zip(versions.items(), allowed, strict=True):
            self.judge(order_id, version, asked, may_be=may_be)

    def judge(self, order_id: str, version: int, asked: Asked, *, may_be: bool) -> None:
        known = max(self.answered.get(order_id, 0), asked.ticket.floors.get(order_id, 0))
        assert may_be == (version >= known)
        if may_be:
            self.answered[order_id] = version

    @rule(ids=some_orders)
    def read(self, ids: list[str]) -> None:
        now_s = self.it.clock.monotonic_s()
        for order_id, copy in zip(ids, self.it.near.get_many(ids), strict=True):
            if copy is None:
                continue
            assert self.on_since is not None, "it is off"
            at, at_s = copy.body.split()
            assert int(at) > self.on_since, "asked for before it was on"
            assert int(at) > self.forgotten_at.get(order_id, 0), "asked for before it was forgotten"
            assert (order_id, copy.body) not in self.too_late, (
                "asked for before its group was forgotten, and kept after"
            )
            assert copy.version == FINAL or now_s < float(at_s) + OPEN_TTL_S, "held for too long"
            self.see(order_id, copy.version)

    def see(self, order_id: str, version: int) -> None:
        assert version == self.answered[order_id]

    @rule(ids=some_orders)
    def forget(self, ids: list[str]) -> None:
        self.it.near.drop(ids)
        self.events += 1
        for order_id in ids:
            self.answered.pop(order_id, None)
            self.forgotten_at[order_id] = self.events
            self.group_forgotten_at[group_of(order_id, GROUPS)] = self.events

    @rule(groups=st.lists(st.integers(0, GROUPS - 1), max_size=3))
    def forget_groups(self, groups: list[int]) -> None:
        self.it.near.drop_groups(groups)
        self.events += 1
        self.group_forgotten_at |= dict.fromkeys(groups, self.events)
        self.forgotten_at |= dict.fromkeys((o for o in ORDERS if group_of(o, GROUPS) in groups), self.events)

    @rule(seconds=st.sampled_from([0.01, 0.03, 0.05, 1.0]))
    def wait(self, seconds: float) -> None:
        self.it.clock.advance(seconds)

    @rule()
    def turn_on(self) -> None:
        self.it.near.turn_on(ON_S)
        self.events += 1
        self.on_since = self.events if self.on_since is None else self.on_since

    @rule()
    def turn_off(self) -> None:
        self.it.near.turn_off()
        self.on_since = None

    @invariant()
    def bounds_hold(self) -> None:
        near = self.it.near
        assert self.it.counted("near_orders") == len(near._copies) <= self.orders_max
        assert self.it.counted("near_bytes") <= near._bytes_max
        assert self.it.counted("near_floors") == len(near._floors) <= self.floors_max
        assert not near._copies.keys() & near._floors.keys()
        assert near._passing.keys() <= near._copies.keys()

    @staticmethod
    def body(asked: Asked) -> bytes:
        return f"{asked.at} {asked.at_s!r}".encode()


class ForgetfulMachine(NearMachine):
    """With room for so few floors that versions may be forgotten: what is answered from memory is right all the same."""

    floors_max = 2

    def judge(self, order_id: str, version: int, asked: Asked, *, may_be: bool) -> None:
        assert may_be or version < max(self.answered.get(order_id, 0), asked.answered.get(order_id, 0))
        assert not may_be or version >= asked.ticket.floors.get(order_id, 0)
        if may_be:
            self.answered[order_id] = version


MANY = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestNear = NearMachine.TestCase
TestNear.settings = MANY
TestForgetful = ForgetfulMachine.TestCase
TestForgetful.settings = MANY


def test_threads_share_it() -> None:
    """Whoever reads, from copies and from tiers that go back in time, never sees an order go back; and the bounds hold."""
    it = Nearby(orders_max=20, floors_max=200)
    it.near._clock = SystemClock()
    ids = [*order_ids(1, 20), *order_ids(2, 20)]
    truth = dict.fromkeys(ids, 1)
    done = threading.Event()

    def read(seed: int) -> None:
        draw = random.Random(seed)
        seen = dict.fromkeys(ids, 0)
        for _ in range(1_500):
            wanted = draw.sample(ids, 5)
            ticket = it.near.begin(wanted)
            for order_id, copy in zip(wanted, it.near.get_many(wanted), strict=True):
                version = copy.version if copy is not None else max(1, truth[order_id] - draw.randrange(3))
                status = Status.SUCCESS if version % 2 else Status.PENDING
                if copy is not None or it.near.put_many(ticket, [record(order_id, version, status)]) == [True]:
                    assert version >= seen[order_id]
                    seen[order_id] = version

    def disturb() -> None:
        draw = random.Random(0)
        while not done.is_set():
            truth[draw.choice(ids)] += 1
            it.near.drop_groups([draw.randrange(3)])
            if draw.random() < 0.01:
                it.near.turn_off()
                it.near.turn_on(ON_S)
            done.wait(0.0005)

    disturber = threading.Thread(target=disturb)
    it.near.turn_on(ON_S)
    disturber.start()
    try:
        at_once([partial(read, seed) for seed in range(4)])
    finally:
        done.set()
        disturber.join()
    assert it.counted("near_reads_total", outcome="hit") > 0
    assert len(it.near._copies) <= 20
    assert it.near._bytes == len(it.near._copies) * (it.near._bytes_max // 100)
