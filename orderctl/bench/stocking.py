"""Fills the tiers before anything is measured: so many orders in the hot store, in the archive and in the cache.

The servers' own fast ways, with what the daemons would have left there: thousands of rows a statement in the order of their keys,
records with times to live and timers as a deployment has them. The archive's references are left out: nobody asks for them here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from random import Random
from typing import Final

from msgspec import Struct
from redis.connection import Connection

from orderctl.bench.following import have_marks
from orderctl.bench.ground import Ground
from orderctl.bench.orders import MERCHANT, batches, fill_all
from orderctl.bench.population import Population, final_population, open_population
from orderctl.bench.raw_cassandra import fill_orders
from orderctl.bench.raw_redis import Command, owners_of
from orderctl.errors import OrderctlError, TierRejected
from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.stores.hot import Draft
from orderctl.stores.mysql_driver import connect, drop, send
from orderctl.stores.mysql_hot import server_of
from orderctl.stores.record import NO_TIMER, encode_record, record_of
from orderctl.stores.redis import entry_key, group_keys, timer_key
from orderctl.stores.rows import id_bytes
from orderctl.stores.tiers import Tiers

TTL_MS: Final = 6 * 3_600_000
"""Longer than anything here takes; in the end the records are taken away."""
ROWS: Final = 2_000
TRANSACTION: Final = 10_000
RECORDS: Final = 5_000
ARCHIVED: Final = 20_000
LATE_MIN: Final = 3
"""A list of timers outlives its minute by so many, see `lua/timer.lua`."""
SAMPLE: Final = 5_000


class Stock(Struct, frozen=True, kw_only=True):
    """What is stored: `hot` open orders and `archive` final ones, the first `cached` of each in the cache, too.

    Those of the hot store from `fresh` on were not there at the size before.
    """

    open_orders: Population
    final_orders: Population
    hot: int = 0
    archive: int = 0
    cached: int = 0
    fresh: int = 0


def nothing_stored(ground: Ground, now_ms: int) -> Stock:
    """Where filling begins."""
    name = f"g{ground.name[-8:]}"
    return Stock(open_orders=open_population(name, now_ms), final_orders=final_population(name, now_ms))


def cached_of(size: int, cache_max: int) -> int:
    """How many open orders, and as many final ones, have a record where `size` are stored in each tier."""
    return min(size, cache_max) // 2


def stock_up(ground: Ground, before: Stock, size: int, *, cache_max: int, tell: Callable[[str], None]) -> Stock:
    """Store what is missing to `size` orders in each tier, in the cache at most `cache_max`: half of them open, half final.

    Raises:
        OrderctlError: the cache has not kept what was put there.

    """
    cached = cached_of(size, cache_max)
    new_open, new_final = range(before.hot, size), range(before.archive, size)
    with ground.opened() as tiers:
        # A group without a mark is dropped when it gets one.
        have_marks(tiers.cache, ground.groups)
        tell(f"storing {len(new_open):,} open orders in the hot store")
        (_insert if ground.is_real else _create)(ground, tiers, before.open_orders, new_open)
        tell(f"storing {len(new_final):,} final orders in the archive")
        if ground.is_real:
            fill_orders(ground.config, before.final_orders.orders(new_final, ARCHIVED))
        else:
            for orders in before.final_orders.orders(new_final, ARCHIVED):
                tiers.archive.write(orders)
        numbers = range(before.cached, cached)
        tell(f"storing {2 * len(numbers):,} records in the cache")
        for population in (before.open_orders, before.final_orders):
            (_set if ground.is_real else _fill)(ground, tiers, population, numbers)
        stock = Stock(
            open_orders=before.open_orders,
            final_orders=before.final_orders,
            hot=size,
            archive=size,
            cached=cached,
            fresh=before.hot,
        )
        check_cached(tiers, stock)
    return stock


def forget(ground: Ground, stock: Stock, *, cached: int) -> None:
    """Take the records of the first `cached` of each, and their timers, out of the cache; all else goes with the ground."""
    if not ground.is_real:
        return
    for population in (stock.open_orders, stock.final_orders):
        for ids in batches(range(cached), RECORDS):
            order_ids = [population.order_id(number) for number in ids]
            _send(ground, [(group_of(one, ground.groups), _unlink(one, ground.groups)) for one in order_ids])
    deadlines_ms = [stock.open_orders.order(number).deadline_at // 1_000 for number in (0, cached)]
    minutes = range(deadlines_ms[0] // 60_000, deadlines_ms[1] // 60_000 + 1)
    lists = [["UNLINK", *(f"{group_keys(group)[1]}{one}" for one in minutes)] for group in range(ground.groups)]
    _send(ground, list(enumerate(lists)))


def _insert(ground: Ground, _tiers: Tiers, population: Population, numbers: range) -> None:
    """Rows, by multi-row INSERTs in the order of both tables' keys."""
    (shard,) = ground.config.mysql.shards
    connection = connect(server_of(shard))
    digest = f"0x{population.digest.hex()}"
    try:
        for orders in population.orders(numbers, TRANSACTION):
            send(connection, "BEGIN")
            for part in batches(orders, ROWS):
                send(connection, f"INSERT INTO orders VALUES {','.join(map(_row, part))}")  # noqa: S608  our own values
            by_reference = sorted(orders, key=lambda order: order.merchant_ref)
            for part in batches(by_reference, ROWS):
                rows = (f"('{MERCHANT}','{one.merchant_ref}',{_hex(one)},{digest},NULL)" for one in part)
                send(connection, f"INSERT INTO order_refs VALUES {','.join(rows)}")  # noqa: S608  our own values
            send(connection, "COMMIT")
        # What the optimizer knows of a table is otherwise of some moment while it was filled.
        send(connection, "ANALYZE TABLE orders, order_refs")
    finally:
        drop(connection)


def _row(order: Order) -> str:
    return (
        f"({_hex(order)},'{order.merchant_id}','{order.merchant_ref}',{order.amount},'{order.currency}',"
        f"'{order.payment_method}','{order.metadata}','{order.status}',NULL,{order.version},"
        f"{order.created_at},{order.updated_at},{order.deadline_at})"
    )


def _hex(order: Order) -> str:
    return f"0x{id_bytes(order.order_id).hex()}"


def _create(_ground: Ground, tiers: Tiers, population: Population, numbers: range) -> None:
    """The same in the embedded store, by its own way."""
    for orders in population.orders(numbers, ROWS):
        tiers.hot.create([Draft(order, population.digest) for order in orders])


def _set(ground: Ground, _tiers: Tiers, population: Population, numbers: range) -> None:
    """Records, timers and the lists of timers, sent to every node before any answer is waited for."""
    for orders in population.orders(numbers, RECORDS):
        _send(
            ground,
            [
                (group_of(order.order_id, ground.groups), command)
                for order in orders
                for command in _kept(order, ground)
            ],
        )


def _kept(order: Order, ground: Ground) -> Iterator[Command]:
    """What makes Redis hold an order as it would after its creation, or after its end."""
    groups, record = ground.groups, record_of(order)
    yield ["SET", entry_key(order.order_id, groups), encode_record(record), "PX", TTL_MS]
    at_ms = record.timer_at_ms
    if order.status is Status.PENDING and at_ms != NO_TIMER:
        list_ = f"{group_keys(group_of(order.order_id, groups))[1]}{at_ms // 60_000}"
        yield ["SET", timer_key(order.order_id, groups), b"", "PXAT", at_ms]
        yield ["ZADD", list_, at_ms, order.order_id]
        yield ["PEXPIREAT", list_, (at_ms // 60_000 + LATE_MIN) * 60_000]


def _unlink(order_id: str, groups: int) -> Command:
    return ["UNLINK", entry_key(order_id, groups), timer_key(order_id, groups)]


def _send(ground: Ground, commands: Sequence[tuple[int, Command]]) -> None:
    """Commands, each by the group whose node takes it.

    Raises:
        TierRejected: a node refused one.

    """
    with ExitStack() as stack:
        owners = owners_of(ground.config, stack)
        by_node: defaultdict[Connection, list[Command]] = defaultdict(list)
        for group, command in commands:
            by_node[owners[group]].append(command)
        for node, sent in by_node.items():
            node.send_packed_command(node.pack_commands(sent))  # type: ignore[no-untyped-call]
        for node, sent in by_node.items():
            for _ in sent:
                answer = node.read_response()
                if isinstance(answer, Exception):
                    raise TierRejected("cache", str(answer))


def _fill(_ground: Ground, tiers: Tiers, population: Population, numbers: range) -> None:
    """The same in the embedded store, by its own way."""
    for orders in population.orders(numbers, ROWS):
        fill_all(tiers.cache, orders, ttl_ms=TTL_MS)


def check_cached(tiers: Tiers, stock: Stock) -> None:
    """Look for a sample of the records.

    Raises:
        OrderctlError: the cache does not hold all of it.

    """
    random, found, asked = Random(stock.cached), 0, 0  # noqa: S311  a sample
    for population in (stock.open_orders, stock.final_orders):
        for numbers in batches(random.choices(range(stock.cached), k=min(SAMPLE, stock.cached))):
            entries = tiers.cache.get([population.order_id(number) for number in numbers])
            found, asked = found + len(entries) - entries.count(None), asked + len(entries)
    if found < asked:
        raise OrderctlError(
            f"of {asked:,} records that were put into the cache it holds {found:,}: it has evicted the others",
            hint="raise Redis' maxmemory, or store fewer there (--cache-max)",
        )
