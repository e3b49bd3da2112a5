"""cdc and cache-sync at work in processes of their own, on topics of the bench's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry

from orderctl.bench.ground import Ground
from orderctl.bench.looking_up import TTL_MS
from orderctl.bench.own_log import OwnLog
from orderctl.clock import SystemClock
from orderctl.metrics import Metrics
from orderctl.services.cache_sync import CacheSync
from orderctl.services.consumer import Consumer
from orderctl.services.pump import Checkpoint, Pump
from orderctl.stores.cache import CacheStore
from orderctl.stores.log import CHANGES, CHECKPOINTS, Outgoing, Place

BATCH: Final = 1_000
WAIT_S: Final = 0.25
STOP_S: Final = 15.0


@contextmanager
def following(ground: Ground, prefix: str, begin: str) -> Iterator[tuple[int, int]]:
    """Both, from the binlog's position `begin` on; yields their process ids. It takes them some seconds to join."""
    context = get_context("spawn")
    stop = context.Event()
    processes = [
        context.Process(target=keep_pumping, args=(ground, prefix, begin, stop), daemon=True),
        context.Process(target=keep_syncing, args=(ground, prefix, stop), daemon=True),
    ]
    for process in processes:
        process.start()
    try:
        pump, sync = (int(process.pid or 0) for process in processes)
        yield pump, sync
    finally:
        stop.set()
        for process in processes:
            process.join(STOP_S)
            process.terminate()
            process.join()


def keep_pumping(ground: Ground, prefix: str, begin: str, stop: Event) -> None:
    """What cdc's step does, until told to stop."""
    clock = SystemClock()
    with ground.opened() as tiers, closing(OwnLog(ground.config, prefix)) as log:
        (feed,) = tiers.feeds
        start_at(log, feed.shard, begin)
        pump = Pump(feed, log, partition=0, groups=ground.groups, clock=clock)
        with closing(pump):
            while not stop.is_set():
                pump.step(WAIT_S)


def have_marks(cache: CacheStore, groups: int) -> None:
    """Give every group that has no mark its first one: a group without counts as one that went back in time."""
    for group, mark in enumerate(cache.marks(range(groups))):
        if mark is None:
            cache.reset_group(group, mark=0)


def start_at(log: OwnLog, shard: str, begin: str) -> None:
    """Let the next pump begin at a position of the binlog."""
    checkpoint = Checkpoint(shard, begin, SystemClock().now_us())
    log.publish([Outgoing(Place(CHECKPOINTS, 0), shard.encode(), msgspec.json.encode(checkpoint))])


def keep_syncing(ground: Ground, prefix: str, stop: Event) -> None:
    """What cache-sync's step does, until told to stop."""
    clock, metrics = SystemClock(), Metrics(CollectorRegistry())
    with ground.opened() as tiers, closing(OwnLog(ground.config, prefix)) as log:
        applying = CacheSync(tiers.cache, log, groups=ground.groups, clock=clock, metrics=metrics, record_ttl_ms=TTL_MS)
        with closing(Consumer(log, prefix, [CHANGES], instance=None, batch=BATCH)) as consumer:
            while not stop.is_set():
                consumer.step(applying.apply, WAIT_S)
