"""Creations of one order each over 256 connections, gathered into transactions by the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

import msgspec

from orderctl.bench.ground import Ground
from orderctl.bench.load import Load, request_bytes
from orderctl.bench.looking_up import fetch
from orderctl.bench.measuring import Measure
from orderctl.bench.orders import MERCHANT, new_orders
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.bench.serving import constant, key_on, measure_http, paced, served

CONNECTIONS: Final = 256
TRANSACTIONS: Final = 'orderctl_transactions_total{tier="mysql"}'


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """The transactions are those that the server counts."""
    key, runs = key_on(ground, MERCHANT), count()

    def load(url: str) -> Load:
        run = f"s{next(runs)}"
        requests = [request_bytes("POST", "/v1/orders", key, msgspec.json.encode(new)) for new in new_orders(run, size)]
        return Load(url=url, requests=requests, total=size, connections=min(CONNECTIONS, size))

    with served(ground, "command") as command:
        first = load(command.url).requests[0]
        body = fetch(command.url, first)
        with constant(body, status=201, http=ground.config.http) as fixed:

            def real() -> Measure:
                before = command.metric(TRANSACTIONS)
                measure = measure_http(command, load(command.url), expected=201)
                transactions = command.metric(TRANSACTIONS) - before
                facts = {"transactions": transactions, "orders_a_transaction": round(size / max(1, transactions), 1)}
                measure = msgspec.structs.replace(measure, facts=measure.facts | facts)
                return paced(measure, load(command.url), expected=201)

            def ceiling() -> Measure:
                return paced(measure_http(fixed, load(fixed.url), expected=201), load(fixed.url), expected=201)

            yield Runs(real, ceiling)


SCENARIO = Scenario(
    name="single-creates",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling="the same HTTP server answering a constant to the same POST",
    goal=0.7,
    where=Where.ANY,
    full=20_000,
    smoke=512,
    prepare=prepare,
)
