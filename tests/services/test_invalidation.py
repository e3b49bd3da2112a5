"""Invalidations: what is published, what a process that follows them forgets, and that it answers nothing while it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from orderctl.errors import TierUnavailable
from orderctl.ids import group_of
from orderctl.services.invalidation import (
    HOLD_S,
    POLL_COUNT,
    Follower,
    GroupInvalidated,
    OrderInvalidated,
    publish_groups,
    publish_orders,
    read,
)
from orderctl.stores.log import INVALIDATED, Message, Outgoing, Place, Tail, topics
from orderctl.stores.sqlite.log import SqliteLogStore, open_embedded_log
from tests.services.nearby import GROUPS, Nearby, order_ids, record

[A, B, C] = order_ids(1, 3)
[OTHER] = order_ids(2, 1)


class BreakingLog:
    """A log whose tails fail while `is_away`, as one that may have missed messages; everything else is the real log's."""

    def __init__(self, log: SqliteLogStore) -> None:
        self._log = log
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def tail(self, topic: str, *, silence_s: float = 2.0) -> Tail:
        return BreakingTail(self, self._log.tail(topic, silence_s=silence_s))


class BreakingTail:
    """The tail of such a log."""

    def __init__(self, log: BreakingLog, tail: Tail) -> None:
        self._log = log
        self._tail = tail

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        if self._log.is_away:
            raise TierUnavailable("log", "messages may have been missed")
        return self._tail.poll(limit, wait_s)

    def close(self) -> None:
        self._tail.close()


class Process(Nearby):
    """One process's memory, and who follows the log for it."""

    def __init__(self, store: SqliteLogStore) -> None:
        super().__init__(is_on=False)
        self.log = BreakingLog(store)
        self.follower = Follower(self.log, self.near, groups=GROUPS, clock=self.clock, metrics=self.metrics)


@pytest.fixture
def log() -> Iterator[SqliteLogStore]:
    """A log with a deployment's topics."""
    store = open_embedded_log(None, clock=Nearby().clock)
    store.ensure_topics(topics(groups=GROUPS, shards=1))
    yield store
    store.close()


@pytest.fixture
def process(log: SqliteLogStore) -> Iterator[Process]:
    """One that follows, with a copy of each order."""
    process = Process(log)
    process.follower.step()
    process.put(record(A), record(B), record(OTHER))
    yield process
    process.follower.drain()


def published(log: SqliteLogStore) -> list[Message]:
    """Everything in the topic, by partition."""
    return [message for group in range(GROUPS) for message in log.read(Place(INVALIDATED, group), 0, 100_000)]


class TestPublishing:
    """What others see of it."""

    def test_an_order_is_a_message_under_its_id_in_its_group(self, log: SqliteLogStore) -> None:
        """Each once, however often it is named."""
        publish_orders(log, [A, OTHER, A], GROUPS)
        assert [(m.place.partition, m.key, m.value) for m in published(log)] == [
            (1, A.encode(), b'{"order_id":"%s"}' % A.encode()),
            (2, OTHER.encode(), b'{"order_id":"%s"}' % OTHER.encode()),
        ]

    def test_a_group_is_a_message_without_a_key(self, log: SqliteLogStore) -> None:
        """In its own partition."""
        publish_groups(log, [7, 0, 7])
        assert [(m.place.partition, m.key, m.value) for m in published(log)] == [
            (0, b"", b'{"group":0}'),
            (7, b"", b'{"group":7}'),
        ]

    def test_nothing_is_published_of_nothing(self, log: SqliteLogStore) -> None:
        """And a large number in several calls."""
        publish_orders(log, [], GROUPS)
        publish_groups(log, [])
        assert published(log) == []
        publish_orders(log, order_ids(3, 10_001), GROUPS)
        assert len({message.key for message in published(log)}) == 10_001

    def test_what_is_published_is_read(self, log: SqliteLogStore) -> None:
        """By this version; members that it does not know are passed over."""
        publish_orders(log, [A], GROUPS)
        publish_groups(log, [1])
        messages = published(log)
        assert [read(message, GROUPS) for message in messages] == [OrderInvalidated(A), GroupInvalidated(1)]
        more = msgspec.structs.replace(messages[0], value=messages[0].value[:-1] + b',"reason":"repaired"}')
        assert read(more, GROUPS) == OrderInvalidated(A)


UNREADABLE = {
    "an empty value": Outgoing(Place(INVALIDATED, 1), A.encode(), b""),
    "no JSON": Outgoing(Place(INVALIDATED, 1), A.encode(), b"\xff"),
    "nested without end": Outgoing(Place(INVALIDATED, 1), A.encode(), b'{"x":' + b"[" * 100_000),
    "another order's key": Outgoing(Place(INVALIDATED, 1), B.encode(), b'{"order_id":"%s"}' % A.encode()),
    "another group's order": Outgoing(Place(INVALIDATED, 1), OTHER.encode(), b'{"order_id":"%s"}' % OTHER.encode()),
    "no order id": Outgoing(Place(INVALIDATED, 1), b"x", b'{"order_id":"x"}'),
    "half a letter": Outgoing(Place(INVALIDATED, 1), b"x", rb'{"order_id":"\ud800"}'),
    "capital letters": Outgoing(Place(INVALIDATED, 1), A.upper().encode(), b'{"order_id":"%s"}' % A.upper().encode()),
    "another group": Outgoing(Place(INVALIDATED, 1), b"", b'{"group":2}'),
    "no group": Outgoing(Place(INVALIDATED, 1), b"", b'{"groups":[1]}'),
}


class TestFollowing:
    """What a process forgets."""

    def test_orders_and_groups_are_forgotten(self, log: SqliteLogStore, process: Process) -> None:
        """By the step after they were published; what was not named stays."""
        publish_orders(log, [A, C], GROUPS)
        process.follower.step()
        assert process.versions([A, B, OTHER]) == [None, 1, 1]
        publish_groups(log, [1])
        process.follower.step()
        assert process.versions([A, B, OTHER]) == [None, None, 1]
        assert [process.counted("invalidations_total", kind=kind) for kind in ("order", "group")] == [2, 1]

    def test_every_process_forgets(self, log: SqliteLogStore, process: Process) -> None:
        """Each follows by itself."""
        second = Process(log)
        second.follower.step()
        second.put(record(A))
        publish_orders(log, [A], GROUPS)
        process.follower.step()
        second.follower.step()
        assert process.versions([A]) == second.versions([A]) == [None]
        second.follower.drain()

    @pytest.mark.parametrize("kind", UNREADABLE)
    def test_what_cannot_be_read_drops_its_group(self, log: SqliteLogStore, process: Process, kind: str) -> None:
        """Somebody wanted something in it forgotten; those behind it are followed all the same."""
        log.publish([UNREADABLE[kind]])
        publish_orders(log, [OTHER], GROUPS)
        process.follower.step()
        assert process.versions([A, B, OTHER]) == [None, None, None]
        assert process.counted("invalidations_total", kind="unreadable") == 1
        process.put(record(A))
        assert process.versions([A]) == [1]

    def test_a_partition_that_is_no_group(self, log: SqliteLogStore, process: Process) -> None:
        """Somebody gave the topic more: there is nothing in it to forget."""
        process.follower._forget([Message(Place(INVALIDATED, GROUPS + 5), 0, b"?", b"?")])
        assert process.versions([A, B, OTHER]) == [1, 1, 1]

    def test_an_answer_under_way_is_not_kept(self, log: SqliteLogStore, process: Process) -> None:
        """It was asked for before the message came."""
        ticket = process.near.begin([C])
        publish_orders(log, [C], GROUPS)
        process.follower.step()
        process.near.put_many(ticket, [record(C)])
        assert process.versions([C]) == [None]


class TestTurningOnAndOff:
    """It answers while the log is followed, and then only."""

    def test_it_is_off_until_the_end_was_found(self, log: SqliteLogStore) -> None:
        """What was published before is nobody's concern."""
        publish_groups(log, [1])
        process = Process(log)
        process.put(record(A))
        assert process.versions([A]) == [None]
        process.follower.step()
        process.put(record(A))
        process.follower.step()
        assert process.versions([A]) == [1]
        process.follower.drain()

    def test_it_is_off_and_empty_when_messages_may_have_been_missed(
        self, log: SqliteLogStore, process: Process
    ) -> None:
        """Until the end was found again; a copy of before then does not come back."""
        before = process.near.begin([C])
        process.log.is_away = True
        publish_orders(log, [A], GROUPS)
        with pytest.raises(TierUnavailable):
            process.follower.step()
        assert process.versions([A, B, OTHER]) == [None] * 3
        assert process.counted("near_orders") == 0
        process.log.is_away = False
        process.follower.step()
        process.near.put_many(before, [record(C)])
        process.put(record(B))
        assert process.versions([A, B, C]) == [None, 1, None]

    def test_it_is_off_where_the_topic_is_not_there(self) -> None:
        """A deployment that was not migrated looks up without it; once it was, nobody need restart anything."""
        store = open_embedded_log(None, clock=Nearby().clock)
        process = Process(store)
        for _ in range(2):
            with pytest.raises(Exception, match="no topic"):
                process.follower.step()
        store.ensure_topics(topics(groups=GROUPS, shards=1))
        process.follower.step()
        process.put(record(A))
        assert process.versions([A]) == [1]
        process.follower.drain()
        store.close()

    def test_it_is_off_when_no_step_comes_back(self, log: SqliteLogStore, process: Process) -> None:
        """A thread that was stopped, or a process that was: nothing is answered by what it may not have heard."""
        process.clock.advance(HOLD_S)
        assert process.versions([B]) == [None]
        publish_orders(log, [A], GROUPS)
        process.follower.step()
        assert process.versions([A, B]) == [None, 1]

    def test_it_stays_off_until_it_has_caught_up(self, log: SqliteLogStore, process: Process) -> None:
        """A full batch says that there may be more, published any time ago."""
        process.clock.advance(HOLD_S)
        publish_orders(log, order_ids(3, POLL_COUNT), GROUPS)
        process.follower.step()
        assert process.versions([B]) == [None]
        process.follower.step()
        assert process.versions([B]) == [1]

    def test_a_drained_one_answers_nothing(self, process: Process) -> None:
        """Nobody follows any more."""
        process.follower.drain()
        process.follower.drain()
        assert process.versions([A, B]) == [None, None]


def test_groups_of_the_kit() -> None:
    """The orders are where the tests say."""
    assert [group_of(order_id, GROUPS) for order_id in (A, B, C, OTHER)] == [1, 1, 1, 2]
