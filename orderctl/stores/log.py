"""The log's Protocol: partitioned topics that keep what was acknowledged, and groups whose members share the reading (Kafka).

At least once: whatever was acknowledged is read by each group, perhaps twice, in order within a partition. Nothing more is
promised, and nobody here needs more, since every consumer is idempotent by version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from orderctl.errors import OrderctlError, UsageRefused

CHANGES = "orders.changes"
EXPIRED = "orders.expired"
INVALIDATED = "orders.invalidated"
PARKED = "orders.parked"
CHECKPOINTS = "orders.cdc-checkpoints"


class Fenced(OrderctlError):
    """This member is no longer the one that reads the partition: somebody else goes on from the last commit.

    Its batch is to be dropped. What is still its own comes again from the last commit too.
    """

    retriable = True


class GroupActive(UsageRefused):
    """The group has members, who would go on from where they are: stop its daemons first."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"somebody reads as {group}", hint="stop its daemons first; one that was killed is out after 6 s"
        )


class Place(Struct, frozen=True, order=True):
    """A partition of a topic."""

    topic: str
    partition: int


class Outgoing(Struct, frozen=True, gc=False):
    """A message to be published."""

    place: Place
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Message(Struct, frozen=True, gc=False):
    """A message as it was read. `ts_ms` is when the broker (or the producer) says it was published, Unix milliseconds."""

    place: Place
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    ts_ms: int = 0


class Topic(Struct, frozen=True):
    """A topic to be there. A compacted one keeps the last message of each key for ever, another one all for `retention_s`."""

    name: str
    partitions: int
    compacted: bool = False
    retention_s: int = 7 * 86_400


class Member(Protocol):
    """One member of a group. Not for several threads."""

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        """At most `limit` messages of this member's partitions, in order within each; waits up to `wait_s` for the first.

        Joins the group, keeps the membership alive (a member that does not poll for the session's time-out is out), and goes
        on from the last commit where a partition came anew, from its beginning where there is none, and from the first
        message kept where that one is gone.

        Raises:
            Fenced: the member was closed, or another came under its instance's name. It is done for.
            TierRejected: one of its topics is not there.

        """
        ...

    def assigned(self) -> frozenset[Place]:
        """The partitions that were this member's when it last polled."""
        ...

    def commit(self, next_offsets: Mapping[Place, int]) -> None:
        """Keep that everything before these offsets is done.

        Raises:
            Fenced: one of the partitions is not this member's, or the group was rebalanced since it last polled; nothing was
                kept. Its next poll goes on from the last commit in all partitions.

        """
        ...

    def close(self) -> None:
        """Leave the group at once, without committing. One with an instance is waited for until its session ends.

        It raises nothing: if the log cannot be told, the session's end tells it.
        """
        ...


class Tail(Protocol):
    """Follows a topic's end, all partitions of it, outside any group. Not for several threads.

    What is acknowledged after the first `poll` has returned comes in a later one, or that one raises: no message is passed over
    in silence, and a broker that is away for longer than `silence_s` is an error, even if nothing was published. And it comes in
    time: a poll that returns fewer than `limit` has by then handed out all that was acknowledged `silence_s` before. So it
    may wait for longer than it was told to where it was not called for a while.
    """

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        """At most `limit` messages; waits up to `wait_s` for the first. The first call finds the ends, and returns nothing.

        Raises:
            TierError: messages may have been missed. The next call begins anew at the ends, like a first one.

        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def topics(*, groups: int, shards: int) -> tuple[Topic, ...]:
    """The topics of a deployment: those of orders have a partition a group, the checkpoints one a shard."""
    hour_s = 3600
    return (
        Topic(CHANGES, groups),
        Topic(EXPIRED, groups, retention_s=24 * hour_s),
        Topic(INVALIDATED, groups, retention_s=24 * hour_s),
        Topic(PARKED, groups),
        Topic(CHECKPOINTS, shards, compacted=True),
    )


class LogStore(Protocol):
    """The log's broker. A topic or a partition that is not there is a `TierRejected`, whatever is asked of it."""

    def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        """Make the topics that are missing; returns their names. Those that are there stay as they are.

        Raises:
            TierRejected: one has other partitions than asked for; none was made.

        """
        ...

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish in this order within each partition; returns once all are acknowledged, durably.

        After an error some may be there and some not, always a prefix within each partition; publishing all again is harmless.
        """
        ...

    def join(self, group: str, topics: Sequence[str], *, instance: str | None = None) -> Member:
        """A new member of `group`. `instance` names it beyond its life: it gets its partitions back without a rebalance."""
        ...

    def tail(self, topic: str, *, silence_s: float = 2.0) -> Tail:
        """Follow the end of a topic."""
        ...

    def read(self, place: Place, offset: int, limit: int) -> list[Message]:
        """At most `limit` messages from `offset` on, outside any group; fewer where the log ends."""
        ...

    def ends(self, topic: str) -> list[tuple[int, int]]:
        """Of each partition: the first offset kept, and the one that the next message gets."""
        ...

    def offset_at(self, place: Place, ts_ms: int) -> int:
        """The first offset published at `ts_ms` or later; the end where there is none."""
        ...

    def committed(self, group: str, topic: str) -> list[int | None]:
        """Of each partition: the offset that the group goes on from, None where it never committed."""
        ...

    def is_active(self, group: str) -> bool:
        """Whether the group has a member at the moment, or one that was lost and whose session has not ended."""
        ...

    def seek(self, group: str, next_offsets: Mapping[Place, int]) -> None:
        """Let a group that has no member go on from these offsets; all of them are kept, or none.

        Raises:
            GroupActive: it has one. Nothing was kept.
            TierRejected: a partition does not reach so far.

        """
        ...

    def ping(self) -> None:
        """Ask for a sign of life."""
        ...

    def close(self) -> None:
        """Let go of connections; members are closed by their owners."""
        ...
