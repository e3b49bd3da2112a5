"""cache-sync by several members of one group, each a process: what an event costs them all together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry

from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure, cpu_s_of, memory_mib_of
from orderctl.bench.own_log import OwnLog
from orderctl.bench.stocking import TTL_MS
from orderctl.clock import SystemClock
from orderctl.daemons.cache_sync import BATCH
from orderctl.daemons.garbage import collecting_rarely
from orderctl.errors import TierUnavailable
from orderctl.metrics import Metrics
from orderctl.services.cache_sync import CacheSync
from orderctl.services.consumer import Consumer
from orderctl.stores.log import CHANGES

WAIT_S: Final = 0.25
PATIENCE_S: Final = 240.0
LOOK_S: Final = 0.01


class Told(Struct, frozen=True):
    """What a member tells: how many partitions it has, and how many events it has applied."""

    assigned: Synchronized[int]
    applied: Synchronized[int]


class Members:
    """Members that have shared the partitions among them and stand still until a backlog is there."""

    def __init__(self, processes: list[SpawnProcess], told: list[Told], go: Event) -> None:
        self._pids = [int(process.pid or 0) for process in processes]
        self._told = told
        self._go = go

    def join(self, partitions: int) -> None:
        """Wait until each partition is somebody's, and nobody has none."""
        self._go.set()
        self._wait(lambda: self._share(partitions), "the members do not share the partitions")

    def work(self, publish: Callable[[], int]) -> Measure:
        """Stand still while `publish` makes a backlog, and then apply all of it."""
        self._go.clear()
        time.sleep(2 * WAIT_S)
        before = self._applied()
        wanted = before + publish()
        at_go, began_cpu_s, began_s = self._applied(), sum(map(cpu_s_of, self._pids)), time.perf_counter()
        self._go.set()
        self._wait(lambda: self._applied() >= wanted, "the members did not apply the backlog")
        return Measure(
            units=wanted - at_go,
            seconds=time.perf_counter() - began_s,
            cpu_s=sum(map(cpu_s_of, self._pids)) - began_cpu_s,
            memory_mib=sum(map(memory_mib_of, self._pids)),
        )

    def _share(self, partitions: int) -> bool:
        shares = [one.assigned.value for one in self._told]
        return sum(shares) == partitions and min(shares) > 0

    def _applied(self) -> int:
        return sum(one.applied.value for one in self._told)

    def _wait(self, is_done: Callable[[], bool], otherwise: str) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not is_done():
            if time.monotonic() > give_up_s:
                raise TierUnavailable("log", f"{otherwise} within {PATIENCE_S:g} s")
            time.sleep(LOOK_S)


@contextmanager
def members_of(ground: Ground, prefix: str, group: str, number: int) -> Iterator[Members]:
    """So many processes, joined."""
    context = get_context("spawn")
    stop, go = context.Event(), context.Event()
    told = [Told(context.Value("q", 0), context.Value("q", 0)) for _ in range(number)]
    processes = [
        context.Process(
            target=keep_syncing, args=(ground, prefix, group, one.assigned, one.applied, go, stop), daemon=True
        )
        for one in told
    ]
    for process in processes:
        process.start()
    try:
        members = Members(processes, told, go)
        members.join(ground.groups)
        yield members
    finally:
        stop.set()
        go.set()
        for process in processes:
            process.join(WAIT_S * 40)
            process.terminate()
            process.join()


def keep_syncing(
    ground: Ground,
    prefix: str,
    group: str,
    assigned: Synchronized[int],
    applied: Synchronized[int],
    go: Event,
    stop: Event,
) -> None:
    """What cache-sync's step does while `go` is set, until told to stop."""
    clock, metrics = SystemClock(), Metrics(CollectorRegistry())
    with ground.opened() as tiers, closing(OwnLog(ground.config, prefix)) as log, collecting_rarely():
        applying = CacheSync(tiers.cache, log, groups=ground.groups, clock=clock, metrics=metrics, record_ttl_ms=TTL_MS)
        with closing(Consumer(log, group, [CHANGES], instance=None, batch=BATCH)) as consumer:
            while not stop.is_set():
                if go.wait(WAIT_S):
                    applied.value += consumer.step(applying.apply, WAIT_S)
                    assigned.value = len(consumer.assigned())
