"""Look-ups of 500 orders a request over HTTP, answered from Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from orderctl.bench.ground import Ground
from orderctl.bench.looking_up import STORED, batch_server, run_batches, stored
from orderctl.bench.measuring import apart
from orderctl.bench.orders import BATCH
from orderctl.bench.raw_redis import get_raw
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """The same ids for both, spread over all groups."""
    orders = stored(ground, max(BATCH, min(size, STORED)))
    ids = [order.order_id for order in orders]
    with batch_server(ground, orders, from_memory=False) as (query, requests):
        yield Runs(
            partial(run_batches, query, requests, size, BATCH),
            partial(apart, get_raw, ground.config, ids, size),
        )


SCENARIO = Scenario(
    name="batch-lookup-cache",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling="redis-py with hiredis: an MGET for each group, pipelined on the nodes' own connections, no HTTP",
    goal=0.5,
    where=Where.REAL,
    full=200_000,
    smoke=2_000,
    prepare=prepare,
)
