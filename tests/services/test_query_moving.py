"""100 000 reads of orders that are on the move between the databases: each is found, and never as it was before."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from orderctl.clock import Clock, SystemClock
from orderctl.config import Config
from orderctl.metrics import Metrics
from orderctl.order import Change, Order, Status
from orderctl.services.answers import Found
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.services.askers import Lookup
from orderctl.services.near import NearCache
from orderctl.services.query import QueryService, QuerySettings
from orderctl.stores.cache import CacheStore
from orderctl.stores.hot import Changed, Created
from orderctl.stores.tiers import Tiers, open_tiers
from tests.contract.hot_harness import drafts
from tests.services.tiers import Failing, away, settled

ORDERS = 1_000
READS = 50_000
"""Of young orders, and as many of old ones."""
BATCH = 100
LOT = 20
READERS = 2
PATIENCE_S = 240


@pytest.fixture
def clock() -> Clock:
    return SystemClock()


@pytest.fixture
def tiers(tmp_path: Path, clock: Clock) -> Iterator[Tiers]:
    opened = open_tiers(Config(), tmp_path, clock)
    yield opened
    opened.close()


def create(tiers: Tiers) -> list[Order]:
    """Orders that are open still."""
    return [outcome.order for outcome in tiers.hot.create(drafts(ORDERS)) if isinstance(outcome, Created)]


def end_and_move(tiers: Tiers, orders: Sequence[Order], mover: Mover, was_read: threading.Semaphore) -> None:
    """End the orders and move them, a lot at a time, spread over the time that it takes to read."""
    for start in range(0, ORDERS, LOT):
        for _ in range(READS // BATCH * LOT * 3 // (ORDERS * 4)):
            assert was_read.acquire(timeout=PATIENCE_S)
        changes = [Change(order.order_id, Status.SUCCESS) for order in orders[start : start + LOT]]
        assert all(isinstance(outcome, Changed) for outcome in tiers.hot.change(changes, now_us=0))
        while mover.step(None):
            pass


def read(query: QueryService, orders: Sequence[Order], seed: int, was_read: threading.Semaphore) -> dict[str, int]:
    """Look orders up in batches; returns how many answers came from which database."""
    versions = dict.fromkeys((order.order_id for order in orders), 0)
    sources: dict[str, int] = {}
    order_ids = Random(seed).sample(sorted(versions), len(versions))
    ids = cycle(order_ids)
    for _ in range(READS // READERS // BATCH):
        batch = list(islice(ids, BATCH))
        for order_id, answer in zip(batch, settled(query.look_up([Lookup(o) for o in batch])), strict=True):
            assert isinstance(answer, Found), f"{order_id}: {answer}"
            assert answer.version >= versions[order_id], f"{order_id} went back to {answer.version}"
            versions[order_id] = answer.version
            sources[answer.via.source.value] = sources.get(answer.via.source.value, 0) + 1
        was_read.release()
    return sources


@pytest.mark.parametrize("hot_first_s", [1e9, 0.0], ids=["young", "old"])
def test_orders_on_the_move_are_found_and_never_older(tiers: Tiers, clock: Clock, hot_first_s: float) -> None:
    """By readers in threads, with no help from the cache, while the orders end and move under them."""
    metrics = Metrics(CollectorRegistry())
    orders = create(tiers)
    mover = Mover(tiers.hot, tiers.archive, clock=clock, metrics=metrics, settings=ArchiverSettings(batch=7))
    settings = QuerySettings(hot_first_s=hot_first_s, loads_per_s=10 * READS)
    cache = Failing(tiers.cache)
    cache.error = away("redis")
    near = NearCache(groups=64, orders_max=0, bytes_max=0, open_ttl_s=0, clock=clock, metrics=metrics)
    was_read = threading.Semaphore(0)
    with ThreadPoolExecutor(READERS + 1) as pool, ThreadPoolExecutor(2 * settings.calls_max) as executor:
        query = QueryService(
            tiers.hot,
            cast("CacheStore", cache),
            tiers.archive,
            near,
            clock=clock,
            random=os.urandom,
            executor=executor,
            metrics=metrics,
            settings=settings,
        )
        moving = pool.submit(end_and_move, tiers, orders, mover, was_read)
        reading = [pool.submit(read, query, orders, seed, was_read) for seed in range(READERS)]
        try:
            sources = [future.result(PATIENCE_S) for future in reading]
        finally:
            was_read.release(READS)
        moving.result(PATIENCE_S)
    assert sum(sum(counts.values()) for counts in sources) == READS
    assert all(counts[source] > READS / 20 for counts in sources for source in ("mysql", "cassandra"))
    assert metrics.registry.get_sample_value("orderctl_archived_total") == ORDERS
