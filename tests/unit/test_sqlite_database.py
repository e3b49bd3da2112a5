"""The embedded database under faults: who waits for whom, what a failed COMMIT means, and what SIGKILL leaves behind."""

from __future__ import annotations

import random
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from orderctl.clock import SystemClock
from orderctl.contracts import Query
from orderctl.errors import ConfigError, OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.order import Status
from orderctl.stores.hot import Created, HotStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.datadir import DataDir
from orderctl.stores.sqlite.driver import OLDEST_SQLITE, require_sqlite, translate, translate_at_commit
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.schema import HOT
from tests.contract.hot_harness import at_once, create, drafts, to

TOP = Path(__file__).resolve().parents[2]
BEAT = Query(
    "INSERT INTO heartbeats (instance, daemon, state, beat_at) VALUES (:name, 'd', 's', 0)", "Write something small."
)
NAMES = Query("SELECT instance FROM heartbeats ORDER BY instance", "Read it.")
HALF_A_SECOND = 0.5

WRITE_UNTIL_KILLED = """
import random, sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.order import Status
from orderctl.stores.sqlite.embedded import open_embedded_hot
from tests.contract.hot_harness import drafts, to

hot = open_embedded_hot(Path(sys.argv[1]), groups=64, clock=SystemClock())
chance = random.Random(sys.argv[2])
import tests.contract.hot_harness as harness
harness._serial = harness.count(int(sys.argv[2]) * 1_000_000)
while True:
    batch = [created.order for created in hot.store.create(drafts(chance.randint(1, 30)))]
    for order in batch:
        print(order.order_id, 1, flush=True)
    statuses = (Status.PROCESSING, Status.SUCCESS)
    changed = hot.store.change([to(order, status) for order in batch for status in statuses], now_us=0)
    for outcome in changed[1::2]:
        print(outcome.order.order_id, outcome.order.version, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hot.db"


@pytest.fixture
def store(path: Path) -> Iterator[HotStore]:
    embedded = open_embedded_hot(path, groups=64, clock=SystemClock())
    yield embedded.store
    embedded.close()


@contextmanager
def opened(path: Path | None, *, patience_s: float = HALF_A_SECOND) -> Iterator[Database]:
    with closing(Database(path, HOT, patience_s=patience_s)) as database:
        yield database


def names(database: Database) -> list[str]:
    with database.snapshot() as snapshot:
        return [name for (name,) in snapshot.rows(NAMES)]


def write(database: Database, *names: str, then: Callable[[], object] = int) -> None:
    with database.transaction() as transaction:
        for name in names:
            transaction.rows(BEAT, {"name": name})
        then()


def sqlite_error(code: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("what sqlite says")
    error.sqlite_errorname = code
    error.sqlite_errorcode = getattr(sqlite3, code)
    return error


@contextmanager
def files_no_larger_than(bytes_max: int) -> Iterator[None]:
    """The kernel refuses to let this process write a file beyond that: an I/O error, in the middle of whatever it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("in_memory", [False, True], ids=["file", "memory"])
def test_a_transaction_is_all_or_nothing(path: Path, in_memory: bool) -> None:
    """What the body raises undoes it, and goes on up as it is."""
    with opened(None if in_memory else path) as database:
        write(database, "kept")
        with pytest.raises(ZeroDivisionError):
            write(database, "undone", then=lambda: 1 / 0)
        assert names(database) == ["kept"]


def test_a_writer_waits_for_another_process_only_so_long(path: Path) -> None:
    """Then it says that the tier is not available, and that nothing was written; readers do not wait at all."""
    with opened(path) as one, opened(path) as two:
        with one.transaction() as transaction:
            transaction.rows(BEAT, {"name": "one"})
            with pytest.raises(TierUnavailable, match="BUSY"):
                write(two, "two")
            assert names(two) == []
        write(two, "two")
        assert names(one) == ["one", "two"]


def test_a_writer_that_waited_long_enough_gets_its_turn(path: Path) -> None:
    """It is not told of the wait."""
    with opened(path) as one, opened(path, patience_s=30) as two:
        waiting = threading.Thread(target=partial(write, two, "two"))
        with one.transaction() as transaction:
            waiting.start()
            transaction.rows(BEAT, {"name": "one"})
        waiting.join(timeout=30)
        assert names(one) == ["one", "two"]


@pytest.mark.parametrize("in_memory", [False, True], ids=["file", "memory"])
def test_threads_take_turns(path: Path, in_memory: bool) -> None:
    """All of them write; one that waits for a turn too long is told so."""
    with opened(None if in_memory else path, patience_s=30) as database:
        at_once([partial(write, database, f"{number:02}") for number in range(16)])
        assert len(names(database)) == 16
    with opened(None if in_memory else path) as database:
        with database.transaction():
            refused: list[TierUnavailable] = []

            def be_refused() -> None:
                with pytest.raises(TierUnavailable, match=r"no turn to write within 0\.5 s") as caught:
                    write(database, "late")
                refused.append(caught.value)

            thread = threading.Thread(target=be_refused)
            thread.start()
            thread.join(timeout=30)
        assert [error.retriable for error in refused] == [True]


def test_a_full_disk_is_known_not_to_have_written(path: Path) -> None:
    """The order is refused as a whole, what was there stays, and the store goes on when there is room."""
    with opened(path) as database:
        write(database, "before")
        with database.snapshot() as same_connection:
            same_connection.rows(Query("PRAGMA max_page_count = 1", "The fewest that it can have: as many as now."))
        with pytest.raises(TierUnavailable, match="FULL"):
            write(database, *[f"many {number}" for number in range(10_000)])
        assert names(database) == ["before"]
        with database.snapshot() as same_connection:
            same_connection.rows(Query("PRAGMA max_page_count = 100000", "Room again."))
        write(database, "later")
        assert names(database) == ["before", "later"]


def test_an_io_error_in_commit_leaves_the_outcome_open(store: HotStore, path: Path) -> None:
    """Whoever asked is told that nobody knows; the transaction is not counted, and the database stays sound."""
    before = create(store)
    wishes = drafts(200)
    with files_no_larger_than(path.with_name("hot.db-wal").stat().st_size + 10_000):
        with pytest.raises(OutcomeUnknown, match="COMMIT failed with SQLITE_IOERR"):
            store.create(wishes)
        assert store.load([before.order_id]) == [before]
    assert store.transactions == 1
    [after] = store.create(drafts(1))
    assert isinstance(after, Created)
    found = store.load([wish.order.order_id for wish in wishes])
    assert len({order is None for order in found}) == 1
    store.close()
    assert DataDir(path.parent).check()[0].schema_version == HOT.version


@pytest.mark.parametrize(
    ("code", "before", "at_commit"),
    [
        ("SQLITE_BUSY", TierUnavailable, TierUnavailable),
        ("SQLITE_BUSY_SNAPSHOT", TierUnavailable, TierUnavailable),
        ("SQLITE_FULL", TierUnavailable, TierUnavailable),
        ("SQLITE_READONLY", TierUnavailable, TierUnavailable),
        ("SQLITE_CANTOPEN", TierUnavailable, OutcomeUnknown),
        ("SQLITE_CORRUPT", TierUnavailable, OutcomeUnknown),
        ("SQLITE_IOERR_FSYNC", TierUnavailable, OutcomeUnknown),
        ("SQLITE_IOERR_WRITE", TierUnavailable, OutcomeUnknown),
        ("SQLITE_CONSTRAINT_CHECK", TierRejected, TierRejected),
        ("SQLITE_ERROR", TierRejected, OutcomeUnknown),
        ("SQLITE_TOOBIG", TierRejected, OutcomeUnknown),
    ],
)
def test_sqlites_errors_in_our_words(code: str, before: type[TierError], at_commit: type[TierError]) -> None:
    """The message keeps SQLite's own name for it; what is not known to be harmless at COMMIT is not called so."""
    early, late = translate("hot", sqlite_error(code)), translate_at_commit("hot", sqlite_error(code))
    assert (type(early), type(late)) == (before, at_commit)
    assert str(early) == f"hot: {code}: what sqlite says"
    assert code in str(late)


def test_a_file_that_was_taken_away_is_not_made_anew(path: Path) -> None:
    """An empty database in its place would look as if all orders had never been."""
    with opened(path) as database:
        write(database, "before")
        for file in path.parent.iterdir():
            file.unlink()
        with database.snapshot(), pytest.raises(TierUnavailable, match="unable to open"):
            names(database)
        assert not path.exists()


def test_a_place_where_no_file_can_be_is_unavailable(tmp_path: Path) -> None:
    """A directory that is missing, and a directory in the file's place."""
    for path in (tmp_path / "missing" / "hot.db", tmp_path):
        with pytest.raises(TierUnavailable):
            Database(path, HOT)


def test_what_is_closed_refuses(store: HotStore) -> None:
    """It is not a fault of the caller's; later calls would be answered again by a store that is open."""
    order = create(store)
    store.close()
    other = open_embedded_hot(None, groups=64, clock=SystemClock())
    other.close()
    for call in (partial(other.store.load, [order.order_id]), partial(other.store.create, drafts(1))):
        with pytest.raises(TierUnavailable, match="closed"):
            call()


def test_closing_lets_transactions_end(path: Path) -> None:
    """One that is under way commits; its connection is closed behind it, and the log beside the file is gone."""
    database = Database(path, HOT)
    with database.transaction() as transaction:
        database.close()
        transaction.rows(BEAT, {"name": "last"})
    assert [file.name for file in path.parent.iterdir()] == ["hot.db"]
    with opened(path) as again:
        assert names(again) == ["last"]


def test_an_old_sqlite_is_refused() -> None:
    """The message says which is there and which is needed."""
    require_sqlite(OLDEST_SQLITE)
    with pytest.raises(ConfigError, match=r"SQLite 3\.34\.1; .* 3\.37\.0 or later"):
        require_sqlite((3, 34, 1))


@pytest.mark.parametrize("seed", range(1, 7))
def test_sigkill_takes_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    """A writing process is killed at a random moment, twice on one database: every order that it acknowledged is there."""
    chance = random.Random(seed)
    path = tmp_path / "hot.db"
    acknowledged: dict[str, int] = {}
    for round_ in (0, 1):
        acknowledged |= acknowledged_until_killed(path, seed=2 * seed + round_, lines=chance.randint(1, 400))
        assert DataDir(tmp_path).check()[0].schema_version == HOT.version
        embedded = open_embedded_hot(path, groups=64, clock=SystemClock())
        for order_id, order in zip(acknowledged, embedded.store.load(list(acknowledged)), strict=True):
            assert order is not None, order_id
            assert order.version >= acknowledged[order_id]
            assert order.status is (Status.PENDING, Status.PROCESSING, Status.SUCCESS)[order.version - 1]
            assert order.version != 2, "half of a transaction"
        assert isinstance(embedded.store.create(drafts(1))[0], Created)
        embedded.close()
    assert acknowledged


def acknowledged_until_killed(path: Path, *, seed: int, lines: int) -> dict[str, int]:
    """Run a writer until it has said that many lines, kill it; returns each order's last acknowledged version."""
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path), str(seed)]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
    complete = [line.split() for line in said if line.endswith("\n")]
    return {order_id: int(version) for order_id, version in complete}


@pytest.mark.parametrize("seed", range(5))
def test_sigkill_while_the_database_is_made_leaves_a_usable_directory(tmp_path: Path, seed: int) -> None:
    """Whether it got as far as the file or not, the next start works."""
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path / "hot.db"), "1"]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.DEVNULL) as child:
        deadline_s = random.Random(seed).uniform(0.05, 0.3)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=deadline_s)
        child.kill()
    data = DataDir(tmp_path)
    data.check()
    embedded = open_embedded_hot(data.hot, groups=64, clock=SystemClock())
    order = create(embedded.store, merchant_ref=f"after {seed}")
    embedded.store.change([to(order, Status.SUCCESS)], now_us=0)
    embedded.close()
    data.check()
