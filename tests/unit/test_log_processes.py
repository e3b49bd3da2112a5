"""The embedded log in several processes: one that is killed or stopped, and what the others make of it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from orderctl.clock import SystemClock
from orderctl.stores.log import Outgoing, Place, Topic
from orderctl.stores.sqlite.log import SqliteLogStore, open_embedded_log
from tests.contract.log_harness import PATIENCE_S, poll_until, values

TOP = Path(__file__).resolve().parents[2]
LONG_SESSION_S = 600.0
"""No test waits for it, so whoever is out before was found to be dead."""
SHORT_SESSION_S = 5.0
"""Long enough for whoever is not stopped to stay."""

READ = """
import sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.stores.log import Fenced
from orderctl.stores.sqlite.log import open_embedded_log

store = open_embedded_log(Path(sys.argv[1]), clock=SystemClock(), session_s=float(sys.argv[2]))
member = store.join("g", ["t"], instance=sys.argv[3] or None)
while not (batch := member.poll(5, 1.0)):
    pass
print(*[message.offset for message in batch], flush=True)
sys.stdin.readline()
try:
    member.commit({batch[0].place: batch[-1].offset + 1})
    print("committed", flush=True)
except Fenced:
    print("fenced", flush=True)
member.close()
store.close()
"""

PUBLISH_WHEN_TOLD = """
import sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.stores.log import Outgoing, Place
from orderctl.stores.sqlite.log import open_embedded_log

store = open_embedded_log(Path(sys.argv[1]), clock=SystemClock())
for line in sys.stdin:
    store.publish([Outgoing(Place("t", 0), b"k", line.encode())])
store.close()
"""

PUBLISH_UNTIL_KILLED = """
import random, sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.stores.log import Outgoing, Place
from orderctl.stores.sqlite.log import open_embedded_log

store = open_embedded_log(Path(sys.argv[1]), clock=SystemClock())
chance = random.Random(sys.argv[2])
serial = int(sys.argv[3])
while True:
    batch = range(serial, serial + chance.randint(1, 20))
    store.publish([Outgoing(Place("t", 0), b"k", b"%d" % number) for number in batch])
    serial = batch[-1] + 1
    print(serial, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@contextmanager
def opened(path: Path, *, session_s: float = LONG_SESSION_S) -> Iterator[SqliteLogStore]:
    with closing(open_embedded_log(path, clock=SystemClock(), session_s=session_s)) as store:
        store.ensure_topics([Topic("t", 1)])
        yield store


@contextmanager
def child(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    """Let it go on."""
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


def publish(store: SqliteLogStore, count: int) -> None:
    store.publish([Outgoing(Place("t", 0), b"k", b"%d" % number) for number in range(count)])


def test_a_killed_process_is_replaced_before_its_session_ends(path: Path) -> None:
    """SIGKILL in the middle of a batch: the kernel knows at once, so the batch comes again within moments."""
    with opened(path) as store, closing(store.join("g", ["t"])) as member:
        publish(store, 10)
        with child(READ, path, LONG_SESSION_S, "") as other:
            assert line_of(other) == "0 1 2 3 4"
            assert member.poll(100, 0) == []
            other.kill()
            read = member.poll(100, PATIENCE_S)
        assert values(read) == [str(number) for number in range(10)]
        assert store.committed("g", "t") == [None]


def test_a_stopped_process_is_fenced_when_it_wakes(path: Path) -> None:
    """SIGSTOP for longer than its session: the batch comes again to the other, and the late commit is refused."""
    with opened(path, session_s=SHORT_SESSION_S) as store, closing(store.join("g", ["t"])) as member:
        publish(store, 10)
        with child(READ, path, SHORT_SESSION_S, "") as other:
            assert line_of(other) == "0 1 2 3 4"
            other.send_signal(signal.SIGSTOP)
            assert len(poll_until(lambda read: len(read) == 10, member)) == 10
            other.send_signal(signal.SIGCONT)
            tell(other)
            assert line_of(other) == "fenced"
        assert store.committed("g", "t") == [None]
        member.commit({Place("t", 0): 10})


def test_a_process_with_an_instance_is_waited_for(path: Path) -> None:
    """It was killed, and is started again under its name: the other member never owned its partition."""
    with opened(path) as store, closing(store.join("g", ["t"])) as member:
        publish(store, 10)
        with child(READ, path, LONG_SESSION_S, "one") as first:
            assert line_of(first) == "0 1 2 3 4"
        assert member.poll(100, 0.5) == []
        with child(READ, path, LONG_SESSION_S, "one") as second:
            assert line_of(second) == "0 1 2 3 4"
            assert member.poll(100, 0) == []
            tell(second)
            assert line_of(second) == "committed"
        assert member.assigned() == frozenset()
        assert store.committed("g", "t") == [5]


def test_a_message_from_another_process_wakes_a_waiting_member(path: Path) -> None:
    """It looks often enough; on a machine that does nothing else it takes 20 ms, and in vain nobody waits for so long."""
    with opened(path) as store, closing(store.join("g", ["t"])) as member:
        assert member.poll(1, 0) == []
        with child(PUBLISH_WHEN_TOLD, path) as publisher:
            late_s = []
            for _ in range(20):
                tell(publisher)
                [message] = member.poll(100, PATIENCE_S)
                late_s.append(time.time() - message.ts_ms / 1000)
        assert sorted(late_s)[len(late_s) // 2] < PATIENCE_S / 20


@pytest.mark.parametrize("seed", range(1, 5))
def test_sigkill_takes_no_message_that_was_acknowledged(path: Path, seed: int) -> None:
    """A publisher is killed at a random moment, twice: what it was told is there, in order, each offset once."""
    chance = random.Random(seed)
    with opened(path) as store:
        published = 0
        for round_ in (0, 1):
            with child(PUBLISH_UNTIL_KILLED, path, 2 * seed + round_, published) as publisher:
                acknowledged = [int(line_of(publisher)) for _ in range(chance.randint(1, 100))][-1]
                publisher.kill()
            found = store.read(Place("t", 0), 0, 1_000_000)
            published = len(found)
            assert published >= acknowledged
            assert [message.offset for message in found] == list(range(published))
            assert values(found) == [str(number) for number in range(published)]
