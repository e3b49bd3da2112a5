"""What the tests of cache-sync need: a cache that can be put back in time, a log, and processes that follow it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from orderctl import event
from orderctl.errors import TierUnavailable
from orderctl.event import ChangeEvent, Op, Source
from orderctl.ids import group_of
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.cache_sync import CacheSync, Parked
from orderctl.services.invalidation import OrderInvalidated, read
from orderctl.stores.cache import CacheStore
from orderctl.stores.log import CHANGES, INVALIDATED, PARKED, LogStore, Message, Outgoing, Place, topics
from orderctl.stores.record import Entry
from orderctl.stores.sqlite.log import open_embedded_log
from tests.contract.cache_harness import GROUPS, CacheSuite, orders_of
from tests.contract.cache_sqlite_harness import SqliteCacheHarness

RECORD_TTL_MS = 3_600_000


class Faulty:
    """A store whose `at`-th call fails, once: before it does anything, or after it has done all of it (the reply was lost)."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.calls: list[str] = []
        self.at: int | None = None
        self.after = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            fails = len(self.calls) - 1 == self.at
            if fails and not self.after:
                raise TierUnavailable("faulty")
            result = method(*args, **kwargs)
            if fails:
                raise TierUnavailable("faulty")
            return result

        return call


class Following:
    """One cache and one log; `committed` is what the group of processes has committed.

    `cache` and `log` are what the processes get; the tests themselves use `store` and `broker`.
    """

    def __init__(self, harness: SqliteCacheHarness, log: LogStore) -> None:
        self.harness = harness
        self.clock = harness.clock
        self.store: CacheStore = harness.open()
        self.cache = Faulty(self.store)
        self.broker = log
        self.log = Faulty(log)
        self.metrics = Metrics(CollectorRegistry())
        self.committed = dict.fromkeys((Place(CHANGES, group) for group in range(GROUPS)), 0)

    def process(self, cache: Any = None) -> CacheSync:
        """A process that takes every partition at the last commit."""
        process = CacheSync(
            cache or self.cache,
            self.log,
            groups=GROUPS,
            clock=self.clock,
            metrics=self.metrics,
            record_ttl_ms=RECORD_TTL_MS,
        )
        for place, offset in self.committed.items():
            process.take(place, offset)
        return process

    def publish(self, *messages: Outgoing) -> None:
        """Put messages into the log."""
        self.broker.publish(messages)

    def poll(self) -> list[Message]:
        """All that comes after the last commit."""
        return [message for place, at in self.committed.items() for message in self.broker.read(place, at, 1_000)]

    def follow(self, process: CacheSync) -> dict[Place, int]:
        """Poll, apply, commit; returns what was committed."""
        done = process.apply(self.poll())
        self.committed |= done
        return done

    def cached_orders(self, group: int, count: int) -> list[Order]:
        """New orders of one group, each with a record in the cache."""
        orders = orders_of(group, count)
        CacheSuite().make_record(self.store, *orders)
        return orders

    def entry(self, order: Order) -> Entry | None:
        """What the cache holds for the order."""
        return self.store.get([order.order_id])[0]

    def parked(self) -> list[Parked]:
        """What was put aside, by partition."""
        places = [Place(PARKED, group) for group in range(GROUPS)]
        messages = [message for place in places for message in self.broker.read(place, 0, 1_000)]
        return [msgspec.json.decode(message.value, type=Parked) for message in messages]

    def announced(self) -> set[str | int]:
        """What processes were told to forget: orders by their ids, and groups by their numbers."""
        places = [Place(INVALIDATED, group) for group in range(GROUPS)]
        messages = [message for place in places for message in self.broker.read(place, 0, 1_000)]
        asked = [read(message, GROUPS) for message in messages]
        return {each.order_id if isinstance(each, OrderInvalidated) else each.group for each in asked}

    def counted(self, name: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"orderctl_{name}") or 0.0


@contextmanager
def open_following() -> Iterator[Following]:
    """A cache whose groups are all followed from the log's beginning on."""
    harness = SqliteCacheHarness(None)
    log = open_embedded_log(None, clock=harness.clock)
    try:
        log.ensure_topics(topics(groups=GROUPS, shards=1))
        following = Following(harness, log)
        for group in range(GROUPS):
            following.store.reset_group(group, mark=0)
        yield following
    finally:
        log.close()
        harness.close()


def value_of(order: Order, op: Op = Op.UPDATE, *, committed_us: int = 0) -> bytes:
    """A change event's bytes."""
    before, after = (order, None) if op is Op.DELETE else (None, order)
    return event.encode(ChangeEvent(before, after, op, Source("s", "p", committed_us)))


def message_of(order: Order, op: Op = Op.UPDATE, *, committed_us: int = 0) -> Outgoing:
    """A change as the pump publishes it."""
    place = Place(CHANGES, group_of(order.order_id, GROUPS))
    return Outgoing(place, order.order_id.encode(), value_of(order, op, committed_us=committed_us))
