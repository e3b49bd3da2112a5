"""A member of a group at work: poll, handle, commit, with the batch in hand until it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orderctl.errors import UsageRefused
from orderctl.stores.log import Fenced, LogStore, Member, Message, Place

Handle = Callable[[Sequence[Message]], Mapping[Place, int]]
"""Does what a batch asks for, and returns the offsets behind it; safe to repeat, whole or in part."""


class Consumer:
    """Reads topics as one of a group.

    A batch that could not be handled stays in hand and is tried again, since the member has already gone past it. If its
    partitions were given to somebody else meanwhile, who begins at the last commit, it is let go of.

    Of two members under one instance name the later one stays. The earlier one refuses to go on: were it to come back, each
    would put the other out for ever.
    """

    def __init__(self, log: LogStore, group: str, topics: Sequence[str], *, instance: str | None, batch: int) -> None:
        self._log = log
        self._group = group
        self._topics = topics
        self._instance = instance
        self._batch = batch
        self._member: Member | None = None
        self._in_hand: list[Message] = []

    def step(self, handle: Handle, wait_s: float) -> int:
        """Handle the next batch and commit it; returns its size, 0 where nothing came within `wait_s`.

        Raises:
            TierError: the log or what `handle` asks failed; the next step goes on where this one stopped.
            UsageRefused: somebody else reads under our instance name.

        """
        member = self._member = self._member or self._log.join(self._group, self._topics, instance=self._instance)
        if not self._in_hand:
            self._in_hand = self._poll(member, wait_s)
        if not self._in_hand:
            return 0
        try:
            member.commit(handle(self._in_hand))
        except Fenced:
            self._in_hand = []
            return 0
        done, self._in_hand = len(self._in_hand), []
        return done

    def _poll(self, member: Member, wait_s: float) -> list[Message]:
        try:
            return member.poll(self._batch, wait_s)
        except Fenced as error:
            self.close()
            if self._instance is None:
                return []
            raise UsageRefused(
                f"another process reads the log as {self._instance!r} of the group {self._group!r}",
                hint="give each process an instance name of its own, see [daemon] instance",
            ) from error

    def assigned(self) -> frozenset[Place]:
        """The partitions that are this member's."""
        return self._member.assigned() if self._member is not None else frozenset()

    def close(self) -> None:
        """Leave the group at once, so that the others need not wait for the session to end."""
        member, self._member = self._member, None
        self._in_hand = []
        if member is not None:
            member.close()


def lag_events(log: LogStore, group: str, topic: str) -> int:
    """How many messages of `topic` the group has not committed yet."""
    ends, committed = log.ends(topic), log.committed(group, topic)
    return sum(max(0, end - max(first, at or 0)) for (first, end), at in zip(ends, committed, strict=True))
