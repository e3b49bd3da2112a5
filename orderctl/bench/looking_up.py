"""What the look-up scenarios share: a query server whose cache is full, and requests for what is in it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec
from msgspec import structs

from orderctl.bench.ground import Ground
from orderctl.bench.load import Load, request_bytes
from orderctl.bench.measuring import Measure
from orderctl.bench.orders import MERCHANT, batches, fill_all, final_orders
from orderctl.bench.scenario import Runs
from orderctl.bench.serving import Target, constant, key_on, measure_http, paced, served
from orderctl.clock import SystemClock
from orderctl.errors import OrderctlError
from orderctl.order import Order

STORED: Final = 20_000
TTL_MS: Final = 600_000
CONNECTIONS: Final = 64
LOADS: Final = "orderctl_loads_total"
BATCH_CONNECTIONS: Final = 4
NO_MEMORY: Final = {"ORDERCTL_QUERY__NEAR_ORDERS_MAX": "0", "ORDERCTL_QUERY__NEAR_TTL_MS": "0"}
"""Settings of a server that asks the cache each time."""


def stored(ground: Ground, count: int) -> list[Order]:
    """Final orders, in the cache, and in the archive: a record that Redis loses is loaded, and counted, and no 404."""
    orders = final_orders(ground.name, count, SystemClock())
    with ground.opened() as tiers:
        for batch in batches(orders):
            tiers.archive.write(batch)
        fill_all(tiers.cache, orders, ttl_ms=TTL_MS)
    return orders


@contextmanager
def single(ground: Ground, size: int, *, from_memory: bool) -> Iterator[Runs]:
    """Look-ups of one order each, beside a constant of the same size."""
    orders = stored(ground, min(size, STORED))
    key = key_on(ground, MERCHANT)
    requests = [request_bytes("GET", f"/v1/orders/{order.order_id}", key) for order in orders]
    with served(ground, "query", {} if from_memory else NO_MEMORY) as query:
        body = fetch(query.url, requests[0])
        with constant(body, http=ground.config.http) as fixed:
            warm(query, requests, CONNECTIONS, from_memory=from_memory)
            yield Runs(
                partial(_run, query, requests, size, CONNECTIONS, 1),
                partial(_run, fixed, requests, size, CONNECTIONS, 1),
            )


@contextmanager
def batch_server(ground: Ground, orders: Sequence[Order], *, from_memory: bool) -> Iterator[tuple[Target, list[bytes]]]:
    """A query server that has answered each of the batches that it will be asked for."""
    key = key_on(ground, MERCHANT)
    requests = [
        request_bytes(
            "POST", "/v1/orders/lookup", key, msgspec.json.encode({"order_ids": [order.order_id for order in batch]})
        )
        for batch in batches(orders)
    ]
    with served(ground, "query", {} if from_memory else NO_MEMORY) as query:
        warm(query, requests, BATCH_CONNECTIONS, from_memory=from_memory)
        yield query, requests


def run_batches(target: Target, requests: Sequence[bytes], size: int, per_request: int) -> Measure:
    """Look up `size` orders, so many a request."""
    return _run(target, requests, max(1, size // per_request), BATCH_CONNECTIONS, per_request)


def warm(query: Target, requests: Sequence[bytes], connections: int, *, from_memory: bool) -> None:
    """Ask for everything, until process memory answers, or once.

    Raises:
        OrderctlError: it never does: what would be measured is the cache.

    """
    load = Load(url=query.url, requests=requests, total=len(requests), connections=connections)
    hits = 'orderctl_near_reads_total{outcome="hit"}'
    for _ in range(30):
        before = query.metric(hits)
        measure_http(query, load)
        if not from_memory or query.metric(hits) > before:
            return
    raise OrderctlError("the query server does not answer from its memory: is the log there?")


def fetch(url: str, request: bytes) -> bytes:
    """The body that a prepared request is answered by."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    asked = urllib.request.Request(url + target, body or None, headers, method=method)  # noqa: S310  our own server
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
        found: bytes = answer.read()
    return found


def _run(target: Target, requests: Sequence[bytes], total: int, connections: int, units: int) -> Measure:
    load = Load(url=target.url, requests=requests, total=total, connections=min(connections, total))
    if target.admin is None:
        return paced(measure_http(target, load, units=units), load, units=units)
    before = target.metric(LOADS)
    measure = measure_http(target, load, units=units)
    loaded = target.metric(LOADS) - before
    measure = paced(measure, load, units=units)
    return structs.replace(measure, facts=measure.facts | {"loaded": loaded})
