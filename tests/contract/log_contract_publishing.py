"""What the log promises to those who publish, and to those who read without a group."""

from __future__ import annotations

from functools import partial

import pytest

from orderctl.errors import TierRejected
from orderctl.stores.log import Outgoing, Place, Topic
from tests.contract.hot_harness import at_once
from tests.contract.log_harness import Stage, read_all, values, where


class PublishingContract:
    """Topics, publishing, reading by offset."""

    def test_topics_are_made_once(self, stage: Stage) -> None:
        """The names of those that were missing are returned; asked for again, there is nothing to do."""
        wanted = [Topic(f"{stage.topic}-a", 3), Topic(f"{stage.topic}-b", 1, compacted=True)]
        assert stage.store.ensure_topics(wanted[:1]) == [wanted[0].name]
        assert stage.store.ensure_topics(wanted) == [wanted[1].name]
        assert stage.store.ensure_topics(wanted) == []
        assert stage.store.ends(wanted[0].name) == [(0, 0)] * 3

    def test_a_topic_with_other_partitions_is_refused(self, stage: Stage) -> None:
        """Orders would change their partition; the topic stays as it is, and none beside it is made."""
        stage.make(4)
        other = f"{stage.topic}-other"
        with pytest.raises(TierRejected):
            stage.store.ensure_topics([Topic(other, 1), Topic(stage.topic, 8)])
        assert len(stage.store.ends(stage.topic)) == 4
        assert stage.store.ensure_topics([Topic(other, 1)]) == [other]

    def test_messages_keep_their_order_and_get_every_offset(self, stage: Stage) -> None:
        """In each partition offsets count from 0 without a gap, in the order of publishing, over several calls."""
        stage.make(3)
        for start in (0, 10):
            mixed = [stage.outgoing(n % 3, [n])[0] for n in range(start, start + 10)]
            stage.store.publish(mixed)
        for number in range(3):
            found = stage.store.read(stage.place(number), 0, 100)
            assert values(found) == [str(n) for n in range(20) if n % 3 == number]
            assert where(found) == [(number, offset) for offset in range(len(found))]

    def test_bytes_and_headers_come_back_as_they_were(self, stage: Stage) -> None:
        """Whatever the bytes, also none at all; headers keep their order, and may repeat."""
        stage.make()
        every_byte = bytes(range(256))
        sent = [
            Outgoing(stage.place(), every_byte, every_byte[::-1], (("b", every_byte), ("a", b""), ("b", b"2"))),
            Outgoing(stage.place(), b"k", b""),
            Outgoing(stage.place(), b"k", b"\x00\xff", (("trace-ü", b"1"),)),
        ]
        stage.store.publish(sent)
        found = stage.store.read(stage.place(), 0, 10)
        assert [Outgoing(m.place, m.key, m.value, m.headers) for m in found] == sent

    def test_a_message_of_a_mebibyte(self, stage: Stage) -> None:
        """A parked copy with its reason may be large."""
        stage.make()
        large = bytes(range(256)) * 4096
        stage.store.publish([Outgoing(stage.place(), b"k", large)])
        [message] = stage.store.read(stage.place(), 0, 10)
        assert message.value == large
        [polled] = read_all(1, stage.join())
        assert polled.value == large

    def test_what_does_not_exist_is_refused(self, stage: Stage) -> None:
        """A partition beyond the last, and a topic that nobody made."""
        stage.make(2)
        for place in (stage.place(2), Place(f"{stage.topic}-missing", 0)):
            with pytest.raises(TierRejected):
                stage.store.publish([Outgoing(place, b"k", b"v")])
            with pytest.raises(TierRejected):
                stage.store.read(place, 0, 1)
            with pytest.raises(TierRejected):
                stage.store.offset_at(place, 0)
        with pytest.raises(TierRejected):
            stage.store.ends(f"{stage.topic}-missing")
        with pytest.raises(TierRejected):
            stage.store.committed(stage.group, f"{stage.topic}-missing")

    def test_nothing_to_publish(self, stage: Stage) -> None:
        """An empty batch is no error, and gets no offset."""
        stage.make()
        stage.store.publish([])
        assert stage.store.ends(stage.topic) == [(0, 0)]

    def test_reading_from_an_offset(self, stage: Stage) -> None:
        """From there on, at most as many as asked for, and none behind the end."""
        stage.make().publish(0, *range(10))
        read = partial(stage.store.read, stage.place())
        assert values(read(3, 4)) == ["3", "4", "5", "6"]
        assert values(read(8, 4)) == ["8", "9"]
        assert read(10, 4) == []
        assert read(0, 0) == []

    def test_the_ends_of_each_partition(self, stage: Stage) -> None:
        """The first offset that is kept, and the one that comes next."""
        stage.make(3).publish(1, *range(5))
        stage.publish(2, "x")
        assert stage.store.ends(stage.topic) == [(0, 0), (0, 5), (0, 1)]

    def test_the_offset_of_a_time(self, stage: Stage) -> None:
        """The first message of that time or later; the end where there is none yet."""
        stage.make()
        times = []
        for number in range(5):
            times.append(stage.harness.now_ms())
            stage.publish(0, number, "beside it")
            stage.harness.pass_time(0.05)
        at = partial(stage.store.offset_at, stage.place())
        assert [at(ts_ms) for ts_ms in times] == [0, 2, 4, 6, 8]
        assert at(0) == 0
        assert at(stage.harness.now_ms() + 60_000) == 10
        for number, ts_ms in enumerate(times):
            assert ts_ms <= stage.store.read(stage.place(), 2 * number, 1)[0].ts_ms <= ts_ms + 10_000

    def test_what_was_acknowledged_survives_a_restart(self, stage: Stage) -> None:
        """Messages and topics are there, and offsets go on where they were."""
        stage.make(2).publish(1, "a", "b")
        stage.restart()
        stage.publish(1, "c")
        assert values(stage.store.read(stage.place(1), 0, 10)) == ["a", "b", "c"]
        assert stage.store.ends(stage.topic) == [(0, 0), (0, 3)]

    def test_others_see_what_was_published(self, stage: Stage) -> None:
        """Another store reads it as soon as the call has returned."""
        other = stage.make().harness.open()
        for number in range(20):
            stage.publish(0, number)
            assert values(other.read(stage.place(), number, 10)) == [str(number)]

    def test_publishers_do_not_disturb_each_other(self, stage: Stage) -> None:
        """Several stores publish to one partition at the same time: each message once, each publisher's in its order."""
        stage.make()
        stores = [stage.harness.open() for _ in range(4)]

        def publish(number: int) -> None:
            for round_ in range(10):
                stores[number].publish(stage.outgoing(0, [f"{number}-{10 * round_ + each}" for each in range(10)]))

        at_once([partial(publish, number) for number in range(4)])
        found = stage.store.read(stage.place(), 0, 1000)
        assert where(found) == [(0, offset) for offset in range(400)]
        for number in range(4):
            own = [value for value in values(found) if value.startswith(f"{number}-")]
            assert own == [f"{number}-{each}" for each in range(100)]

    def test_a_sign_of_life(self, stage: Stage) -> None:
        """A log that is there answers."""
        stage.store.ping()
