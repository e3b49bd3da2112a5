"""What a compacted topic keeps: the last message of each key, for ever, at its offset."""

from __future__ import annotations

from orderctl.stores.log import Outgoing
from tests.contract.log_harness import Stage, behind, poll_until, values


class KeepingContract:
    """Compaction. When it happens is the log's to choose, so what is asked is what must be there and in which order."""

    def put(self, stage: Stage, *pairs: tuple[str, str]) -> None:
        stage.store.publish([Outgoing(stage.place(), key.encode(), value.encode()) for key, value in pairs])

    def test_the_last_message_of_each_key_is_kept(self, stage: Stage) -> None:
        """Over several calls and within one; the newest message of all is there too."""
        stage.make(compacted=True)
        self.put(stage, ("a", "a1"), ("b", "b1"), ("a", "a2"))
        for number in range(50):
            self.put(stage, ("b", f"b{number}"), ("c", f"c{number}"))
        stage.harness.compact(stage.topic)
        found = stage.store.read(stage.place(), 0, 1000)
        assert {m.key: m.value for m in found} == {b"a": b"a2", b"b": b"b49", b"c": b"c49"}
        assert [m.offset for m in found] == sorted({m.offset for m in found})
        assert found[-1].value == b"c49"

    def test_offsets_are_not_used_again(self, stage: Stage) -> None:
        """A message keeps its offset when those before it go, and the next one gets the next."""
        stage.make(compacted=True)
        for number in range(30):
            self.put(stage, ("k", str(number)))
        stage.harness.compact(stage.topic)
        first, end = stage.store.ends(stage.topic)[0]
        assert (0 <= first <= 29, end) == (True, 30)
        stage.restart()
        self.put(stage, ("other", "x"))
        assert {(m.offset, m.value) for m in stage.store.read(stage.place(), 29, 10)} == {(29, b"29"), (30, b"x")}
        assert stage.store.offset_at(stage.place(), stage.harness.now_ms() + 60_000) == 31

    def test_a_group_goes_on_behind_what_is_gone(self, stage: Stage) -> None:
        """Its last commit points at messages that were compacted: it reads on from the first that is kept."""
        stage.make(compacted=True)
        self.put(stage, ("k", "0"), ("k", "1"))
        member = stage.join()
        poll_until(lambda read: "1" in values(read), member)
        member.commit({stage.place(): 1})
        member.close()
        self.put(stage, ("k", "2"), ("k", "3"), ("k", "4"))
        stage.harness.compact(stage.topic)
        heir = stage.join()
        heir.commit(behind(poll_until(lambda read: "4" in values(read), heir)))
        assert stage.store.committed(stage.group, stage.topic) == [5]
