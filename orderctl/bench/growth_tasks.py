"""What is measured at each size: the paths of an order, each beside stores that are already full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct, structs

from orderctl.bench.events import messages_of
from orderctl.bench.ground import Ground
from orderctl.bench.load import Load, request_bytes
from orderctl.bench.looking_up import LOADS, NO_MEMORY, fetch
from orderctl.bench.measuring import Measure, apart
from orderctl.bench.members import members_of
from orderctl.bench.orders import BATCH, MERCHANT, batches, create_all, new_orders
from orderctl.bench.own_log import own_log
from orderctl.bench.population import Picker, Population
from orderctl.bench.scenario import Run, Where
from orderctl.bench.scenarios.archiver_backlog import make_final, move
from orderctl.bench.scenarios.cdc_backlog import backlog
from orderctl.bench.serving import Target, constant, key_on, measure_http, served
from orderctl.bench.stocking import Stock
from orderctl.clock import SystemClock
from orderctl.errors import OrderctlError
from orderctl.order import Status
from orderctl.stores.log import CHANGES

DAY_S: Final = 86_400
QUERY: Final = NO_MEMORY | {"ORDERCTL_QUERY__MYSQL_FIRST_S": f"{DAY_S}s", "ORDERCTL_QUERY__LOADS_PER_S": "1000000"}
"""A server that asks the cache each time, the database that has an order of that age first, and as many as it is asked for."""
SINGLE_CONNECTIONS: Final = 32
BATCH_CONNECTIONS: Final = 2
LOAD_CONNECTIONS: Final = 1
"""More would be more than `loads_max` at a time, and answered 202."""
PUBLISH: Final = 5_000
MEMBERS: Final = (1, 4, 16)
MEMBERS_SMOKE: Final = (1, 2)


class Task(Struct, frozen=True, kw_only=True):
    """One thing that is measured at each size; `full` and `smoke` are the units of one round.

    `prepare` gives the run that a round repeats, over what is stored.
    """

    name: str
    idea: str
    unit: str
    full: int
    smoke: int
    prepare: Callable[[Ground, Stock, int], AbstractContextManager[Run]]
    where: Where = Where.ANY


@contextmanager
def _constant(ground: Ground, stock: Stock, units: int) -> Iterator[Run]:
    """Nothing here can depend on what is stored: a trend of this is the machine's."""
    key, numbers = key_on(ground, MERCHANT), Picker(range(stock.cached))
    first, *_ = requests = _lookups(key, stock.final_orders, numbers.take(BATCH)) * (units // BATCH)
    with served(ground, "query", QUERY) as query, constant(fetch(query.url, first)) as fixed:
        yield partial(_measured, fixed, requests, BATCH_CONNECTIONS, BATCH)


@contextmanager
def _single_from_cache(ground: Ground, stock: Stock, units: int) -> Iterator[Run]:
    key, numbers = key_on(ground, MERCHANT), Picker(range(stock.cached))
    with served(ground, "query", QUERY) as query:

        def run() -> Measure:
            ids = [stock.final_orders.order_id(number) for number in numbers.take(units)]
            requests = [request_bytes("GET", f"/v1/orders/{one}", key) for one in ids]
            return _looked_up(query, requests, SINGLE_CONNECTIONS, 1, loads=0)

        yield run


@contextmanager
def _batch_from_cache(ground: Ground, stock: Stock, units: int) -> Iterator[Run]:
    key, numbers = key_on(ground, MERCHANT), Picker(range(stock.cached))
    with served(ground, "query", QUERY) as query:

        def run() -> Measure:
            requests = _lookups(key, stock.final_orders, numbers.take(units))
            return _looked_up(query, requests, BATCH_CONNECTIONS, BATCH, loads=0)

        yield run


@contextmanager
def _batch_from_database(ground: Ground, stock: Stock, units: int, *, is_open: bool) -> Iterator[Run]:
    """Orders that the cache has not: each round asks for others, and the cache forgets them afterwards."""
    population = stock.open_orders if is_open else stock.final_orders
    key, numbers = key_on(ground, MERCHANT), Picker(range(stock.cached, stock.hot if is_open else stock.archive))
    with served(ground, "query", QUERY) as query, ground.opened() as tiers:

        def run() -> Measure:
            picked = numbers.take(units)
            requests = _lookups(key, population, picked)
            try:
                return _looked_up(query, requests, LOAD_CONNECTIONS, BATCH, loads=units)
            finally:
                for some in batches(picked):
                    tiers.cache.invalidate([population.order_id(number) for number in some])

        yield run


@contextmanager
def _batch_create(ground: Ground, stock: Stock, units: int) -> Iterator[Run]:
    key, runs = key_on(ground, MERCHANT), iter(range(1_000_000))
    with served(ground, "command") as command:

        def run() -> Measure:
            news = new_orders(f"b{stock.hot}.{next(runs)}", units)
            bodies = [msgspec.json.encode({"orders": some}) for some in batches(news)]
            requests = [request_bytes("POST", "/v1/orders/batch", key, body) for body in bodies]
            return _measured(command, requests, BATCH_CONNECTIONS, BATCH)

        yield run


@contextmanager
def _batch_change(ground: Ground, stock: Stock, units: int) -> Iterator[Run]:
    """Open orders begin to be processed, half or fewer of them cached; each once."""
    key, numbers = key_on(ground, None), Picker(range(stock.fresh, stock.hot))
    with served(ground, "command") as command, ground.opened() as tiers:

        def run() -> Measure:
            ids = [stock.open_orders.order_id(number) for number in numbers.take(units)]
            changes = [[{"order_id": one, "status": Status.PROCESSING} for one in some] for some in batches(ids)]
            bodies = [msgspec.json.encode({"changes": some}) for some in changes]
            requests = [request_bytes("POST", "/v1/orders/changes", key, body) for body in bodies]
            measure = _measured(command, requests, BATCH_CONNECTIONS, BATCH)
            loaded = tiers.hot.load(ids[-BATCH:])
            if not all(order is not None and order.status is Status.PROCESSING for order in loaded):
                raise OrderctlError("the command server answered, and orders are not as they were asked to be")
            return measure

        yield run


@contextmanager
def _cdc(ground: Ground, stock: Stock, units: int) -> Iterator[Run]:
    """The backlog's orders stay in the hot store."""
    with backlog(ground, units, name=f"c{stock.hot}.", write=create_all) as runs:
        yield runs.real


@contextmanager
def _cache_sync(ground: Ground, stock: Stock, units: int, *, members: int) -> Iterator[Run]:
    """Events of orders that have a record, all over the cache."""
    clock, prefix = SystemClock(), f"{ground.name}.sync{stock.hot}.{members}"
    numbers = Picker(range(stock.cached))
    with own_log(ground, prefix) as log:

        def publish() -> int:
            orders = [stock.final_orders.order(number) for number in numbers.take(units)]
            for some in batches(messages_of(orders, CHANGES, groups=ground.groups, clock=clock), PUBLISH):
                log.publish(some)
            return units

        with members_of(ground, prefix, prefix, members) as joined:
            joined.work(publish)  # the first batch of a process finds everything cold
            yield partial(joined.work, publish)


@contextmanager
def _archiver(ground: Ground, stock: Stock, units: int) -> Iterator[Run]:
    runs = iter(range(1_000_000))

    def run() -> Measure:
        make_final(ground, f"a{stock.hot}.{next(runs)}", units)
        return apart(move, ground, units)

    yield run


def _lookups(key: str, population: Population, numbers: Sequence[int]) -> list[bytes]:
    bodies = [{"order_ids": [population.order_id(number) for number in some]} for some in batches(numbers)]
    return [request_bytes("POST", "/v1/orders/lookup", key, msgspec.json.encode(body)) for body in bodies]


def _measured(target: Target, requests: Sequence[bytes], connections: int, units: int) -> Measure:
    total = len(requests)
    load = Load(url=target.url, requests=requests, total=total, connections=min(connections, total))
    return measure_http(target, load, units=units)


def _looked_up(query: Target, requests: Sequence[bytes], connections: int, units: int, *, loads: int) -> Measure:
    """Look up.

    Raises:
        OrderctlError: other orders than these were loaded from a database, so that something else was measured.

    """
    before = query.metric(LOADS)
    measure = _measured(query, requests, connections, units)
    loaded = query.metric(LOADS) - before
    if loaded != loads:
        raise OrderctlError(f"{loaded:,.0f} orders were loaded from the databases instead of {loads:,}")
    return structs.replace(measure, facts=measure.facts | {"loaded": loaded})


def tasks(*, is_real: bool, members: Sequence[int]) -> tuple[Task, ...]:
    """All that can run there; cache-sync once for each number of members."""
    found = [*_TASKS, *(_sync_task(number) for number in members)]
    return tuple(task for task in found if is_real or task.where is Where.ANY)


def _sync_task(number: int) -> Task:
    return Task(
        name=f"cache-sync-{number}",
        idea=f"A backlog of events in all groups, by cache-sync in {number} process{'es' if number > 1 else ''}.",
        unit="events",
        full=60_000,
        smoke=1_000,
        where=Where.REAL,
        prepare=partial(_cache_sync, members=number),
    )


_TASKS: Final = (
    Task(
        name="constant",
        idea="The HTTP server answering a constant: nothing stored can matter, so this is the machine's own trend.",
        unit="orders",
        full=1_000_000,
        smoke=500,
        prepare=_constant,
    ),
    Task(
        name="lookup-cache",
        idea="Single look-ups over HTTP of orders all over the cache.",
        unit="orders",
        full=3_000,
        smoke=100,
        prepare=_single_from_cache,
    ),
    Task(
        name="batch-lookup-cache",
        idea="Look-ups of 500 a request, all over the cache.",
        unit="orders",
        full=100_000,
        smoke=500,
        prepare=_batch_from_cache,
    ),
    Task(
        name="batch-lookup-hot",
        idea="Look-ups of 500 a request of open orders that only the hot store has.",
        unit="orders",
        full=8_000,
        smoke=500,
        prepare=partial(_batch_from_database, is_open=True),
    ),
    Task(
        name="batch-lookup-archive",
        idea="Look-ups of 500 a request of final orders that only the archive has.",
        unit="orders",
        full=8_000,
        smoke=500,
        prepare=partial(_batch_from_database, is_open=False),
    ),
    Task(
        name="batch-create",
        idea="Creations of 500 orders a request.",
        unit="orders",
        full=8_000,
        smoke=500,
        prepare=_batch_create,
    ),
    Task(
        name="batch-change",
        idea="Changes of 500 stored orders a request.",
        unit="orders",
        full=8_000,
        smoke=500,
        prepare=_batch_change,
    ),
    Task(
        name="cdc",
        idea="A backlog of row changes, 500 a transaction: from the binlog to the log.",
        unit="changes",
        full=20_000,
        smoke=500,
        where=Where.REAL,
        prepare=_cdc,
    ),
    Task(
        name="archiver",
        idea="Final orders to the archive, read back, compared, and removed from the hot store.",
        unit="orders",
        full=8_000,
        smoke=500,
        where=Where.ANY,
        prepare=_archiver,
    ),
)
