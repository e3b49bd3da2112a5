"""The cache's contract, kept by the embedded store in a file; and what a file adds: locks, processes, power and room."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from orderctl.errors import TierUnavailable
from orderctl.stores.cache import Applied, Busy
from orderctl.stores.sqlite.cache import SWEEP_COUNT, boot_id
from tests.contract.cache_contract import CacheContract
from tests.contract.cache_harness import GROUPS, CacheSuite, an_order, entry_of, filled, put, sync, token
from tests.contract.cache_sqlite_harness import SqliteCacheHarness


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def harness(path: Path) -> Iterator[SqliteCacheHarness]:
    harness = SqliteCacheHarness(path)
    yield harness
    harness.close()


class TestInAFile(CacheContract):
    """The whole suite, each store with a connection of its own."""


class TestReadersAndWriters(CacheSuite):
    """Readers do not stand in the writers' line."""

    def test_hits_are_read_while_somebody_writes(self, harness: SqliteCacheHarness, path: Path) -> None:
        """A get, a look-up that hits and one that finds a lease answer although the write lock is taken."""
        cache, held, leased = harness.open(), an_order(), an_order()
        self.make_record(cache, held)
        self.make_lease(cache, leased, token(1))
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            ids = [held.order_id, leased.order_id]
            assert cache.lookup(ids, tokens=[token(2)] * 2) == [entry_of(held), Busy()]
            assert cache.get([held.order_id, an_order().order_id]) == [entry_of(held), None]
            cache.ping()

    def test_a_closed_store_is_unavailable(self, harness: SqliteCacheHarness) -> None:
        """Closing twice is harmless; a call after it fails like a tier that is away."""
        cache = harness.open()
        cache.close()
        cache.close()
        with pytest.raises(TierUnavailable):
            cache.get([an_order().order_id])


ASK = """
import sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.stores.cache import Granted
from orderctl.stores.sqlite.cache import open_embedded_cache

path, number, *ids = sys.argv[1:]
store = open_embedded_cache(Path(path), groups=64, clock=SystemClock())
print("ready", flush=True)
sys.stdin.readline()
tokens = [int(number).to_bytes(16, "big")] * len(ids)
outcomes = [store.lookup([order_id], tokens=[token])[0] for order_id, token in zip(ids, tokens)]
store.close()
print("".join("G" if isinstance(outcome, Granted) else "." for outcome in outcomes))
"""


class TestProcesses:
    """Several processes on one file."""

    def test_one_process_of_several_is_granted_each_lease(self, path: Path) -> None:
        """Three processes look the same orders up at the same time."""
        ids = [an_order().order_id for _ in range(20)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", ASK, str(path), number, *ids],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in "123"
        ]
        with ExitStack() as stack:
            for process in processes:
                stack.enter_context(process)
                stack.callback(process.kill)
            pipes = [(process.stdin, process.stdout) for process in processes]
            assert [out.readline() for _, out in pipes if out] == ["ready\n"] * 3
            for line, _ in pipes:
                assert line is not None
                line.write("\n")
                line.flush()
            answers = [out.read().strip() for _, out in pipes if out]
        assert [len(answer) for answer in answers] == [20, 20, 20]
        assert ["".join(column).count("G") for column in zip(*answers, strict=True)] == [1] * 20


class TestPower(CacheSuite):
    """After a loss of power the last commits may be undone, so nothing that was written before it is believed."""

    @pytest.mark.parametrize("boot", ["another run", None])
    def test_entries_of_another_run_are_dropped(self, harness: SqliteCacheHarness, boot: str | None) -> None:
        """Also where nobody can tell one run from another. The marks go with them, so that whoever follows the log notices."""
        order, before = an_order(), harness.open()
        self.make_record(before, order)
        before.reset_group(0, mark=5)
        assert harness.open(boot=boot).get([order.order_id]) == [None]
        assert harness.rows() == 0
        assert before.marks([0]) == [None]
        assert sync(before, 0, [], expected=5, reached=6) is None

    def test_entries_of_an_unknown_run_are_dropped(self, harness: SqliteCacheHarness) -> None:
        """Two runs that nobody knows are not the same run."""
        order = an_order()
        self.make_record(harness.open(boot=None), order)
        assert harness.open(boot=None).get([order.order_id]) == [None]

    def test_entries_of_this_run_stay(self, harness: SqliteCacheHarness) -> None:
        """A process that was killed and started again finds the cache warm."""
        order, before = an_order(), harness.open()
        before.reset_group(0, mark=5)
        self.make_record(before, order)
        again = harness.open()
        assert again.get([order.order_id]) == [entry_of(order)]
        assert again.marks([0]) == [5]

    def test_entries_of_another_number_of_groups_are_dropped(self, harness: SqliteCacheHarness) -> None:
        """They are filed under groups that nobody would look in."""
        order, before = an_order(), harness.open()
        before.reset_group(0, mark=5)
        self.make_record(before, order)
        again = harness.open(groups=2 * GROUPS)
        assert again.get([order.order_id]) == [None]
        assert again.marks([0]) == [None]
        assert harness.rows() == 0

    def test_this_machine_knows_its_run(self, tmp_path: Path) -> None:
        """The same at every look; where the kernel does not tell, None."""
        assert boot_id() == boot_id()
        assert boot_id(tmp_path / "missing") is None


class TestRoom(CacheSuite):
    """What has expired is removed in small batches, and the cache does not grow for ever."""

    def test_each_write_sweeps_a_bounded_number(self, harness: SqliteCacheHarness) -> None:
        """Two for every order that is written and a few more, so that one write is never held up by a flood of others."""
        cache = harness.open()
        self.make_record(cache, *(an_order() for _ in range(500)), ttl_ms=1_000)
        harness.pass_time(1.0)
        for writes in (1, 2):
            assert cache.apply([put(an_order())]) == [Applied.NOTHING]
            assert harness.rows() == 500 - writes * (SWEEP_COUNT + 2)

    def test_sweeping_spares_what_lives(self, harness: SqliteCacheHarness) -> None:
        """In the end all that has expired is gone, and nothing else."""
        cache, kept = harness.open(), an_order()
        self.make_record(cache, *(an_order() for _ in range(100)), ttl_ms=1_000)
        self.make_record(cache, kept)
        harness.pass_time(1.0)
        for _ in range(2):
            cache.invalidate([an_order().order_id])
        assert harness.rows() == 1
        assert cache.get([kept.order_id]) == [entry_of(kept)]

    def test_a_full_cache_evicts_what_would_expire_next(self, harness: SqliteCacheHarness) -> None:
        """Records that live longest stay; the leases that are in use stay too, or nothing could be filled in any more."""
        room = 512 << 10
        cache, leased = harness.open(used_bytes_max=room), an_order()
        lasting = [an_order() for _ in range(50)]
        self.make_record(cache, *lasting, ttl_ms=900_000)
        self.make_lease(cache, leased, token(1))
        for _ in range(20):
            self.make_record(cache, *(an_order() for _ in range(100)))
        assert harness.rows() < 2 * room // len(entry_of(leased).body)
        assert cache.get([order.order_id for order in lasting]) == [entry_of(order) for order in lasting]
        assert cache.fill([filled(leased, token(1))]) == [True]

    def test_marks_are_neither_evicted_nor_do_they_expire(self, harness: SqliteCacheHarness) -> None:
        """However full the cache is and however long a group is quiet: without them it would be dropped."""
        cache = harness.open(used_bytes_max=64 << 10)
        for group in range(GROUPS):
            cache.reset_group(group, mark=group)
        for _ in range(10):
            self.make_record(cache, *(an_order() for _ in range(100)))
        assert harness.rows() < 500
        harness.pass_time(365 * 86_400)
        cache.invalidate([an_order().order_id])
        assert cache.marks(range(GROUPS)) == list(range(GROUPS))
