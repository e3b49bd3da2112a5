"""Invalidations through a real broker: from the publishing to the copy's end, while others publish as well."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median, quantiles

import pytest
from prometheus_client import CollectorRegistry

from orderctl.clock import SystemClock
from orderctl.daemons.loop import Loop
from orderctl.ids import new_order_id
from orderctl.metrics import Metrics
from orderctl.order import Status
from orderctl.services.invalidation import Follower, publish_groups, publish_orders
from orderctl.services.near import NearCache
from orderctl.stores.kafka import KafkaLogStore
from orderctl.stores.kafka_driver import KafkaCluster
from orderctl.stores.log import INVALIDATED, topics
from orderctl.stores.record import NO_TIMER, Record
from tests.contract.log_harness import PATIENCE_S
from tests.stack import RunningStack, needs

pytestmark = needs("kafka")

ROUNDS = 30
DROPPED_WITHIN_S = 1.0
"""Of nineteen in twenty: a single one may have to wait until the machine has time."""


class Process:
    """One process's memory, and the thread that follows the log for it."""

    def __init__(self, log: KafkaLogStore, groups: int) -> None:
        clock, metrics = SystemClock(), Metrics(CollectorRegistry())
        self.near = NearCache(
            groups=groups, orders_max=1_000, bytes_max=1 << 20, open_ttl_s=0.05, clock=clock, metrics=metrics
        )
        follower = Follower(log, self.near, groups=groups, clock=clock, metrics=metrics)
        self._loop = Loop(follower, clock=clock, random=os.urandom, metrics=metrics)
        self._thread = threading.Thread(target=self._loop.run)
        self._thread.start()

    def keep(self, order_id: str) -> bool:
        """Put a final order in; whether it is there then."""
        record = Record(order_id, 1, Status.SUCCESS, bytes(16), b"{}", NO_TIMER)
        self.near.put_many(self.near.begin([order_id]), [record])
        return self.has(order_id)

    def has(self, order_id: str) -> bool:
        """Whether it would be answered from memory."""
        return not self.has_not(order_id)

    def has_not(self, order_id: str) -> bool:
        """Whether it would not."""
        return self.near.get_many([order_id]) == [None]

    def stop(self) -> None:
        """Stop following."""
        self._loop.stop()
        self._thread.join(PATIENCE_S)


class Deployment:
    """The topics, a log for those who publish, and two processes that follow."""

    def __init__(self, stack: RunningStack) -> None:
        self.groups = stack.config.deployment.groups
        self.cluster = KafkaCluster(brokers=stack.config.kafka.brokers, replicas=1)
        self.log = KafkaLogStore(self.cluster, clock=SystemClock())
        self.log.ensure_topics([each for each in topics(groups=self.groups, shards=1) if each.name == INVALIDATED])
        self.logs = [KafkaLogStore(self.cluster, clock=SystemClock()) for _ in range(2)]
        self.processes = [Process(log, self.groups) for log in self.logs]

    def order_id(self, group: int) -> str:
        """A new order's."""
        return new_order_id(time.time_ns() // 1_000_000, group, os.urandom)

    def keep_everywhere(self, order_id: str) -> None:
        """Have it in each memory. Others may be using the topic: what they invalidate is put in again."""
        for process in self.processes:
            wait_for(partial(process.keep, order_id))

    def wait_until_forgotten(self, order_id: str) -> list[float]:
        """How long that takes from now on, in each process."""
        return [wait_for(partial(process.has_not, order_id)) for process in self.processes]

    def close(self) -> None:
        """End all of it."""
        for process in self.processes:
            process.stop()
        for log in (*self.logs, self.log):
            log.close()


@pytest.fixture
def deployment(stack: RunningStack) -> Iterator[Deployment]:
    """On the broker that the tests share."""
    deployment = Deployment(stack)
    yield deployment
    deployment.close()


def wait_for(is_done: Callable[[], bool]) -> float:
    """Wait until it is true; returns how long that took."""
    started_s = time.monotonic()
    while not is_done():
        assert time.monotonic() - started_s < PATIENCE_S, "it did not come true in time"
        threading.Event().wait(0.001)
    return time.monotonic() - started_s


def test_copies_are_dropped_within_a_second(
    deployment: Deployment, record_property: Callable[[str, object], None]
) -> None:
    """Of publishing, in every process, be it an order or its whole group; and what is asked for then is kept again."""
    took_s: list[float] = []
    for number in range(ROUNDS):
        group = number % deployment.groups
        order_id = deployment.order_id(group)
        deployment.keep_everywhere(order_id)
        if number % 3:
            publish_orders(deployment.log, [order_id], deployment.groups)
        else:
            publish_groups(deployment.log, [group])
        took_s += deployment.wait_until_forgotten(order_id)
    assert quantiles(took_s, n=20)[-1] < DROPPED_WITHIN_S
    record_property("dropped_after_ms", {"p50": median(took_s) * 1000, "max": max(took_s) * 1000})


def test_a_flood_is_followed(deployment: Deployment, record_property: Callable[[str, object], None]) -> None:
    """Twenty thousand orders at once: the last of them is forgotten too, when it was acknowledged."""
    order_ids = [deployment.order_id(number % deployment.groups) for number in range(20_000)]
    last = deployment.order_id(0)
    deployment.keep_everywhere(last)
    publish_orders(deployment.log, [*order_ids, last], deployment.groups)
    took_s = deployment.wait_until_forgotten(last)
    record_property("last_dropped_after_ms", max(took_s) * 1000)


def test_topics_of_an_older_deployment_are_added_to(stack: RunningStack) -> None:
    """What it has stays as it is; what it lacks is named, and then made."""
    log = KafkaLogStore(KafkaCluster(brokers=stack.config.kafka.brokers, replicas=1), clock=SystemClock())
    token = os.urandom(6).hex()
    wanted = [type(each)(f"{each.name}-{token}", 2) for each in topics(groups=2, shards=2)]
    old, new = wanted[:1], wanted[1:]
    log.ensure_topics(old)
    assert log.missing_topics(wanted) == [each.name for each in new]
    assert log.ensure_topics(wanted) == [each.name for each in new]
    assert log.missing_topics(wanted) == []
    log.close()
