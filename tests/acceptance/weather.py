"""Bad weather: servers of the stack freeze, die or go away under a steady load, and come back."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from orderctl.stack.layout import Wish
from orderctl.stack.process import Process, running, stop
from orderctl.stores.tiers import Tiers
from tests.acceptance.fleet import Fleet
from tests.acceptance.ledger import NO_ANSWER, Api, Ledger, Line
from tests.acceptance.quiet import Record
from tests.acceptance.server import ANSWERED_S, TICK, Server, until
from tests.stack import RunningStack

READY = '{"status":"ok"}'
BACK_S = 60.0
"""How long a daemon may take to work again on a busy machine: its back-off is 10 s at most, a new session with Kafka 15 s."""
GONE_S = 60.0
"""How long a server may take to be gone."""
CLIENTS, READERS = 4, 2
PAUSE_S = 0.1
"""Between two orders of a client: steady, and not so much that the accounts take longer than the weather."""


class Weather:
    """Hurts servers by the names that `orderctl stack status` shows, and sees to it that they are well again."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._frozen: set[Process] = set()

    def freeze(self, name: str) -> None:
        """SIGSTOP: it accepts connections and requests, and answers nothing."""
        process = self._process(name)
        os.kill(process.pid, signal.SIGSTOP)
        self._frozen.add(process)

    def thaw(self) -> None:
        """Let all that is frozen go on as if no time had passed."""
        for process in self._frozen:
            if process.is_running():
                os.kill(process.pid, signal.SIGCONT)
        self._frozen.clear()

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        process = self._process(name)
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not process.is_running(), seconds=GONE_S, what=f"{name} is gone")

    def stop(self, name: str) -> None:
        """SIGTERM, and wait until it has ended in good order."""
        assert stop(self._process(name), grace_s=GONE_S), f"{name} had to be killed"

    def clear(self) -> None:
        """Thaw what is frozen, start what is gone, and wait until all servers are healthy."""
        self.thaw()
        self._stack.stack.up(Wish(parts=self._parts()), lambda _started: None)
        until(self._is_clear, seconds=GONE_S, what="all servers are healthy")

    def _is_clear(self) -> bool:
        return all(seen.state == "up" for seen in self._stack.stack.status())

    def _parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(seen.name.partition("-")[0] for seen in self._stack.stack.status()))

    def _process(self, name: str) -> Process:
        process = running(self._stack.folder / name / "pid")
        assert process is not None, f"{name} does not run"
        return process


def ports_of(pid: int) -> set[int]:
    """The local ports of a process's connections over TCP."""
    opened = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            opened.add(str(descriptor.readlink()))
    connections = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return {int(line[1].rpartition(":")[2], 16) for line in connections if f"socket:[{line[9]}]" in opened}


class Readers:
    """Clients that look up a ledger's orders, each time asking for no less than what was acknowledged before."""

    def __init__(self, api: Api, ledger: Ledger, *, clients: int, seed: int, pause_s: float) -> None:
        self._api = api
        self._ledger = ledger
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(
                target=self._work, args=(random.Random(seed * 1000 - 1 - number),), name=f"reader-{number}"
            )
            for number in range(clients)
        ]
        self.outcomes: Counter[str] = Counter()
        """How look-ups ended: by status, or `no answer`; those that were found by tier, too (`cache`, `hot`, `archive`)."""
        self.faults: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * ANSWERED_S)
        assert not self.faults, self.faults[0]

    def _work(self, rng: random.Random) -> None:
        try:
            while not self._stop.wait(self._pause_s):
                lines = self._ledger.lines
                if lines and (line := rng.choice(lines)).acknowledged:
                    self._look_up(line)
        except BaseException as fault:  # noqa: BLE001 - it is raised again where the test can see it
            self.faults.append(fault)

    def _look_up(self, line: Line) -> None:
        newest = max(list(line.acknowledged))
        try:
            answer = self._api.query("GET", f"/v1/orders/{line.order_id}?min_version={newest}")
        except NO_ANSWER:
            self._count("no answer")
            return
        assert answer.status in {200, 202, 503}, (line, answer.status, answer.body)
        self._count(str(answer.status))
        if answer.status == 200:
            order = answer.json
            assert order["version"] >= newest, (line, order)
            assert line.acknowledged.get(order["version"], order["status"]) == order["status"], (line, order)
            self._count(answer.headers["cache-status"])
        else:
            assert "retry-after" in answer.headers, answer.body

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1


class Load:
    """Creates, changes and look-ups, all under way."""

    def __init__(self, ledger: Ledger, readers: Readers) -> None:
        self.ledger = ledger
        self.readers = readers

    def wait_for_orders(self, count: int, *, seconds: float) -> None:
        """Wait until so many more creates and changes are acknowledged."""
        enough = self.ledger.acknowledged + count
        until(lambda: self.ledger.acknowledged >= enough, seconds=seconds, what=f"{count} more creates and changes")

    def wait_for_lookups(self, count: int, *, seconds: float, outcome: str = "200") -> None:
        """Wait until so many more look-ups end like that."""
        enough = self.readers.outcomes[outcome] + count
        until(
            lambda: self.readers.outcomes[outcome] >= enough, seconds=seconds, what=f"{count} more look-ups: {outcome}"
        )


WITHOUT_NEAR = {"ORDERCTL_QUERY__NEAR_BYTES_MAX": "0"}
"""A setting with which it can be seen which tier answers."""


@contextmanager
def under_load(api: Api, *, seed: int, clients: int = CLIENTS, pause_s: float = PAUSE_S) -> Iterator[Load]:
    """A steady load until the end of the block. What a client saw that may not be fails the test there."""
    with (
        Ledger(api, clients=clients, seed=seed, pause_s=pause_s) as ledger,
        Readers(api, ledger, clients=READERS, seed=seed, pause_s=0.02) as readers,
    ):
        yield Load(ledger, readers)


@contextmanager
def lasting(seconds: float) -> Iterator[None]:
    """Weather that lasts for so long: what is left of the time when the block has ended is waited for."""
    began_s = time.monotonic()
    yield
    TICK.wait(max(0.0, began_s + seconds - time.monotonic()))


def says(server: Server, status: int, words: str, *, seconds: float) -> None:
    """Wait until the admin server's /readyz has this status, and a body with these words in it."""

    def does() -> bool:
        answer = server.admin("/readyz")
        return answer.status == status and words in answer.body.decode()

    until(does, seconds=seconds, what=f"/readyz is {status} with {words!r}; its log: {server.log[-2000:]}")


def all_ready(fleet: Fleet, record_property: Record) -> None:
    """Wait until every daemon is ready, and lacks nothing."""
    began_s = time.monotonic()
    for server in fleet.servers.values():
        server.wait_ready()
        says(server, 200, READY, seconds=BACK_S)
    record_property("seconds until all are ready again", round(time.monotonic() - began_s, 2))


def is_read_from(fleet: Fleet, tiers: Tiers, order_id: str, database: str) -> bool:
    """Whether the order is found, and in that database, where the cache does not have it. Others may look it up meanwhile."""
    tiers.cache.invalidate([order_id])
    answer = fleet.query("GET", f"/v1/orders/{order_id}", "gateway")
    assert answer.status in {200, 202}, answer.body
    return answer.headers.get("cache-status") == f"redis; fwd=miss; detail={database}"


def archived_of(lines: Sequence[Line], tiers: Tiers) -> list[str]:
    """The orders among these that have moved."""
    order_ids = [line.order_id for line in lines if line.order_id is not None]
    hot, archived = tiers.hot.load(order_ids), tiers.archive.load(order_ids)
    return [there.order_id for here, there in zip(hot, archived, strict=True) if there and not here]
