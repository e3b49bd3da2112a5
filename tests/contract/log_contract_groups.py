"""What the log promises to a group that nobody joins or leaves in a hurry: order, limits, and commits that hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from orderctl.errors import TierRejected
from orderctl.stores.log import Fenced, Message, Place, Topic
from tests.contract.hot_harness import at_once
from tests.contract.log_harness import (
    PATIENCE_S,
    Stage,
    behind,
    offsets_by_partition,
    poll_until,
    read_all,
    values,
    where,
)


class GroupContract:
    """One member, or members of different groups."""

    def test_a_group_reads_everything_in_order(self, stage: Stage) -> None:
        """From the beginning, whether it was published before the member joined or after."""
        stage.make(3)
        for number in range(3):
            stage.publish(number, *range(10))
        member = stage.join()
        read = read_all(30, member)
        for number in range(3):
            stage.publish(number, *range(10, 20))
        read += read_all(30, member)
        assert offsets_by_partition(read) == {number: list(range(20)) for number in range(3)}
        assert member.assigned() == stage.places(3)

    def test_a_batch_is_no_larger_than_asked_for(self, stage: Stage) -> None:
        """The next one goes on behind it, without a commit in between."""
        stage.make(2)
        stage.publish(0, *range(25))
        stage.publish(1, *range(25))
        member = stage.join()
        batches: list[list[Message]] = []
        while sum(len(batch) for batch in batches) < 50:
            batches.append(member.poll(7, PATIENCE_S))
            assert 0 < len(batches[-1]) <= 7
        read = [message for batch in batches for message in batch]
        assert offsets_by_partition(read) == {0: list(range(25)), 1: list(range(25))}

    def test_no_partition_is_starved(self, stage: Stage) -> None:
        """While one has more than anybody can read, the others get their turn."""
        stage.make(3)
        stage.publish(0, *range(2000))
        stage.publish(1, "x")
        stage.publish(2, "y")
        member = stage.join()
        poll_until(lambda read: {"x", "y"} <= set(values(read)) and len(read) < 2002, member, limit=20)

    def test_a_poll_ends_as_soon_as_there_is_a_message(self, stage: Stage) -> None:
        """Whichever store it is published by, nobody waits until the end of his time."""
        stage.make()
        member = stage.join()
        stage.settled(1, member)
        for number, store in enumerate([stage.store, stage.harness.open()]):
            started_s = time.monotonic()
            publish = partial(store.publish, stage.outgoing(0, [number]))
            calls: list[Callable[[], list[Message] | None]] = [partial(member.poll, 10, PATIENCE_S), publish]
            assert values(at_once(calls)[0] or []) == [str(number)]
            assert time.monotonic() - started_s < PATIENCE_S / 2

    def test_a_poll_that_finds_nothing(self, stage: Stage) -> None:
        """It returns when its time is over, or at once when it has none."""
        stage.make()
        member = stage.join()
        assert stage.settled(1, member) == []
        assert member.poll(10, 0) == []
        assert member.poll(10, 0.1) == []

    def test_groups_do_not_see_each_other(self, stage: Stage) -> None:
        """Each reads everything, and commits for itself."""
        stage.make().publish(0, *range(10))
        one, two = stage.join(group=f"{stage.group}-1"), stage.join(group=f"{stage.group}-2")
        assert values(read_all(10, one)) == values(read_all(10, two))
        one.commit({stage.place(): 7})
        assert stage.store.committed(f"{stage.group}-1", stage.topic) == [7]
        assert stage.store.committed(f"{stage.group}-2", stage.topic) == [None]

    def test_a_member_of_two_topics(self, stage: Stage) -> None:
        """It reads both, each as if it were alone."""
        other = f"{stage.topic}-other"
        stage.make(2).store.ensure_topics([Topic(other, 1)])
        stage.publish(1, *range(5))
        member = stage.join(topics=[stage.topic, other])
        assert offsets_by_partition(read_all(5, member)) == {1: list(range(5))}
        assert {(place.topic, place.partition) for place in member.assigned()} == {
            (stage.topic, 0),
            (stage.topic, 1),
            (other, 0),
        }

    def test_a_topic_that_is_not_there_is_refused(self, stage: Stage) -> None:
        """Nobody waits for messages that cannot come."""
        with pytest.raises(TierRejected):
            stage.join(topics=[f"{stage.topic}-missing"]).poll(1, PATIENCE_S)

    def test_a_group_goes_on_from_its_commit(self, stage: Stage) -> None:
        """What was read and not committed comes again, what was committed does not; also after a restart of the log."""
        stage.make(2)
        stage.publish(0, *range(10))
        stage.publish(1, *range(10))
        first = stage.join()
        read_all(20, first)
        first.commit({stage.place(0): 4})
        assert stage.store.committed(stage.group, stage.topic) == [4, None]
        first.close()
        second = stage.join()
        assert offsets_by_partition(read_all(16, second)) == {0: list(range(4, 10)), 1: list(range(10))}
        second.commit({stage.place(0): 10, stage.place(1): 9})
        stage.restart()
        assert stage.store.committed(stage.group, stage.topic) == [10, 9]
        assert where(read_all(1, stage.join())) == [(1, 9)]

    def test_a_commit_of_nothing(self, stage: Stage) -> None:
        """It is no error, whoever asks."""
        stage.make()
        member = stage.join()
        member.commit({})
        stage.settled(1, member)
        member.commit({})
        assert stage.store.committed(stage.group, stage.topic) == [None]

    def test_a_commit_for_what_is_not_ones_own_is_refused_whole(self, stage: Stage) -> None:
        """A member that never polled, a partition of another group's topic: nothing is kept of any of it."""
        other = f"{stage.topic}-other"
        stage.make(2).store.ensure_topics([Topic(other, 1)])
        stage.publish(0, *range(3))
        member = stage.join()
        with pytest.raises(Fenced):
            member.commit({stage.place(0): 1})
        read_all(3, member)
        with pytest.raises(Fenced):
            member.commit({stage.place(0): 3, Place(other, 0): 0})
        assert stage.store.committed(stage.group, stage.topic) == [None, None]

    def test_a_refused_commit_brings_the_batch_again(self, stage: Stage) -> None:
        """The member drops what it was doing, and goes on from the last commit in what is still its own."""
        stage.make().publish(0, *range(5))
        member = stage.join()
        read_all(5, member)
        member.commit({stage.place(): 2})
        with pytest.raises(Fenced):
            member.commit({stage.place(): 5, stage.place(1): 1})
        assert values(read_all(3, member)) == ["2", "3", "4"]
        member.commit({stage.place(): 5})
        assert stage.store.committed(stage.group, stage.topic) == [5]

    def test_a_backlog_is_read_in_batches(self, stage: Stage) -> None:
        """Thousands of messages that came while nobody was there: each once, in order, committed as it goes."""
        stage.make(4)
        for start in range(0, 1500, 500):
            for number in range(4):
                stage.publish(number, *range(start, start + 500))
        member = stage.join()
        read: list[Message] = []
        while len(read) < 6000:
            batch = member.poll(700, PATIENCE_S)
            assert batch
            member.commit(behind(batch))
            read += batch
        assert offsets_by_partition(read) == {number: list(range(1500)) for number in range(4)}
        assert stage.store.committed(stage.group, stage.topic) == [1500] * 4

    def test_a_closed_member_is_out(self, stage: Stage) -> None:
        """Closing twice is harmless; afterwards it neither reads nor commits."""
        stage.make().publish(0, "x")
        member = stage.join()
        read = read_all(1, member)
        member.close()
        member.close()
        with pytest.raises(Fenced):
            member.commit(behind(read))
        with pytest.raises(Fenced):
            member.poll(1, 0)
        assert stage.store.committed(stage.group, stage.topic) == [None]
