"""What a group promises when a member stops without a word: its batch comes again, and what it says too late is refused."""

from __future__ import annotations

import pytest

from orderctl.stores.log import Fenced
from tests.contract.log_harness import Stage, behind, offsets_by_partition, poll_until, read_all, values, where


class TakingOverContract:
    """Members that are killed, stopped, or replaced."""

    def test_one_of_two_is_killed_in_the_middle_of_a_batch(self, stage: Stage) -> None:
        """The batch comes again to the other, all of it, and the killed one's late commit is refused and leaves no trace."""
        stage.make(4)
        killed, other = stage.join(), stage.join()
        stage.settled(4, killed, other)
        for number in range(4):
            stage.publish(number, *range(10))
        batch = poll_until(lambda read: len(read) >= 5, killed, limit=5)
        stage.harness.lose(killed)
        again = read_all(40, other)
        assert set(where(batch)) <= set(where(again))
        assert other.assigned() == stage.places(4)
        with pytest.raises(Fenced):
            killed.commit(behind(batch))
        assert stage.store.committed(stage.group, stage.topic) == [None] * 4
        other.commit(behind(again))
        assert stage.store.committed(stage.group, stage.topic) == [10] * 4
        for offsets in offsets_by_partition(again).values():
            assert offsets == list(range(10))

    def test_a_late_commit_does_not_bring_the_group_back(self, stage: Stage) -> None:
        """The heir has committed further: what the other says afterwards neither lowers nor raises it."""
        stage.make().publish(0, *range(10))
        killed = stage.join()
        batch = read_all(4, killed, limit=4)
        stage.harness.lose(killed)
        heir = stage.join()
        heir.commit(behind(read_all(10, heir)))
        with pytest.raises(Fenced):
            killed.commit(behind(batch))
        assert stage.store.committed(stage.group, stage.topic) == [10]

    def test_one_that_wakes_up_late_joins_again(self, stage: Stage) -> None:
        """It gets a share, begins at the group's commits, and is no longer refused."""
        stage.make(2)
        sleeper, other = stage.join(), stage.join()
        stage.settled(2, sleeper, other)
        stage.publish(0, "a")
        stage.publish(1, "a")
        poll_until(lambda read: len(read) == 1, sleeper)
        stage.harness.lose(sleeper)
        other.commit(behind(read_all(2, other)))
        assert stage.settled(2, sleeper, other) == []
        stage.publish(0, "b")
        stage.publish(1, "b")
        read = poll_until(lambda read: len(read) == 1, sleeper)
        sleeper.commit(behind(read))
        assert values(read) == ["b"]

    def test_everything_comes_again_when_all_are_killed(self, stage: Stage) -> None:
        """Whoever comes next goes on from the last commit of each partition."""
        stage.make(2)
        members = [stage.join(), stage.join()]
        stage.settled(2, *members)
        stage.publish(0, *range(10))
        stage.publish(1, *range(10))
        for member in members:
            batch = poll_until(lambda read: len(read) == 10, member)
            member.commit({message.place: 6 for message in batch})
        for member in members:
            stage.harness.lose(member)
        heir = stage.join()
        read = read_all(8, heir)
        assert offsets_by_partition(read) == {0: [6, 7, 8, 9], 1: [6, 7, 8, 9]}

    def test_an_instance_that_does_not_come_back_is_replaced(self, stage: Stage) -> None:
        """When its session is over the others have its partitions."""
        stage.make(4)
        one, two = stage.join(instance="one"), stage.join(instance="two")
        stage.settled(4, one, two)
        one.close()
        stage.harness.lose(one)
        stage.settled(4, two)

    def test_the_later_of_two_under_one_name_is_the_instance(self, stage: Stage) -> None:
        """The earlier one is fenced, for good: it must not take its place back."""
        stage.make(2)
        earlier = stage.join(instance="one")
        stage.settled(2, earlier)
        stage.publish(0, "x")
        batch = read_all(1, earlier)
        later = stage.join(instance="one")
        stage.settled(2, later)
        with pytest.raises(Fenced):
            earlier.commit(behind(batch))
        with pytest.raises(Fenced):
            poll_until(lambda _: False, earlier)
        assert later.assigned() == stage.places(2)
        later.commit({stage.place(0): 1})
        assert stage.store.committed(stage.group, stage.topic) == [1, None]
