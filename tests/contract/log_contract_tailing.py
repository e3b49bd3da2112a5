"""What the log promises to those who follow a topic's end: from the first poll on nothing is missed, and all comes in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from threading import Event

import pytest

from orderctl.errors import TierError, TierRejected
from orderctl.stores.log import Message
from tests.contract.hot_harness import at_once
from tests.contract.log_harness import PATIENCE_S, Stage, offsets_by_partition, poll_until, read_all, values


class TailingContract:
    """Tails, which are in no group and commit nothing."""

    def test_a_tail_begins_at_the_end(self, stage: Stage) -> None:
        """What was there before its first poll does not come, all that is published afterwards does, in order."""
        stage.make(3)
        for number in range(3):
            stage.publish(number, *range(10))
        tail = stage.tail()
        for number in range(3):
            stage.publish(number, *range(10, 20))
        assert offsets_by_partition(read_all(30, tail)) == {number: list(range(10, 20)) for number in range(3)}

    def test_a_message_comes_whole(self, stage: Stage) -> None:
        """As reading by its offset gives it."""
        stage.make(2)
        tail = stage.tail()
        stage.publish(1, "x")
        assert read_all(1, tail) == stage.store.read(stage.place(1), 0, 10)

    def test_every_tail_gets_everything(self, stage: Stage) -> None:
        """Each process follows by itself."""
        stage.make(2)
        tails = [stage.tail(), stage.tail()]
        stage.publish(0, *range(5))
        stage.publish(1, *range(5))
        assert [offsets_by_partition(read_all(10, tail)) for tail in tails] == [{0: [*range(5)], 1: [*range(5)]}] * 2

    def test_a_batch_is_no_larger_than_asked_for(self, stage: Stage) -> None:
        """The next one goes on behind it; no partition is starved by another's flood."""
        stage.make(3)
        tail = stage.tail()
        for number in range(3):
            stage.publish(number, *range(1_000))
        batches: list[list[Message]] = []
        while sum(map(len, batches)) < 3_000:
            batches.append(tail.poll(700, PATIENCE_S))
            assert 0 < len(batches[-1]) <= 700
        read = [message for batch in batches for message in batch]
        assert offsets_by_partition(read) == {number: list(range(1_000)) for number in range(3)}

    def test_a_poll_ends_as_soon_as_there_is_a_message(self, stage: Stage) -> None:
        """Whichever store it is published by, it is there long before a second is over."""
        stage.make()
        tail = stage.tail()
        for number, store in enumerate([stage.store, stage.harness.open()]):
            publish = partial(store.publish, stage.outgoing(0, [number]))
            publish_now: list[Callable[[], list[Message] | None]] = [partial(tail.poll, 10, PATIENCE_S), publish]
            started_s = time.monotonic()
            assert values(at_once(publish_now)[0] or []) == [str(number)]
            assert time.monotonic() - started_s < PATIENCE_S / 2

    def test_a_poll_that_finds_nothing(self, stage: Stage) -> None:
        """It returns when its time is over, or soon when it has none, and that is no error, however often."""
        stage.make()
        silence_s = stage.harness.silence_s
        tail = stage.tail(silence_s=silence_s)
        assert tail.poll(10, 0) == []
        until_s = time.monotonic() + 2 * silence_s
        while time.monotonic() < until_s:
            assert tail.poll(10, silence_s / 3) == []

    def test_what_was_acknowledged_a_while_ago_has_come(self, stage: Stage) -> None:
        """A poll that says that there is no more does not say so too early, even if it may not wait and comes late."""
        stage.make(2)
        tail = stage.tail(silence_s=stage.harness.silence_s)
        for number in range(2):
            stage.publish(number, f"first in {number}")
            stage.harness.pass_time(stage.harness.silence_s * 1.5)
            assert values(tail.poll(10, 0)) == [f"first in {number}"]
        assert tail.poll(10, 0) == []

    def test_nothing_is_missed_from_the_first_poll_on(self, stage: Stage) -> None:
        """While somebody publishes without a pause: what is begun after it has returned comes later."""
        stage.make()
        begun: list[int] = []
        stop = Event()

        def publish() -> None:
            while not stop.is_set():
                begun.append(len(begun))
                stage.publish(0, begun[-1])

        def follow() -> tuple[int, list[Message]]:
            try:
                assert wait_for(lambda: len(begun) > 5)
                tail = stage.tail()
                first = len(begun)
                assert wait_for(lambda: len(begun) > first + 20)
            finally:
                stop.set()
            last = str(first + 19)
            return first, poll_until(lambda read: last in values(read), tail, limit=7)

        calls: list[Callable[[], tuple[int, list[Message]] | None]] = [follow, publish]
        followed = at_once(calls)[0]
        assert followed is not None
        first, read = followed
        numbers = [int(value) for value in values(read)]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert numbers[0] <= first

    def test_a_topic_that_is_not_there_is_refused(self, stage: Stage) -> None:
        """Also by the second poll; once it is made, it is followed."""
        tail = stage.store.tail(stage.topic, silence_s=PATIENCE_S)
        for _ in range(2):
            with pytest.raises(TierRejected):
                tail.poll(1, 0)
        stage.make()
        assert tail.poll(1, 0) == []
        stage.publish(0, "x")
        assert values(read_all(1, tail)) == ["x"]
        tail.close()

    def test_a_closed_tail_is_of_no_use(self, stage: Stage) -> None:
        """Closing twice is harmless; it does not say that there is nothing."""
        stage.make()
        tail = stage.tail()
        tail.close()
        tail.close()
        with pytest.raises(TierError):
            tail.poll(1, 0)


def wait_for(is_done: Callable[[], bool]) -> bool:
    """Whether it came true in time."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        if is_done():
            return True
        Event().wait(0.002)
    return False
