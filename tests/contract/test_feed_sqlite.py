"""The change feed's contract, kept by triggers in SQLite; and what a binlog's reader cannot ask for: to purge."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderctl.clock import ManualClock
from orderctl.contracts import Query
from orderctl.errors import TierRejected
from orderctl.event import Op
from orderctl.order import Order, Status
from orderctl.stores.feed import ChangeFeed, FeedPurged, FeedReader
from orderctl.stores.hot import HotStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.embedded import EmbeddedHot, open_embedded_hot
from orderctl.stores.sqlite.feed import PURGE_COUNT, SqliteChangeFeed, open_embedded_feed
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.registry import SqliteRegistry, found_deployment
from orderctl.stores.sqlite.schema import HOT
from tests.contract.feed_contract import FeedContract
from tests.contract.feed_harness import (
    SHARD,
    boundaries,
    change_all,
    create_all,
    events,
    read_all,
    transactions,
)
from tests.contract.hot_harness import GROUPS, T0_US, create, drafts

TOP = Path(__file__).resolve().parents[2]
BACKLOG = 50_000
MEMORY_MAX = 8 << 20
"""The backlog itself is some 50 MB as events."""

TOUCH = Query("UPDATE orders SET status_reason = 'by hand' WHERE order_id = :order_id", "What no store of ours does.")
COUNT = Query("SELECT count(*) FROM changes", "")

WRITE_FOR_EVER = """
import sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.stores.sqlite.embedded import open_embedded_hot
from tests.contract.feed_harness import create_all

store = open_embedded_hot(Path(sys.argv[1]), groups=64, clock=SystemClock()).store
for number in range(1, 10**9):
    create_all(store, number % 7 + 1)
    if number == 5:
        sys.stdout.write("writing\\n")
        sys.stdout.flush()
"""


class SqliteFeedHarness:
    """A `FeedHarness` over a file, with connections of its own for everything opened, or over memory (None)."""

    def __init__(self, path: Path | None) -> None:
        self.clock = ManualClock()
        self._path = path
        self.memory = Database(None, HOT) if path is None else None
        if self.memory is not None:
            self.memory.share()
            found_deployment(self.memory, GROUPS)
        self._opened: list[EmbeddedHot | SqliteHotStore | SqliteChangeFeed | FeedReader] = []

    def open_store(self) -> SqliteHotStore:
        if self.memory is not None:
            self._opened.append(store := SqliteHotStore(self.memory))
            return store
        self._opened.append(hot := open_embedded_hot(self._path, groups=GROUPS, clock=self.clock))
        return hot.store

    def open_feed(self) -> SqliteChangeFeed:
        if self.memory is not None:
            feed = SqliteChangeFeed(self.memory, clock=self.clock, shard=SHARD)
        else:
            assert self._path is not None
            feed = open_embedded_feed(self._path, clock=self.clock, shard=SHARD)
        self._opened.append(feed)
        return feed

    def keep(self, reader: FeedReader) -> FeedReader:
        self._opened.append(reader)
        return reader

    def raise_epoch(self) -> None:
        database = self.memory or Database(self._path, HOT)
        registry = SqliteRegistry(database, self.clock)
        assert registry.raise_epoch(above=0)
        registry.close()

    def restart(self) -> None:
        for opened in self._opened:
            opened.close()
        self._opened.clear()

    def close(self) -> None:
        """Let everything go."""
        self.restart()
        if self.memory is not None:
            self.memory.release()


@pytest.fixture
def in_file(tmp_path: Path) -> Iterator[SqliteFeedHarness]:
    harness = SqliteFeedHarness(tmp_path / "hot.db")
    yield harness
    harness.close()


@pytest.fixture
def in_memory() -> Iterator[SqliteFeedHarness]:
    harness = SqliteFeedHarness(None)
    yield harness
    harness.close()


class TestFeedSqliteFile(FeedContract):
    """Readers and writers have connections of their own, as in several processes."""

    @pytest.fixture
    def harness(self, in_file: SqliteFeedHarness) -> SqliteFeedHarness:
        """A database in a fresh directory."""
        return in_file


class TestFeedSqliteMemory(FeedContract):
    """All share one connection, in turns."""

    @pytest.fixture
    def harness(self, in_memory: SqliteFeedHarness) -> SqliteFeedHarness:
        """A database of its own."""
        return in_memory


@pytest.fixture
def store(in_memory: SqliteFeedHarness) -> HotStore:
    return in_memory.open_store()


@pytest.fixture
def feed(in_memory: SqliteFeedHarness) -> ChangeFeed:
    return in_memory.open_feed()


def rows_kept(harness: SqliteFeedHarness) -> int:
    assert harness.memory is not None
    with harness.memory.snapshot() as snapshot:
        row = snapshot.row(COUNT)
    assert row is not None
    return int(row[0])


def touch(database: Database, order: Order) -> None:
    """Write to the table behind the store's back, as an administrator does."""
    with database.transaction() as transaction:
        transaction.rows(TOUCH, {"order_id": bytes.fromhex(order.order_id.replace("-", ""))})


def test_the_time_is_the_writers(in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed) -> None:
    """Microseconds by the clock of whoever wrote, so that the lag can be told."""
    order = create(store)
    change_all(store, [order], Status.SUCCESS, now_us=T0_US + 7)
    found = events(read_all(in_memory.keep(feed.open(None))))
    assert [event.source.ts_us for event in found] == [order.created_at, T0_US + 7]


def test_what_anybody_writes_is_in_it(in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed) -> None:
    """As in a binlog. A writer that does not number its transaction is still read up to an end, never in part."""
    assert in_memory.memory is not None
    orders = create_all(store, 3)
    touch(in_memory.memory, orders[1])
    touch(in_memory.memory, orders[2])
    create_all(store, 2)
    items = read_all(in_memory.keep(feed.open(None)), 2)
    assert [event.op for event in events(items)] == [Op.CREATE] * 3 + [Op.UPDATE] * 2 + [Op.CREATE] * 2
    assert events(items)[3].order.status_reason == "by hand"
    assert [len(rows) for rows in transactions(items)] == [5, 2]


def test_every_end_of_a_read_to_the_end_is_a_boundary(
    in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed
) -> None:
    """Also where the next writer does not number its transaction: what is committed is whole."""
    assert in_memory.memory is not None
    reader = in_memory.keep(feed.open(None))
    [order] = create_all(store, 1)
    positions = boundaries(read_all(reader))
    touch(in_memory.memory, order)
    positions += boundaries(read_all(reader))
    assert len(positions) == 2
    assert [len(transactions(read_all(in_memory.keep(feed.open(position))) or [])) for position in positions] == [1, 0]


def test_purged_changes_are_gone(in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed) -> None:
    """What is behind the position stays, and a reader from there, or from the oldest kept, gets exactly that."""
    for number in (2, 3, 1):
        create_all(store, number)
    items = read_all(in_memory.keep(feed.open(None)))
    first, second, third = boundaries(items)
    feed.purge(second)
    assert rows_kept(in_memory) == 1
    rest = items[items.index(items[-2]) :]
    assert read_all(in_memory.keep(feed.open(second))) == rest
    assert read_all(in_memory.keep(feed.open(None))) == rest
    feed.purge(first)
    assert read_all(in_memory.keep(feed.open(third))) == []


def test_a_checkpoint_before_what_was_purged_is_refused(
    in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed
) -> None:
    """Changes would be missed, and that is said; also where everything was purged."""
    for _ in range(3):
        create_all(store, 2)
    first, second, third = boundaries(read_all(in_memory.keep(feed.open(None))))
    feed.purge(second)
    with pytest.raises(FeedPurged, match="up to 4 were purged"):
        feed.open(first)
    feed.purge(third)
    with pytest.raises(FeedPurged):
        feed.open(second)
    assert rows_kept(in_memory) == 0
    assert read_all(in_memory.keep(feed.open(None))) == []
    assert read_all(in_memory.keep(feed.open(third))) == []


def test_positions_go_on_after_everything_was_purged(
    in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed
) -> None:
    """A position is never another change's."""
    create_all(store, 3)
    [position] = boundaries(read_all(in_memory.keep(feed.open(None))))
    feed.purge(position)
    orders = create_all(store, 2)
    assert [event.order for event in events(read_all(in_memory.keep(feed.open(position))))] == orders


def test_a_reader_that_is_overtaken_by_a_purge_is_told(
    in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed
) -> None:
    """Whether something is left behind the gap or nothing."""
    readers = [in_memory.keep(feed.open(None)) for _ in range(2)]
    create_all(store, 2)
    create_all(store, 2)
    first, second = boundaries(read_all(in_memory.keep(feed.open(None))))
    for reader, position in zip(readers, (first, second), strict=True):
        feed.purge(position)
        with pytest.raises(FeedPurged):
            reader.read(9, 0.0)


def test_a_checkpoint_of_another_database_is_refused(feed: ChangeFeed) -> None:
    """The feed never came that far: it was restored, or the checkpoint is not its own."""
    with pytest.raises(FeedPurged, match="ends at 0"):
        feed.open("1")


@pytest.mark.parametrize("position", ["", "-1", "1.5", "gtid:1", "\u0663"])
def test_what_is_no_position_is_refused(feed: ChangeFeed, position: str) -> None:
    """For opening and for purging."""
    for call in (feed.open, feed.purge):
        with pytest.raises(TierRejected, match="no position"):
            call(position)


def test_a_purge_is_made_in_parts(in_memory: SqliteFeedHarness, store: HotStore, feed: ChangeFeed) -> None:
    """All of it goes, however much that is, and exactly up to the position."""
    store.create(drafts(PURGE_COUNT))
    store.create(drafts(PURGE_COUNT))
    create_all(store, 1)
    *_, last, _ = boundaries(read_all(in_memory.keep(feed.open(None))))
    feed.purge(last)
    assert rows_kept(in_memory) == 1


def test_a_backlog_is_read_in_bounded_memory(in_file: SqliteFeedHarness) -> None:
    """What a reader holds is a page, however much there is, and nothing is left out."""
    store = in_file.open_store()
    for _ in range(BACKLOG // 500):
        store.create(drafts(500))
    reader = in_file.keep(in_file.open_feed().open(None))
    rows = ends = 0
    tracemalloc.start()
    try:
        while page := reader.read(200, 0.0):
            found = len(events(page))
            rows, ends = rows + found, ends + len(page) - found
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (rows, ends) == (BACKLOG, BACKLOG // 500)
    assert peak < MEMORY_MAX


def test_a_killed_writer_leaves_whole_transactions(in_file: SqliteFeedHarness, tmp_path: Path) -> None:
    """The feed holds exactly what the table holds, read while another process writes and after it was killed."""
    store = in_file.open_store()
    reader = in_file.keep(in_file.open_feed().open(None))
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path / "hot.db")]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            items = reader.read(40, 0.0)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait(timeout=30)
    items += read_all(reader)
    batches = [[event.order for event in rows] for rows in transactions(items)]
    assert [len(batch) for batch in batches] == [number % 7 + 1 for number in range(1, len(batches) + 1)]
    assert len(batches) >= 5
    orders = [order for batch in batches for order in batch]
    assert store.load([order.order_id for order in orders]) == orders
