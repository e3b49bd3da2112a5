"""What a member has fetched and not handed out yet: a line for each partition, served in turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Sequence
from operator import attrgetter
from typing import Final

from orderctl.stores.log import Message, Place

MESSAGES_MAX: Final = 10_000
BYTES_MAX: Final = 16 * 1024 * 1024

_value_of = attrgetter("value")


class Inbox:
    """The driver has one queue for all partitions, and in it a partition with a large backlog stands before all others."""

    def __init__(self) -> None:
        self._lines: dict[Place, deque[Message]] = {}
        self._messages = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._messages

    @property
    def is_full(self) -> bool:
        """Whether no more should be fetched for now."""
        return self._messages >= MESSAGES_MAX or self._bytes >= BYTES_MAX

    def put(self, place: Place, messages: Sequence[Message]) -> None:
        """Add messages of one partition behind those that are there of it."""
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = deque()
        line += messages
        self._messages += len(messages)
        self._bytes += _bytes_of(messages)

    def take(self, limit: int) -> list[Message]:
        """At most `limit`, the same share of each partition as far as it has so many; who was served goes behind the others."""
        taken: list[Message] = []
        while self._lines and (room := limit - len(taken)) > 0:
            share = max(1, room // len(self._lines))
            for place in list(self._lines)[:room]:
                line = self._lines.pop(place)
                taken += [line.popleft() for _ in range(min(share, len(line)))]
                if line:
                    self._lines[place] = line
        self._messages -= len(taken)
        self._bytes -= _bytes_of(taken)
        return taken

    def keep(self, places: Container[Place]) -> None:
        """Forget what is of other partitions."""
        self._replace(line for place, line in self._lines.items() if place in places)

    def clear(self) -> None:
        """Forget everything."""
        self._replace(())

    def _replace(self, lines: Iterable[deque[Message]]) -> None:
        self._lines = {line[0].place: line for line in lines}
        self._messages = sum(len(line) for line in self._lines.values())
        self._bytes = sum(map(_bytes_of, self._lines.values()))


def _bytes_of(messages: Iterable[Message]) -> int:
    return sum(map(len, map(_value_of, messages)))
