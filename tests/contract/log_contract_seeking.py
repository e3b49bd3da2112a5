"""What the log promises to whoever moves a group's offsets from outside: only while nobody reads as the group."""

from __future__ import annotations

import pytest

from orderctl.errors import TierRejected
from orderctl.stores.log import GroupActive, Place
from tests.acceptance.server import until
from tests.contract.log_harness import PATIENCE_S, Stage, behind, offsets_by_partition, read_all


def until_nobody_reads(stage: Stage) -> None:
    """Closing is given so long and no longer: that a member has left may come to the log's knowledge later."""
    until(lambda: not stage.store.is_active(stage.group), seconds=PATIENCE_S, what="his leaving is known")


class SeekingContract:
    """A group without members, and one with."""

    def test_a_group_goes_on_from_where_it_was_put(self, stage: Stage) -> None:
        """Backwards in one partition; the others stay where they were committed."""
        stage.make(2)
        for number in range(2):
            stage.publish(number, *range(10))
        member = stage.join()
        member.commit(behind(read_all(20, member)))
        member.close()
        until_nobody_reads(stage)
        stage.store.seek(stage.group, {stage.place(1): 6})
        assert stage.store.committed(stage.group, stage.topic) == [10, 6]
        assert offsets_by_partition(read_all(4, stage.join())) == {1: [6, 7, 8, 9]}

    def test_a_group_that_nobody_knows(self, stage: Stage) -> None:
        """It has no members, and may be told where to begin."""
        stage.make().publish(0, *range(10))
        assert not stage.store.is_active(stage.group)
        stage.store.seek(stage.group, {stage.place(): 8})
        assert stage.store.committed(stage.group, stage.topic) == [8]

    def test_while_somebody_reads_it_is_refused(self, stage: Stage) -> None:
        """He would commit over it. Once he is gone it is done."""
        stage.make().publish(0, *range(10))
        member = stage.join()
        member.commit(behind(read_all(10, member)))
        assert stage.store.is_active(stage.group)
        with pytest.raises(GroupActive, match=stage.group):
            stage.store.seek(stage.group, {stage.place(): 0})
        assert stage.store.committed(stage.group, stage.topic) == [10]
        member.close()
        until_nobody_reads(stage)
        stage.store.seek(stage.group, {stage.place(): 0})
        assert stage.store.committed(stage.group, stage.topic) == [0]

    def test_what_is_not_there_is_no_place_to_go_on_from(self, stage: Stage) -> None:
        """An offset beyond the end, or a partition that the topic does not have; nothing is kept of such a call."""
        stage.make(2).publish(0, *range(3))
        for bad in ({stage.place(0): 4}, {stage.place(0): -1}, {Place(stage.topic, 2): 0}):
            with pytest.raises(TierRejected):
                stage.store.seek(stage.group, {stage.place(1): 0, **bad})
        assert stage.store.committed(stage.group, stage.topic) == [None, None]
