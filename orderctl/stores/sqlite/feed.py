"""The embedded change feed: what triggers wrote down beside the orders, read as a binlog is read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec.json import Decoder

from orderctl.clock import Clock
from orderctl.contracts import named_queries
from orderctl.errors import TierRejected, TierUnavailable
from orderctl.event import ChangeEvent, Op, Source
from orderctl.order import Order
from orderctl.stores.feed import Boundary, FeedItem, FeedPurged, RowChange
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Row, Transaction
from orderctl.stores.sqlite.hot import QUERIES
from orderctl.stores.sqlite.schema import HOT

POLL_S: Final = 0.005
"""A look at the end of the feed costs some 20 microseconds, and writers are in other processes too, so readers just look."""
PURGE_COUNT: Final = 1_000
"""Writers wait for no longer than it takes to purge so many changes."""

_POLL_MIN_S: Final = 0.001

_decode = Decoder(Order).decode


def open_embedded_feed(path: Path, *, clock: Clock, shard: str) -> SqliteChangeFeed:
    """Open the feed of the `hot.db` at `path`, which is made and brought to the newest schema where needed.

    Raises:
        DataDirError: the file is of a newer schema.
        TierUnavailable: it cannot be opened.

    """
    return SqliteChangeFeed(Database(path, HOT, synchronous="FULL"), clock=clock, shard=shard)


class SqliteChangeFeed:
    """`ChangeFeed` over a `Database`, which it and its readers share; the last user closes it.

    A position is the number of a change. Numbers have no gaps, so where one is missing something was purged.
    """

    def __init__(self, database: Database, *, clock: Clock, shard: str) -> None:
        self._database = database
        self._clock = clock
        self._shard = shard
        self._sql = named_queries("sql", QUERIES)
        self._guard = threading.Lock()
        self._open = True
        database.share()

    @property
    def shard(self) -> str:
        return self._shard

    def open(self, position: str | None) -> SqliteFeedReader:
        with self._database.snapshot() as snapshot:
            purged_to, end = _kept(snapshot)
        behind = purged_to if position is None else self._number(position)
        if behind < purged_to:
            raise FeedPurged(f"the changes up to {purged_to} were purged, and the checkpoint is at {behind}")
        if behind > end:
            raise FeedPurged(
                f"the feed ends at {end}, and the checkpoint is at {behind}",
                hint="the database was restored, or it is another one than the checkpoint's",
            )
        return SqliteFeedReader(self._database, clock=self._clock, shard=self._shard, behind=behind)

    def purge(self, position: str) -> None:
        parameters = {"position": self._number(position), "count": PURGE_COUNT}
        purged = PURGE_COUNT
        while purged == PURGE_COUNT:
            with self._database.transaction() as transaction:
                purged = len(transaction.rows(self._sql["purge_changes"], parameters))

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()

    def _number(self, position: str) -> int:
        if not (position.isascii() and position.isdecimal()):
            raise TierRejected(self._database.tier, f"{position!r} is no position of a change feed")
        return int(position)


class SqliteFeedReader:
    """`FeedReader`: takes the changes a page at a time, each page from one committed state."""

    def __init__(self, database: Database, *, clock: Clock, shard: str, behind: int) -> None:
        self._database = database
        self._clock = clock
        self._shard = shard
        self._behind = behind
        self._ready: deque[FeedItem] = deque()
        self._sql = named_queries("sql", QUERIES)
        self._closed = threading.Event()
        database.share()

    def read(self, limit: int, wait_s: float) -> list[FeedItem]:
        deadline_s = self._clock.monotonic_s() + wait_s
        while not self._ready:
            self._take_page(limit)
            left_s = deadline_s - self._clock.monotonic_s()
            if self._ready or left_s <= 0:
                break
            self._clock.wait(self._closed, max(_POLL_MIN_S, min(POLL_S, left_s)))
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._database.release()

    def _take_page(self, limit: int) -> None:
        if self._closed.is_set():
            raise TierUnavailable(self._database.tier, "the reader is closed")
        # One row more than is taken: it tells whether the last one that is ends its transaction.
        parameters = {"position": self._behind, "count": limit + 1}
        with self._database.snapshot() as snapshot:
            rows = snapshot.rows(self._sql["changes_behind"], parameters)
            next_position = rows[0][0] if rows else _kept(snapshot)[1] + 1
        if next_position != self._behind + 1:
            raise FeedPurged(f"the feed goes on at {next_position}, and this reader was to go on at {self._behind + 1}")
        for row, following in zip(rows[:limit], _following(rows), strict=False):
            self._behind, number = row[0], row[1]
            self._ready.append(self._change(row))
            # What a snapshot shows is committed, so its last row is the last of a transaction.
            if following is None or following[1] != number:
                self._ready.append(Boundary(str(self._behind)))

    def _change(self, row: Row) -> RowChange:
        position, _, ts_us, op, before, after = row
        source = Source(self._shard, str(position), ts_us)
        return RowChange(ChangeEvent(_order(before), _order(after), Op(op), source))


def _kept(snapshot: Transaction) -> tuple[int, int]:
    """The last position that was purged, and the last that there is; both 0 where there never was a change."""
    row = snapshot.row(named_queries("sql", QUERIES)["kept_changes"])
    if row is None:
        return 0, 0
    oldest, end = row
    return (end if oldest is None else oldest - 1), end


def _following(rows: Sequence[Row]) -> list[Row | None]:
    """Behind each row the next one, None behind the last."""
    return [*rows[1:], None]


def _order(row_json: str | None) -> Order | None:
    return None if row_json is None else _decode(row_json)
