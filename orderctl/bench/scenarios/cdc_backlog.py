"""cdc with a backlog of row changes, 500 a transaction: from the binlog to Kafka."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Final

from orderctl.bench.events import messages_of
from orderctl.bench.following import start_at
from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure, apart, measured
from orderctl.bench.orders import create_all, drafts_of, final_orders, new_orders
from orderctl.bench.own_log import OwnLog, own_log
from orderctl.bench.raw_kafka import publish_raw
from orderctl.bench.raw_mysql import end_of_binlog
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.clock import SystemClock
from orderctl.services.pump import Pump
from orderctl.stores.hot import Draft, HotStore
from orderctl.stores.log import CHANGES

DISTINCT_MAX: Final = 20_000
"""Messages that the ceiling has in memory, and publishes again and again."""
CEILING: Final = "the same producer publishing as many such messages from memory"
WAIT_S: Final = 1.0
IDLE_STEPS_MAX: Final = 60


@contextmanager
def backlog(
    ground: Ground, size: int, *, name: str, write: Callable[[HotStore, Sequence[Draft]], None]
) -> Iterator[Runs]:
    """A backlog of orders that `write` made, `name`d as no others are. Each run reads the same part of the binlog again."""
    clock = SystemClock()
    begin = end_of_binlog(ground.config)
    with ground.opened() as tiers:
        write(tiers.hot, drafts_of(new_orders(f"{name}{size}", size), clock))
    orders = final_orders(ground.name, min(size, DISTINCT_MAX), clock)
    prefix = f"{ground.name}.cdc"
    with own_log(ground, prefix) as log:
        messages = messages_of(orders, log.name(CHANGES), groups=ground.groups, clock=clock)
        yield Runs(
            partial(apart, pump, ground, prefix, begin, size),
            partial(apart, publish_raw, ground.config, messages, size),
        )


def pump(ground: Ground, prefix: str, begin: str, size: int) -> Measure:
    """Pump until the backlog is published."""
    clock = SystemClock()
    with ground.opened() as tiers, closing(OwnLog(ground.config, prefix)) as log:
        (feed,) = tiers.feeds
        start_at(log, feed.shard, begin)
        pumping = Pump(feed, log, partition=0, groups=ground.groups, clock=clock)

        def work() -> int:
            done = idle = 0
            while done < size and idle < IDLE_STEPS_MAX:
                published = pumping.step(WAIT_S)
                done, idle = done + published, 0 if published else idle + 1
            return done

        try:
            return measured(work)
        finally:
            pumping.close()


SCENARIO = Scenario(
    name="cdc-backlog",
    idea=idea_of(__doc__),
    unit="changes",
    ceiling=CEILING,
    goal=None,
    where=Where.REAL,
    full=200_000,
    smoke=1_000,
    prepare=partial(backlog, name="c", write=create_all),
)
