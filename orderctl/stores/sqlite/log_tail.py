"""Following a topic's end in the embedded log: what is committed is seen by the next look, so nothing needs to be asked twice."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.contracts import named_queries
from orderctl.errors import TierError, TierRejected, TierUnavailable
from orderctl.stores.log import Message, Place
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Transaction
from orderctl.stores.sqlite.log_groups import QUERIES
from orderctl.stores.sqlite.log_member import Bell
from orderctl.stores.sqlite.log_messages import read_messages
from orderctl.stores.sqlite.schema import LOG

TICK_S: Final = 0.05
"""How often it asks whether another process has published."""


class _Partition(Struct, frozen=True):
    """One partition, the offset that its next message gets, and whether messages may be missing between others."""

    partition_id: int
    number: int
    end: int
    compacted: int


class SqliteTail:
    """`Tail` over a `Database`; the store that made it is closed after it."""

    def __init__(self, database: Database, bell: Bell, clock: Clock, *, topic: str) -> None:
        self._database = database
        self._bell = bell
        self._clock = clock
        self._topic = topic
        self._sql = named_queries("sql", QUERIES)
        self._woken = bell.listen()
        self._is_open = True
        self._published = 0
        # How far each partition was read, by its number; None before the first look. Who was served last stands last.
        self._positions: dict[int, int] | None = None

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        if not self._is_open:
            raise TierUnavailable(LOG.tier, "the tail is closed")
        until_s = self._clock.monotonic_s() + wait_s
        try:
            while True:
                # Before it looks: what is published behind its back while it does is not to be slept through.
                self._woken.clear()
                is_first = self._positions is None
                messages = self._look(limit)
                if messages or is_first or not self._wait_for_news(until_s):
                    return messages
        except TierError:
            self._positions = None
            raise

    def close(self) -> None:
        self._is_open = False
        self._bell.leave(self._woken)

    def _look(self, limit: int) -> list[Message]:
        with self._database.snapshot() as snapshot:
            self._published = self._count(snapshot)
            partitions = [
                _Partition(*row) for row in snapshot.rows(self._sql["partition_ends"], {"topic": self._topic})
            ]
            if not partitions:
                raise TierRejected(LOG.tier, f"there is no topic {self._topic}")
            if self._positions is None:
                self._positions = {each.number: each.end for each in partitions}
                return []
            by_number = {each.number: each for each in partitions}
            messages: list[Message] = []
            for number in [number for number, position in self._positions.items() if position < by_number[number].end]:
                if len(messages) < limit:
                    messages += self._read(snapshot, by_number[number], limit - len(messages))
            return messages

    def _read(self, snapshot: Transaction, partition: _Partition, limit: int) -> list[Message]:
        assert self._positions is not None
        place, position = Place(self._topic, partition.number), self._positions.pop(partition.number)
        found = read_messages(snapshot, partition.partition_id, place, position, limit)
        if not partition.compacted and (not found or found[0].offset > position):
            raise TierUnavailable(LOG.tier, f"messages of {self._topic} were removed before they were read")
        self._positions[partition.number] = found[-1].offset + 1 if found else partition.end
        return found

    def _count(self, snapshot: Transaction) -> int:
        row = snapshot.row(self._sql["published"], {"topic": self._topic})
        return 0 if row is None else int(row[0])

    def _wait_for_news(self, until_s: float) -> bool:
        """Wait until there may be something to read; returns whether that came in time."""
        while (left_s := until_s - self._clock.monotonic_s()) > 0:
            if self._clock.wait(self._woken, min(TICK_S, left_s)):
                return True
            with self._database.snapshot() as snapshot:
                if self._count(snapshot) != self._published:
                    return True
        return False
