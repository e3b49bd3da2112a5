"""A member of a group at work: what is handled is committed, what failed stays in hand, and what was taken away is let go of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from orderctl.clock import ManualClock
from orderctl.errors import OutcomeUnknown, TierUnavailable, UsageRefused
from orderctl.services.consumer import Consumer, lag_events
from orderctl.stores.log import Fenced, Member, Message, Outgoing, Place, Topic
from orderctl.stores.sqlite.log import SqliteLogStore, open_embedded_log

TOPIC, GROUP = "orders.test", "group"
PLACES = [Place(TOPIC, 0), Place(TOPIC, 1)]
SESSION_S = 6.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(clock: ManualClock) -> Iterator[SqliteLogStore]:
    store = open_embedded_log(None, clock=clock, session_s=SESSION_S)
    store.ensure_topics([Topic(TOPIC, 2)])
    yield store
    store.close()


class Handler:
    """Notes what it was given, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self.failures = 0
        self.during: Callable[[], None] | None = None

    def __call__(self, messages: Sequence[Message]) -> Mapping[Place, int]:
        self.seen.append([message.value.decode() for message in messages])
        if self.during is not None:
            self.during()
        if self.failures:
            self.failures -= 1
            raise TierUnavailable("redis")
        return {message.place: message.offset + 1 for message in messages}


def consumer(log: Any, *, instance: str | None = None, batch: int = 10) -> Consumer:
    return Consumer(log, GROUP, [TOPIC], instance=instance, batch=batch)


def publish(log: SqliteLogStore, place: Place, *values: int) -> None:
    log.publish([Outgoing(place, b"key", str(value).encode()) for value in values])


def test_messages_come_in_order_and_are_committed(log: SqliteLogStore) -> None:
    """In batches, and the next member goes on behind them."""
    publish(log, PLACES[0], *range(5))
    handler, first = Handler(), consumer(log, batch=3)
    assert [first.step(handler, 0) for _ in range(3)] == [3, 2, 0]
    assert handler.seen == [["0", "1", "2"], ["3", "4"]]
    assert log.committed(GROUP, TOPIC) == [5, None]
    assert first.assigned() == frozenset(PLACES)
    first.close()
    publish(log, PLACES[0], 5)
    second = consumer(log)
    assert second.step(handler, 0) == 1
    assert handler.seen[-1] == ["5"]
    second.close()


def test_a_batch_that_failed_stays_in_hand(log: SqliteLogStore) -> None:
    """And is tried again before anything else is read; nothing is committed before it is done."""
    publish(log, PLACES[0], 0, 1)
    handler, at_work = Handler(), consumer(log)
    handler.failures = 2
    for _ in range(2):
        with pytest.raises(TierUnavailable):
            at_work.step(handler, 0)
        publish(log, PLACES[0], 2)
        assert log.committed(GROUP, TOPIC) == [None, None]
    assert [at_work.step(handler, 0) for _ in range(3)] == [2, 2, 0]
    assert handler.seen == [["0", "1"]] * 3 + [["2", "2"]]
    at_work.close()


class FailsToCommit:
    """A member one of whose commits fails, before it is kept or after."""

    def __init__(self, member: Member, *, is_kept: bool) -> None:
        self._member = member
        self._is_kept = is_kept
        self._has_failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    def commit(self, next_offsets: Mapping[Place, int]) -> None:
        if self._has_failed or self._is_kept:
            self._member.commit(next_offsets)
        if not self._has_failed:
            self._has_failed = True
            raise OutcomeUnknown("kafka")


class Joins:
    """A log whose members are wrapped."""

    def __init__(self, store: SqliteLogStore, wrap: Callable[[Member], Any]) -> None:
        self._store = store
        self._wrap = wrap

    def join(self, group: str, topics: Sequence[str], *, instance: str | None = None) -> Any:
        return self._wrap(self._store.join(group, topics, instance=instance))


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_commit_whose_reply_was_lost_is_made_again(log: SqliteLogStore, is_kept: bool) -> None:
    """The batch is handled once more, which does no harm, and no message is left out or taken back."""
    publish(log, PLACES[0], 0, 1)
    handler = Handler()
    at_work = consumer(Joins(log, lambda member: FailsToCommit(member, is_kept=is_kept)))
    with pytest.raises(OutcomeUnknown):
        at_work.step(handler, 0)
    publish(log, PLACES[0], 2)
    assert [at_work.step(handler, 0) for _ in range(2)] == [2, 1]
    assert handler.seen == [["0", "1"], ["0", "1"], ["2"]]
    assert log.committed(GROUP, TOPIC) == [3, None]
    at_work.close()


def test_a_batch_that_was_given_to_somebody_else_is_let_go_of(log: SqliteLogStore, clock: ManualClock) -> None:
    """Who was silent for too long finds that out at its commit; it reads on where the group is."""
    for place in PLACES:
        publish(log, place, 0)
    slow, fast = consumer(log), consumer(log)
    quick = Handler()

    def be_silent() -> None:
        clock.advance(SESSION_S + 1)
        while fast.step(quick, 0):
            pass

    handler = Handler()
    handler.during = be_silent
    assert slow.step(handler, 0) == 0
    assert quick.seen
    assert log.committed(GROUP, TOPIC) == [1, 1]
    handler.during = None
    publish(log, PLACES[0], 1)
    publish(log, PLACES[1], 1)
    for _ in range(3):
        slow.step(handler, 0)
        fast.step(quick, 0)
    assert slow.assigned() | fast.assigned() == frozenset(PLACES)
    assert not slow.assigned() & fast.assigned()
    assert log.committed(GROUP, TOPIC) == [2, 2]
    assert sum(seen.count("1") for seen in handler.seen + quick.seen) == 2
    slow.close()
    fast.close()


def test_one_that_leaves_gives_its_partitions_up_at_once(log: SqliteLogStore) -> None:
    """Nobody waits for its session to end; what it had in hand comes to the others."""
    publish(log, PLACES[0], 0)
    handler, leaver, stayer = Handler(), consumer(log), consumer(log)
    handler.failures = 1
    with pytest.raises(TierUnavailable):
        leaver.step(handler, 0)
    stayer.step(handler, 0)
    leaver.close()
    leaver.close()
    assert leaver.assigned() == frozenset()
    stayer.step(handler, 0)
    assert stayer.assigned() == frozenset(PLACES)
    assert log.committed(GROUP, TOPIC)[0] == 1
    stayer.close()


def test_of_two_with_one_instance_name_the_later_stays(log: SqliteLogStore) -> None:
    """The earlier one says what is wrong and refuses, rather than that both put each other out for ever."""
    handler, earlier, later = Handler(), consumer(log, instance="a"), consumer(log, instance="a")
    earlier.step(handler, 0)
    later.step(handler, 0)
    with pytest.raises(UsageRefused, match="another process reads the log as 'a' of the group 'group'"):
        earlier.step(handler, 0)
    publish(log, PLACES[0], 0)
    assert later.step(handler, 0) == 1
    later.close()


class IsOut:
    """A member whose group has forgotten it, as a broker may."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        raise Fenced


def test_one_that_was_put_out_joins_again(log: SqliteLogStore) -> None:
    """As a new member, where it has no name that another could have taken."""
    publish(log, PLACES[0], 0)
    joined: list[Member] = []

    def wrap(member: Member) -> Any:
        joined.append(member)
        return IsOut(member) if len(joined) == 1 else member

    handler, at_work = Handler(), consumer(Joins(log, wrap))
    assert [at_work.step(handler, 0) for _ in range(2)] == [0, 1]
    at_work.close()


def test_the_lag_is_what_is_there_and_not_committed(log: SqliteLogStore) -> None:
    """Over all partitions, from the beginning where nothing was ever committed."""
    publish(log, PLACES[0], *range(5))
    publish(log, PLACES[1], *range(3))
    assert lag_events(log, GROUP, TOPIC) == 8
    at_work = consumer(log, batch=2)
    at_work.step(Handler(), 0)
    assert lag_events(log, GROUP, TOPIC) == 6
    while at_work.step(Handler(), 0):
        pass
    assert lag_events(log, GROUP, TOPIC) == 0
    at_work.close()
