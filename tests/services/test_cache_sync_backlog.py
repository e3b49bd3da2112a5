"""Cache-sync behind a backlog: read in batches, in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from orderctl.services.consumer import Consumer, lag_events
from orderctl.stores.log import CHANGES
from tests.contract.cache_harness import at_version, entry_of
from tests.services.following import Following, message_of, open_following

GROUP = 5
BACKLOG = 50_000
ORDERS = 500
BATCH = 1_000
MEMORY_MAX = 16 << 20


@pytest.fixture
def flow() -> Iterator[Following]:
    """A cache and a log."""
    with open_following() as opened:
        yield opened


def test_a_backlog_takes_no_memory(flow: Following) -> None:
    """50 000 events of 500 orders: each ends at its newest version, and no more than a batch is in hand."""
    orders = flow.cached_orders(GROUP, ORDERS)
    for version in range(2, BACKLOG // ORDERS + 2):
        flow.publish(*(message_of(at_version(order, version)) for order in orders))
    process = flow.process()
    consumer = Consumer(flow.broker, "cache-sync", [CHANGES], instance=None, batch=BATCH)
    sizes = [consumer.step(process.apply, 0) for _ in range(10)]
    tracemalloc.start()
    try:
        sizes += [consumer.step(process.apply, 0) for _ in range(4)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    while size := consumer.step(process.apply, 0):
        sizes.append(size)
    assert lag_events(flow.broker, "cache-sync", CHANGES) == 0
    consumer.close()
    assert (sum(sizes), max(sizes)) == (BACKLOG, BATCH)
    assert peak < MEMORY_MAX
    newest = [at_version(order, BACKLOG // ORDERS + 1) for order in orders]
    assert [flow.entry(order) for order in orders] == [entry_of(order) for order in newest]
    assert flow.store.marks([GROUP]) == [flow.broker.ends(CHANGES)[GROUP][1]]
