"""What the log's contract suite needs around a store: time, members that fall silent, and a topic of each test's own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import uuid4

from orderctl.stores.log import LogStore, Member, Message, Outgoing, Place, Tail, Topic

PATIENCE_S = 60
"""Nothing in the suite takes longer, whatever backend it is."""
SLICE_S = 0.02
"""How long one poll of several waits, when members take turns in one thread."""


class LogHarness(Protocol):
    """One log. The suite knows no backend: this is all that it does beside calling the stores."""

    @property
    def session_s(self) -> float:
        """A member that does not poll for so long is out."""
        ...

    @property
    def silence_s(self) -> float:
        """The shortest silence at which a tail is to be alarmed, while nobody is silent."""
        ...

    def open(self, *, session_s: float | None = None) -> LogStore:
        """A further store on the same log, as another process has it, with sessions of its own length; the harness closes it."""
        ...

    def restart(self) -> None:
        """Stop the log and start it again; every store that was opened is closed."""
        ...

    def now_ms(self) -> int:
        """The time that messages are stamped with, Unix milliseconds."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let that much pass, by moving the clock's hands or by waiting."""
        ...

    def lose(self, member: Member) -> None:
        """Let a member stop without a word until its group can do without it. The object stays, for what comes too late."""
        ...

    def compact(self, topic: str) -> None:
        """Let the log compact what it is to compact."""
        ...


class Stage:
    """A topic that no other test knows, and who reads it. Every store and every member is as if in a process of its own."""

    def __init__(self, harness: LogHarness) -> None:
        self.harness = harness
        self.store = harness.open()
        token = uuid4().hex[:12]
        self.topic = f"orders.test-{token}"
        self.group = f"group-{token}"
        self._members: list[Member | Tail] = []

    def make(self, partitions: int = 1, *, compacted: bool = False) -> Stage:
        """Make the topic."""
        self.store.ensure_topics([Topic(self.topic, partitions, compacted)])
        return self

    def place(self, partition: int = 0) -> Place:
        """One of the topic's partitions."""
        return Place(self.topic, partition)

    def places(self, partitions: int) -> frozenset[Place]:
        """All of them."""
        return frozenset(self.place(partition) for partition in range(partitions))

    def outgoing(self, partition: int, values: Iterable[object]) -> list[Outgoing]:
        """Messages that say these values, under keys of their own."""
        return [Outgoing(self.place(partition), f"key of {each}".encode(), str(each).encode()) for each in values]

    def publish(self, partition: int, *values: object) -> None:
        """Publish them."""
        self.store.publish(self.outgoing(partition, values))

    def join(
        self,
        *,
        group: str | None = None,
        topics: Sequence[str] = (),
        instance: str | None = None,
        session_s: float | None = None,
    ) -> Member:
        """A new member, by default of the one group that reads the topic."""
        store = self.harness.open(session_s=session_s)
        member = store.join(group or self.group, topics or [self.topic], instance=instance)
        self._members.append(member)
        return member

    def tail(self, *, silence_s: float = PATIENCE_S) -> Tail:
        """One that follows the topic, from now on."""
        tail = self.harness.open().tail(self.topic, silence_s=silence_s)
        self._members.append(tail)
        assert tail.poll(100, PATIENCE_S) == []
        return tail

    def settled(self, partitions: int, *members: Member) -> list[Message]:
        """Poll until these members, and nobody else, own every partition, evenly; returns what they read meanwhile."""

        def is_settled(_: list[Message]) -> bool:
            shares = [member.assigned() for member in members]
            even = max(map(len, shares)) - min(map(len, shares)) <= 1
            return (
                even and sum(map(len, shares)) == partitions and frozenset().union(*shares) == self.places(partitions)
            )

        return poll_until(is_settled, *members)

    def restart(self) -> None:
        """Close the members, and start the log again."""
        self.close()
        self.harness.restart()
        self.store = self.harness.open()

    def close(self) -> None:
        """Close every member and tail."""
        for member in self._members:
            member.close()
        self._members.clear()


def poll_until(done: Callable[[list[Message]], bool], *members: Member | Tail, limit: int = 100) -> list[Message]:
    """Let the members poll in turns until what they have read, or what they were assigned, is enough; returns what they read."""
    until_s = time.monotonic() + PATIENCE_S
    read: list[Message] = []
    while True:
        for member in members:
            read += member.poll(limit, SLICE_S)
        if done(read):
            return read
        assert time.monotonic() < until_s, f"not there after {PATIENCE_S} s: {len(read)} messages"


def read_all(count: int, *members: Member | Tail, limit: int = 100) -> list[Message]:
    """Poll until so many different messages were read; returns all that were."""
    return poll_until(lambda read: len(set(where(read))) >= count, *members, limit=limit)


def where(messages: Iterable[Message]) -> list[tuple[int, int]]:
    """Partition and offset of each."""
    return [(message.place.partition, message.offset) for message in messages]


def values(messages: Iterable[Message]) -> list[str]:
    """What they say."""
    return [message.value.decode() for message in messages]


def offsets_by_partition(messages: Iterable[Message]) -> dict[int, list[int]]:
    """The offsets that were read of each partition, in the order of reading."""
    found = defaultdict[int, list[int]](list)
    for message in messages:
        found[message.place.partition].append(message.offset)
    return dict(found)


def behind(messages: Iterable[Message]) -> dict[Place, int]:
    """The offsets to commit when all of these are done."""
    next_offsets: dict[Place, int] = {}
    for message in messages:
        next_offsets[message.place] = max(message.offset + 1, next_offsets.get(message.place, 0))
    return next_offsets


def first_occurrences(offsets: Iterable[int]) -> list[int]:
    """Without those that came before."""
    return list(dict.fromkeys(offsets))
