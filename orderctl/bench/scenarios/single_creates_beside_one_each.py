"""Creations of one order each over 256 connections, beside a transaction for each order, without HTTP."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry

from orderctl.bench.ground import Ground
from orderctl.bench.load import Load, request_bytes
from orderctl.bench.measuring import Measure, apart, measured
from orderctl.bench.orders import MERCHANT, new_orders
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.bench.scenarios.single_creates import CONNECTIONS
from orderctl.bench.serving import key_on, measure_http, served
from orderctl.clock import SystemClock
from orderctl.errors import OrderctlError
from orderctl.metrics import Metrics
from orderctl.services.answers import Stored
from orderctl.services.command import CommandService, CommandSettings, CreateRequest
from orderctl.stores.tiers import Tiers

WRITERS: Final = 32
"""Threads with a transaction each: as many flushes as may be shared by the database's own group commit."""


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """Both sides write the same orders to the database and to the cache, by the same service."""
    key, runs = key_on(ground, MERCHANT), count()
    with served(ground, "command") as command:

        def real() -> Measure:
            news = new_orders(f"t{next(runs)}", size)
            requests = [request_bytes("POST", "/v1/orders", key, msgspec.json.encode(new)) for new in news]
            load = Load(url=command.url, requests=requests, total=size, connections=min(CONNECTIONS, size))
            return measure_http(command, load, expected=201)

        def peer() -> Measure:
            return apart(create_one_each, ground, f"t{next(runs)}", size)

        yield Runs(real, peer)


def create_one_each(ground: Ground, run: str, size: int) -> Measure:
    """Create each in a transaction of its own, `WRITERS` at a time.

    Raises:
        OrderctlError: not every one was stored.

    """
    requests = [CreateRequest(MERCHANT, new) for new in new_orders(run, size)]
    with ground.opened() as tiers, ThreadPoolExecutor(WRITERS) as hands, ThreadPoolExecutor(WRITERS) as caching:
        service = _service(tiers, caching)

        def work() -> int:
            answers = hands.map(lambda request: service.create([request]), requests)
            return sum(isinstance(answer, Stored) for [answer] in answers)

        tiers.hot.count_open()
        measure = measured(work)
    if measure.units < size:
        raise OrderctlError(f"of {size:,} orders {size - measure.units:,} were not stored")
    return measure


def _service(tiers: Tiers, executor: Executor) -> CommandService:
    return CommandService(
        tiers.hot,
        tiers.cache,
        tiers.archive,
        tiers.late,
        clock=SystemClock(),
        random=os.urandom,
        executor=executor,
        metrics=Metrics(CollectorRegistry()),
        settings=CommandSettings(),
    )


SCENARIO = Scenario(
    name="single-creates-beside-one-each",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling=f"the same service, called by {WRITERS} threads with one order each: no HTTP, and a transaction an order",
    goal=10,
    where=Where.REAL,
    full=20_000,
    smoke=512,
    prepare=prepare,
    if_named=True,
)
