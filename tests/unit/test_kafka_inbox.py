"""The inbox of a member: turns, limits, and what is forgotten."""

from __future__ import annotations

from orderctl.stores.kafka_inbox import BYTES_MAX, MESSAGES_MAX, Inbox
from orderctl.stores.log import Message, Place


def place(partition: int) -> Place:
    return Place("orders.test", partition)


def filled(*counts: int, value: bytes = b"v") -> Inbox:
    """An inbox with so many messages of each partition."""
    inbox = Inbox()
    for partition, count in enumerate(counts):
        inbox.put(place(partition), [Message(place(partition), offset, b"k", value) for offset in range(count)])
    return inbox


def offsets(messages: list[Message], partition: int) -> list[int]:
    return [message.offset for message in messages if message.place.partition == partition]


def test_each_partition_has_its_share() -> None:
    """A long line does not push the others out; what they leave of their share it gets."""
    taken = filled(100, 2, 50).take(30)
    assert [len(offsets(taken, partition)) for partition in range(3)] == [14, 2, 14]


def test_order_is_kept_within_a_partition() -> None:
    """Whatever the limits of the calls."""
    inbox = filled(20, 7, 1)
    taken = [message for limit in (1, 2, 3, 5, 50) for message in inbox.take(limit)]
    assert [offsets(taken, partition) for partition in range(3)] == [list(range(20)), list(range(7)), [0]]
    assert len(inbox) == 0
    assert inbox.take(5) == []


def test_turns_go_round() -> None:
    """With less room than partitions, those who were not served are served next."""
    inbox = filled(3, 3, 3)
    taken = [message.place.partition for _ in range(6) for message in inbox.take(1)]
    assert taken == [0, 1, 2, 0, 1, 2]


def test_no_room_at_all() -> None:
    """Nobody is given anything, and nothing goes."""
    inbox = filled(3)
    assert inbox.take(0) == []
    assert len(inbox) == 3


def test_it_says_when_it_is_full() -> None:
    """By the number of messages or by their size, and no more once some were taken."""
    many = filled(MESSAGES_MAX)
    large = filled(2, value=bytes(BYTES_MAX // 2))
    for inbox in (many, large):
        assert inbox.is_full
        inbox.take(1)
        assert not inbox.is_full


def test_what_belongs_to_others_is_forgotten() -> None:
    """A partition that went takes its messages along, and they count no more."""
    inbox = filled(4, MESSAGES_MAX)
    inbox.keep({place(0)})
    assert not inbox.is_full
    assert len(inbox) == 4
    assert offsets(inbox.take(100), 0) == [0, 1, 2, 3]
    again = filled(5)
    again.clear()
    assert (len(again), again.take(5)) == (0, [])
