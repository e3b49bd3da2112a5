"""Look-ups of 500 orders a request over HTTP, answered from process memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from orderctl.bench.ground import Ground
from orderctl.bench.looking_up import STORED, batch_server, fetch, run_batches, stored
from orderctl.bench.orders import BATCH
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.bench.serving import constant


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """A server that has it all in memory, and one that answers one such body again and again."""
    orders = stored(ground, max(BATCH, min(size, STORED)))
    with (
        batch_server(ground, orders, from_memory=True) as (query, requests),
        constant(fetch(query.url, requests[0]), http=ground.config.http) as fixed,
    ):
        yield Runs(
            partial(run_batches, query, requests, size, BATCH), partial(run_batches, fixed, requests, size, BATCH)
        )


SCENARIO = Scenario(
    name="batch-lookup-near",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling="the same HTTP server answering a constant body of the same size",
    goal=0.4,
    where=Where.ANY,
    full=500_000,
    smoke=2_000,
    prepare=prepare,
)
