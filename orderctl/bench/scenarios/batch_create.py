"""Creations of 500 orders a request over HTTP, durable in MySQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Final

import msgspec

from orderctl.bench.ground import Ground
from orderctl.bench.load import Load, request_bytes
from orderctl.bench.measuring import Measure, apart
from orderctl.bench.orders import BATCH, MERCHANT, batches, new_orders
from orderctl.bench.raw_mysql import insert_raw
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.bench.serving import key_on, measure_http, paced, served
from orderctl.order import NewOrder

CONNECTIONS: Final = 2
"""One batch is read and checked while another is committed."""


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """Each run has references of its own, since none may come twice."""
    key, runs = key_on(ground, MERCHANT), count()
    requests = max(1, size // BATCH)

    def make() -> list[NewOrder]:
        return new_orders(f"b{next(runs)}", requests * BATCH)

    with served(ground, "command") as command:

        def load() -> Load:
            bodies = [_request(key, batch) for batch in batches(make())]
            return Load(url=command.url, requests=bodies, total=requests, connections=min(CONNECTIONS, requests))

        def real() -> Measure:
            return paced(measure_http(command, load(), units=BATCH), load(), units=BATCH)

        yield Runs(real, lambda: apart(insert_raw, ground.config, make()))


def _request(key: str, news: Sequence[NewOrder]) -> bytes:
    return request_bytes("POST", "/v1/orders/batch", key, msgspec.json.encode({"orders": news}))


SCENARIO = Scenario(
    name="batch-create",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling="multi-row INSERTs of the same rows into the same tables, 500 a transaction, one connection",
    goal=0.7,
    where=Where.REAL,
    full=50_000,
    smoke=1_000,
    prepare=prepare,
)
