"""cache-sync with a backlog of events in all groups: from Kafka to the records in Redis."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from typing import Final

from prometheus_client import CollectorRegistry

from orderctl.bench.events import messages_of
from orderctl.bench.following import have_marks
from orderctl.bench.ground import Ground
from orderctl.bench.looking_up import TTL_MS
from orderctl.bench.measuring import Measure, apart, measured
from orderctl.bench.orders import batches, fill_all, final_orders
from orderctl.bench.own_log import OwnLog, own_log
from orderctl.bench.raw_redis import apply_raw
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.clock import SystemClock
from orderctl.daemons.cache_sync import BATCH
from orderctl.daemons.garbage import collecting_rarely
from orderctl.errors import OrderctlError
from orderctl.ids import group_of
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.cache_sync import CacheSync
from orderctl.services.consumer import Consumer
from orderctl.stores.cache import Put
from orderctl.stores.log import CHANGES
from orderctl.stores.record import record_of

CALL: Final = 1_000
"""Records that a call of the ceiling takes."""
PUBLISH_BATCH: Final = 5_000
JOIN_STEPS_MAX: Final = 120
DISTINCT_MAX: Final = 20_000


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """Every order of the backlog has a record, so that each event costs what it can. Each run is a group of its own.

    The backlog is larger by a batch, which may come with the joining, and is not measured.
    """
    clock, runs = SystemClock(), count()
    orders = final_orders(ground.name, min(size, DISTINCT_MAX), clock)
    one_group = _of_one_group(ground, size)
    puts = [Put(record_of(order), TTL_MS) for order in one_group]
    prefix = f"{ground.name}.sync"
    with own_log(ground, prefix) as log, ground.opened() as tiers:
        have_marks(tiers.cache, ground.groups)
        fill_all(tiers.cache, [*orders, *one_group], ttl_ms=TTL_MS)
        messages = messages_of(orders, CHANGES, groups=ground.groups, clock=clock)
        for _ in range(-(-(size + BATCH) // len(messages))):
            for batch in batches(messages, PUBLISH_BATCH):
                log.publish(batch)
        yield Runs(
            lambda: apart(sync, ground, prefix, f"{prefix}.{next(runs)}", size),
            partial(apart, apply_raw, ground.config, puts, size, CALL),
        )


def sync(ground: Ground, prefix: str, group: str, size: int) -> Measure:
    """Join, and only then measure: apply so many events of the backlog."""
    clock, metrics = SystemClock(), Metrics(CollectorRegistry())
    with ground.opened() as tiers, closing(OwnLog(ground.config, prefix)) as log, collecting_rarely():
        applying = CacheSync(tiers.cache, log, groups=ground.groups, clock=clock, metrics=metrics, record_ttl_ms=TTL_MS)
        with closing(Consumer(log, group, [CHANGES], instance=None, batch=BATCH)) as consumer:
            done = _joined(consumer, applying)

            def work() -> int:
                begin, now, idle = done, done, 0
                while now - begin < size and idle < JOIN_STEPS_MAX:
                    applied = consumer.step(applying.apply, 0.25)
                    now, idle = now + applied, 0 if applied else idle + 1
                return now - begin

            measure = measured(work)
            if parked := metrics.registry.get_sample_value("orderctl_parked_total"):
                raise OrderctlError(f"{parked:,.0f} events were parked instead of applied")
            return measure


def _of_one_group(ground: Ground, size: int) -> list[Order]:
    """As many as a call of the ceiling takes, or as a small run has."""
    some = final_orders(f"{ground.name}-one", min(size, ground.groups * CALL), SystemClock())
    group = group_of(some[0].order_id, ground.groups)
    return [order for order in some if group_of(order.order_id, ground.groups) == group]


def _joined(consumer: Consumer, applying: CacheSync) -> int:
    """Step until something comes; returns how much that was."""
    for _ in range(JOIN_STEPS_MAX):
        if done := consumer.step(applying.apply, 0.25):
            return done
    return 0


SCENARIO = Scenario(
    name="cache-sync-backlog",
    idea=idea_of(__doc__),
    unit="events",
    ceiling="the same script called for one group, 1 000 records a call, on one connection",
    goal=0.7,
    where=Where.REAL,
    full=200_000,
    smoke=4_000,
    prepare=prepare,
)
