"""The embedded log: topics in one SQLite file, read by groups whose members are in one process or in several.

Housekeeping needs no thread of its own. Publishing to a compacted topic removes the message that the new one replaces; to
another topic, messages that are older than its retention, twice as many as were published, so it never falls behind. What a
group has still to read is not removed, however old it is; a group counts once it has committed anywhere in the topic. A broker
would drop it; on one machine a daemon that was switched off for a week goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderctl.clock import US_PER_S, Clock
from orderctl.contracts import named_queries
from orderctl.errors import TierRejected
from orderctl.stores.log import Message, Outgoing, Place, Topic
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Row, Transaction
from orderctl.stores.sqlite.log_groups import QUERIES, Group
from orderctl.stores.sqlite.log_member import Bell, SqliteMember
from orderctl.stores.sqlite.log_messages import read_messages, write_message
from orderctl.stores.sqlite.log_tail import SqliteTail
from orderctl.stores.sqlite.schema import LOG

SESSION_S: Final = 6.0
"""A member that does not poll for so long is out of its group."""
PURGE_COUNT: Final = 16
"""A call that publishes to a partition removes up to so many old messages there, and two more for each that it adds."""


def open_embedded_log(path: Path | None, *, clock: Clock, session_s: float = SESSION_S) -> SqliteLogStore:
    """Open `log.db` at `path`, made where there is none; None is in memory.

    Raises:
        DataDirError: the file is of a newer schema.
        TierUnavailable: it cannot be opened.

    """
    return SqliteLogStore(Database(path, LOG, synchronous="FULL"), clock=clock, session_s=session_s)


class Claim(Struct, frozen=True):
    """Offsets of a partition that a publisher has taken, up to `end`, and how the partition's topic is kept."""

    partition_id: int
    end: int
    ts_ms: int
    compacted: int
    retention_s: int
    oldest_ms: int | None


class SqliteLogStore:
    """`LogStore` over a `Database`, which it shares and, as its last user, closes.

    A message's time is the clock's when it was published, and never less than that of the message before it.
    """

    def __init__(self, database: Database, *, clock: Clock, session_s: float = SESSION_S) -> None:
        self._database = database
        self._clock = clock
        self._session_s = session_s
        self._bell = Bell()
        self._sql = named_queries("sql", QUERIES)
        self._guard = threading.Lock()
        self._open = True
        database.share()

    def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        with self._database.transaction() as transaction:
            return [topic.name for topic in topics if self._make(transaction, topic)]

    def publish(self, messages: Sequence[Outgoing]) -> None:
        if not messages:
            return
        batches: dict[Place, list[Outgoing]] = {}
        for message in messages:
            batches.setdefault(message.place, []).append(message)
        with self._database.transaction() as transaction:
            # The time is read when the turn to write has come, which may be seconds after it was asked for.
            now_ms = self._clock.now_us() // 1000
            for place, batch in batches.items():
                self._append(transaction, place, batch, now_ms)
        self._bell.ring()

    def join(self, group: str, topics: Sequence[str], *, instance: str | None = None) -> SqliteMember:
        return SqliteMember(
            self._database,
            self._bell,
            self._clock,
            group=group,
            topics=tuple(sorted(set(topics))),
            instance=instance,
            session_s=self._session_s,
        )

    def tail(self, topic: str, *, silence_s: float = 2.0) -> SqliteTail:  # noqa: ARG002  a file is not silent
        return SqliteTail(self._database, self._bell, self._clock, topic=topic)

    def read(self, place: Place, offset: int, limit: int) -> list[Message]:
        with self._database.snapshot() as snapshot:
            partition_id, _ = self._partition(snapshot, place)
            return read_messages(snapshot, partition_id, place, max(offset, 0), max(limit, 0))

    def ends(self, topic: str) -> list[tuple[int, int]]:
        with self._database.snapshot() as snapshot:
            return [(first, end) for first, end in self._of_each_partition(snapshot, "ends", topic)]

    def offset_at(self, place: Place, ts_ms: int) -> int:
        with self._database.snapshot() as snapshot:
            partition_id, end = self._partition(snapshot, place)
            # Times do not fall, so the answer is found by halving; where messages are gone the next one stands for them.
            low, high = 0, end
            while low < high:
                middle = (low + high) // 2
                found = self._time_from(snapshot, partition_id, middle)
                if found is None or found[1] >= ts_ms:
                    high = middle
                else:
                    low = found[0] + 1
            found = self._time_from(snapshot, partition_id, low)
            return end if found is None else found[0]

    def committed(self, group: str, topic: str) -> list[int | None]:
        with self._database.snapshot() as snapshot:
            return [offset for (offset,) in self._of_each_partition(snapshot, "committed", topic, group=group)]

    def is_active(self, group: str) -> bool:
        with self._database.snapshot() as snapshot:
            return Group(snapshot, group, ()).is_active(self._now_us())

    def seek(self, group: str, next_offsets: Mapping[Place, int]) -> None:
        with self._database.transaction() as transaction:
            by_id = {self._partition(transaction, place)[0]: offset for place, offset in next_offsets.items()}
            Group(transaction, group, ()).seek(by_id, self._now_us())

    def ping(self) -> None:
        with self._database.snapshot() as snapshot:
            snapshot.rows(self._sql["topic"], {"name": ""})

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()

    def _now_us(self) -> int:
        return int(self._clock.monotonic_s() * US_PER_S)

    def _make(self, transaction: Transaction, topic: Topic) -> bool:
        """Make a topic where there is none; returns whether it was."""
        row = transaction.row(self._sql["topic"], {"name": topic.name})
        if row is not None:
            if row[0] != topic.partitions:
                raise TierRejected(LOG.tier, f"{topic.name} has {row[0]} partitions, not {topic.partitions}")
            return False
        parameters = {
            "name": topic.name,
            "partitions": topic.partitions,
            "compacted": int(topic.compacted),
            "retention_s": topic.retention_s,
        }
        transaction.rows(self._sql["make_topic"], parameters)
        for number in range(topic.partitions):
            transaction.rows(self._sql["make_partition"], {"topic": topic.name, "number": number})
        return True

    def _append(self, transaction: Transaction, place: Place, batch: Sequence[Outgoing], now_ms: int) -> None:
        parameters = {"topic": place.topic, "number": place.partition, "count": len(batch), "now_ms": now_ms}
        row = transaction.row(self._sql["claim_offsets"], parameters)
        if row is None:
            raise _no_such(place)
        claim = Claim(*row)
        for offset, message in enumerate(batch, start=claim.end - len(batch)):
            if claim.compacted:
                key = {"partition_id": claim.partition_id, "key": message.key}
                transaction.rows(self._sql["drop_superseded"], key)
                transaction.rows(self._sql["keep_latest"], key | {"offset": offset})
            write_message(transaction, claim.partition_id, offset, claim.ts_ms, message)
        transaction.rows(self._sql["count_published"], parameters)
        if not claim.compacted:
            self._purge(transaction, place.topic, claim, before_ms=now_ms - claim.retention_s * 1000, added=len(batch))

    def _purge(self, transaction: Transaction, topic: str, claim: Claim, *, before_ms: int, added: int) -> None:
        if claim.oldest_ms is None or claim.oldest_ms >= before_ms:
            return
        parameters = {"topic": topic, "partition_id": claim.partition_id, "before_ms": before_ms}
        transaction.rows(self._sql["purge"], parameters | {"count": PURGE_COUNT + 2 * added})

    def _of_each_partition(self, snapshot: Transaction, query: str, topic: str, **parameters: str) -> list[Row]:
        rows = snapshot.rows(self._sql[query], {"topic": topic, **parameters})
        if not rows:
            raise TierRejected(LOG.tier, f"there is no topic {topic}")
        return rows

    def _partition(self, snapshot: Transaction, place: Place) -> tuple[int, int]:
        row = snapshot.row(self._sql["partition"], {"topic": place.topic, "number": place.partition})
        if row is None:
            raise _no_such(place)
        return row[0], row[1]

    def _time_from(self, snapshot: Transaction, partition_id: int, offset: int) -> Row | None:
        return snapshot.row(self._sql["message_time"], {"partition_id": partition_id, "offset": offset})


def _no_such(place: Place) -> TierRejected:
    return TierRejected(LOG.tier, f"there is no partition {place.partition} of a topic {place.topic}")
