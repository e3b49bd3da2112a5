"""From a change's commit in MySQL to its being visible in Redis, through the binlog, cdc, Kafka and cache-sync alone."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Final

from orderctl.bench.following import following, have_marks
from orderctl.bench.ground import Ground
from orderctl.bench.looking_up import TTL_MS
from orderctl.bench.measuring import Measure, cpu_s_of, latency_of, memory_mib_of
from orderctl.bench.orders import batches, create_all, drafts_of, fill_all, new_orders
from orderctl.bench.own_log import own_log
from orderctl.bench.raw_mysql import end_of_binlog
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.clock import SystemClock
from orderctl.errors import OrderctlError
from orderctl.order import Change, Order, Status
from orderctl.stores.cache import CacheStore, Put
from orderctl.stores.hot import Changed
from orderctl.stores.record import record_of
from orderctl.stores.tiers import Tiers

SECONDS: Final = 5.0
"""How long a run takes. Its units by this are the load, so that `--size` sets it."""
BATCH: Final = 20
LOOK_S: Final = 0.001
PATIENCE_S: Final = 60.0
JOIN_RUNS_MAX: Final = 5

Tell = Callable[[Sequence[Order]], None]


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """The followers run all the time; a first change shows that they have joined."""
    runs, prefix = count(), f"{ground.name}.visible"
    begin = end_of_binlog(ground.config)
    with own_log(ground, prefix), ground.opened() as tiers:
        have_marks(tiers.cache, ground.groups)
        with following(ground, prefix, begin) as pids:

            def through_kafka() -> Measure:
                return _run(tiers, _fresh(tiers, f"v{next(runs)}", size), pids, tell=lambda _changed: None)

            def told_directly() -> Measure:
                return _run(
                    tiers, _fresh(tiers, f"v{next(runs)}", size), pids, tell=lambda orders: _apply(tiers, orders)
                )

            for _ in range(JOIN_RUNS_MAX):
                joined = _run(tiers, _fresh(tiers, f"v{next(runs)}", BATCH), pids, tell=lambda _changed: None)
                if joined.latency_ms is not None:
                    break
            yield Runs(through_kafka, told_directly)


def _fresh(tiers: Tiers, run: str, size: int) -> list[str]:
    """Open orders, with their records in the cache; their events are long through when they are changed."""
    drafts = drafts_of(new_orders(run, size), SystemClock())
    create_all(tiers.hot, drafts)
    fill_all(tiers.cache, [draft.order for draft in drafts], ttl_ms=TTL_MS)
    return [draft.order.order_id for draft in drafts]


def _run(tiers: Tiers, order_ids: Sequence[str], pids: tuple[int, int], *, tell: Tell) -> Measure:
    """Change them at a steady pace, whatever becomes of those before, and watch the last one of each batch appear."""
    watch, clock = _Watch(tiers.cache), SystemClock()
    began_cpu_s, began_s = sum(map(cpu_s_of, pids)), time.perf_counter()
    watch.start()
    try:
        for number, batch in enumerate(batches(order_ids, BATCH)):
            due_s = began_s + number * BATCH / len(order_ids) * SECONDS
            threading.Event().wait(max(0.0, due_s - time.perf_counter()))
            changes = [Change(order_id, Status.PROCESSING) for order_id in batch]
            done = [one.order for one in tiers.hot.change(changes, now_us=clock.now_us()) if isinstance(one, Changed)]
            watch.expect(done[-1])
            tell(done)
        seconds = time.perf_counter() - began_s
    finally:
        latencies_ms = watch.end()
    lost = watch.lost
    return Measure(
        units=len(order_ids),
        seconds=seconds,
        cpu_s=sum(map(cpu_s_of, pids)) - began_cpu_s,
        memory_mib=max(map(memory_mib_of, pids)),
        latency_ms=latency_of(latencies_ms),
        facts={"late_ms": round(max(0.0, seconds - SECONDS) * 1000, 1), "lost": lost},
    )


def _apply(tiers: Tiers, orders: Sequence[Order]) -> None:
    tiers.cache.apply([Put(record_of(order), TTL_MS) for order in orders])


class _Watch(threading.Thread):
    """Looks into the cache a thousand times a second for versions that are to appear there."""

    def __init__(self, cache: CacheStore) -> None:
        super().__init__(daemon=True)
        self._cache = cache
        self._lock = threading.Lock()
        self._expected: dict[str, tuple[int, float]] = {}
        self._over = threading.Event()
        self._latencies_ms: list[float] = []
        self.lost = 0
        """Records that Redis did not hold any more: cache-sync makes none anew, so nothing will appear there."""

    def expect(self, order: Order) -> None:
        """This version was committed just now."""
        with self._lock:
            self._expected[order.order_id] = (order.version, time.perf_counter())

    def end(self) -> list[float]:
        """Wait for what is still expected; returns how long each took, in milliseconds.

        Raises:
            OrderctlError: some did not appear.

        """
        self._over.set()
        self.join(PATIENCE_S)
        if self._expected:
            raise OrderctlError(f"{len(self._expected)} changes did not become visible within {PATIENCE_S:g} s")
        return self._latencies_ms

    def run(self) -> None:
        """Until all has been seen that was expected, and nothing more is."""
        give_up_s = float("inf")
        while not (self._over.is_set() and (not self._expected or time.perf_counter() > give_up_s)):
            if self._over.is_set():
                give_up_s = min(give_up_s, time.perf_counter() + PATIENCE_S)
            self._look()
            threading.Event().wait(LOOK_S)

    def _look(self) -> None:
        with self._lock:
            expected = dict(self._expected)
        if not expected:
            return
        entries = self._cache.get(list(expected))
        now_s = time.perf_counter()
        for (order_id, (version, since_s)), entry in zip(expected.items(), entries, strict=True):
            if entry is not None and entry.version < version:
                continue
            if entry is None:
                self.lost += 1
            else:
                self._latencies_ms.append((now_s - since_s) * 1000)
            with self._lock:
                del self._expected[order_id]


SCENARIO = Scenario(
    name="commit-to-visible",
    idea=idea_of(__doc__),
    unit="changes",
    ceiling="the same, with the committer telling Redis by itself: what counts is the latency, the rate is given",
    goal=None,
    where=Where.REAL,
    full=10_000,
    smoke=200,
    prepare=prepare,
)
