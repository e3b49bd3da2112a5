"""What a group promises when members come and go in an orderly way: one owner a partition, nothing lost, no gap."""

from __future__ import annotations

from contextlib import suppress

import pytest

from orderctl.errors import TierUnavailable
from orderctl.stores.log import Fenced, Member, Message
from tests.contract.log_harness import (
    PATIENCE_S,
    Stage,
    behind,
    first_occurrences,
    offsets_by_partition,
    poll_until,
    read_all,
    where,
)

LONG_S = 45.0
"""A session that no machine is so busy as to sit out."""


class RebalancingContract:
    """Sharing, joining, leaving."""

    def test_members_share_the_partitions(self, stage: Stage) -> None:
        """Evenly, each partition with one owner; each message goes to its partition's owner alone."""
        stage.make(8)
        members = [stage.join() for _ in range(3)]
        stage.settled(8, *members)
        for number in range(8):
            stage.publish(number, *range(5))
        read: list[Message] = []
        while len(read) < 40:
            for member in members:
                batch = member.poll(100, 0.1)
                assert {message.place for message in batch} <= member.assigned()
                read += batch
        assert sorted(where(read)) == [(number, offset) for number in range(8) for offset in range(5)]

    def test_a_partition_has_one_member_however_many_wait(self, stage: Stage) -> None:
        """This is how a leader is elected: the next one follows when it leaves."""
        stage.make(1)
        members = [stage.join() for _ in range(3)]
        for left in (3, 2, 1):
            poll_until(lambda _: sum(len(member.assigned()) for member in members) == 1, *members)
            [leader] = [member for member in members if member.assigned()]
            stage.publish(0, left)
            read = read_all(1, leader)
            leader.commit(behind(read))
            members.remove(leader)
            leader.close()
        assert stage.store.committed(stage.group, stage.topic) == [3]

    def test_a_member_that_joins_in_the_middle_of_a_batch(self, stage: Stage) -> None:
        """Half of the partitions move while the first member works: both go on, and together they see everything in order."""
        stage.make(4)
        for number in range(4):
            stage.publish(number, *range(50))
        first = stage.join()
        batch = read_all(20, first, limit=20)
        second = stage.join()
        moved = stage.settled(4, first, second)
        with suppress(Fenced):
            first.commit(behind(message for message in batch if message.place in first.assigned()))
        seen = batch + moved
        seen += poll_until(lambda read: len(set(where(seen + read))) == 200, first, second)
        for offsets in offsets_by_partition(seen).values():
            assert first_occurrences(offsets) == list(range(50))

    def test_what_moved_is_no_longer_for_the_first_to_commit(self, stage: Stage) -> None:
        """Also when both are members still: the new owner decides how far the group has come."""
        stage.make(2)
        first = stage.join()
        stage.settled(2, first)
        stage.publish(0, *range(10))
        stage.publish(1, *range(10))
        batch = read_all(20, first)
        second = stage.join()
        stage.settled(2, first, second)
        lost = [message for message in batch if message.place not in first.assigned()]
        assert len(lost) == 10
        with pytest.raises(Fenced):
            first.commit(behind(lost))
        assert stage.store.committed(stage.group, stage.topic) == [None, None]

    def test_what_was_done_is_not_done_again_after_a_move(self, stage: Stage) -> None:
        """The new owner begins at the last owner's commit."""
        stage.make(4)
        for number in range(4):
            stage.publish(number, *range(10))
        first = stage.join()
        first.commit(behind(read_all(40, first)))
        second = stage.join()
        assert stage.settled(4, first, second) == []
        for number in range(4):
            stage.publish(number, 10)
        assert sorted(where(read_all(4, first, second))) == [(number, 10) for number in range(4)]

    def test_leaving_hands_over_at_once(self, stage: Stage) -> None:
        """Nobody waits for the session of a member that said good-bye; what it had not committed comes again."""
        stage.make(4)
        leaver, stayer = stage.join(session_s=LONG_S), stage.join(session_s=LONG_S)
        stage.settled(4, leaver, stayer)
        for number in range(4):
            stage.publish(number, "x")
        before_ms = stage.harness.now_ms()
        taken = poll_until(lambda read: len(read) == 2, leaver)
        leaver.close()
        read = poll_until(lambda read: len(read) == 4, stayer)
        assert set(where(taken)) < set(where(read))
        assert stayer.assigned() == stage.places(4)
        assert stage.harness.now_ms() - before_ms < LONG_S * 1000

    def test_members_come_and_go_while_messages_flow(self, stage: Stage) -> None:
        """Whoever is there commits what it read: nothing is lost, and first occurrences are in order."""
        stage.make(6)
        members: list[Member] = []
        seen: list[Message] = []
        for round_, size in enumerate((1, 2, 4, 3, 1, 2)):
            while len(members) > size:
                members.pop(0).close()
            members += [stage.join() for _ in range(size - len(members))]
            for number in range(6):
                stage.publish(number, *range(10 * round_, 10 * round_ + 10))
            for member in members:
                batch = member.poll(15, PATIENCE_S / 100)
                seen += batch
                with suppress(Fenced, TierUnavailable):  # a commit may find no answer while the group is rebalanced
                    member.commit(behind(batch))
        seen += poll_until(lambda read: len(set(where(seen + read))) == 360, *members)
        assert {number: first_occurrences(found) for number, found in offsets_by_partition(seen).items()} == {
            number: list(range(60)) for number in range(6)
        }
        stage.settled(6, *members)

    def test_an_instance_that_comes_back_disturbs_nobody(self, stage: Stage) -> None:
        """A restart within the session: it has its partitions again, and the other's work in progress is not refused."""
        stage.make(4)
        one, two = stage.join(instance="one"), stage.join(instance="two")
        stage.settled(4, one, two)
        for number in range(4):
            stage.publish(number, *range(3))
        own, others = one.assigned(), two.assigned()
        batch = poll_until(lambda read: len(read) == 6, two)
        done = poll_until(lambda read: len(read) == 6, one)
        one.commit({message.place: 1 for message in done})
        one.close()
        back = stage.join(instance="one")
        again = poll_until(lambda read: len(read) == 4, back)
        assert back.assigned() == own
        assert {message.place for message in again} == own
        two.commit(behind(batch))
        assert two.poll(10, 0.1) == []
        assert two.assigned() == others
