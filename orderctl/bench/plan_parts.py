"""What each kind of machine has to do under a load: processor, memory, disk and network, each with how it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from orderctl.bench.load_wanted import WantedLoad
from orderctl.bench.rates import Rates

GIB: Final = 1 << 30
GBIT_BYTES: Final = 125_000_000
RECORD_OVERHEAD: Final = 44 + 41 + 100
"""Bytes beside an order's JSON in Redis: the header, the key, and what Redis itself needs for an entry (assumed)."""
TIMER_BYTES: Final = 140
REFERENCE_BYTES: Final = 200
"""A row of `order_refs` with its index and InnoDB's filling (assumed)."""
ROW_FACTOR: Final = 1.5
"""A row in InnoDB with its indexes and filling, by the order's JSON (assumed)."""
EVENT_FACTOR: Final = 2.0
"""A change event holds the row before and after; compressed it is smaller (assumed)."""
ARCHIVE_FACTOR: Final = 1.0
"""Both tables' rows in Cassandra, compressed, by the order's JSON (assumed); half of a disk is kept for compaction."""

Amounts = Mapping[str, tuple[float, str]]


class Demand(Struct, frozen=True):
    """What is asked of one kind of machine, by resource: how much, and the arithmetic. `unit` is what the processor's is in.

    `cores` are those of processes of ours; anything else is counted in servers, since it is one server's own rate, each of which
    has a machine for itself, unless it `is_one_core`: then as many share a machine as that has cores.

    `shares` tells among how many of them the groups are divided, None where they are not.
    """

    unit: str
    copies: int
    amounts: Amounts
    shares: Callable[[int], int] | None = None
    is_one_core: bool = False


def query_servers(load: WantedLoad, rates: Rates) -> Demand:
    """They scale out freely: no state but memory."""
    near = rates.lookup_us(from_memory=True, batch=load.lookup_batch)
    cache = rates.lookup_us(from_memory=False, batch=load.lookup_batch)
    per_order = load.near_hit * near + (1 - load.near_hit) * cache
    cores = load.lookups_per_s * per_order / 1e6 / load.utilisation
    processes = max(1.0, cores)
    return Demand(
        "cores",
        1,
        {
            "processor": (
                cores,
                (
                    f"{load.lookups_per_s:,.0f}/s x ({load.near_hit:g} x {near:,.2f} us + {1 - load.near_hit:g} x "
                    f"{cache:,.2f} us) / {load.utilisation:g}"
                ),
            ),
            "memory": (processes * rates.query_mib / 1024, f"a process a core x {rates.query_mib:,.0f} MiB"),
            "network": (
                load.lookups_per_s * load.order_bytes * (2 - load.near_hit) / GBIT_BYTES,
                f"{load.lookups_per_s:,.0f}/s x {load.order_bytes:g} B out, and in again from Redis what memory has not",
            ),
        },
    )


def command_servers(load: WantedLoad, rates: Rates) -> Demand:
    """They scale out freely."""
    requests = load.creates_per_s * (1 + load.changes_per_order)
    return Demand(
        "cores",
        1,
        {
            "processor": (
                requests * rates.create_us / 1e6 / load.utilisation,
                f"{requests:,.0f}/s x {rates.create_us:,.1f} us / {load.utilisation:g}",
            ),
            "network": (
                requests * load.order_bytes * 3 / GBIT_BYTES,
                f"{requests:,.0f}/s x {load.order_bytes:g} B in, out, and to MySQL",
            ),
        },
    )


def redis_primaries(load: WantedLoad, rates: Rates) -> Demand:
    """One Redis is one core's work, so a machine counts as one; several may share a server."""
    writes = load.creates_per_s * 2 + load.row_changes_per_s + load.creates_per_s * load.changes_per_order
    reads = load.from_cache_per_s
    live = load.creates_per_s * (load.time_to_final_s + load.record_ttl_s)
    open_orders = load.creates_per_s * load.time_to_final_s
    size = load.order_bytes + RECORD_OVERHEAD
    return Demand(
        "primaries",
        int(load.cache_copies),
        {
            "processor": (
                (reads / rates.redis_reads_per_s + writes / rates.redis_writes_per_s) / load.utilisation,
                (
                    f"({reads:,.0f}/s / {rates.redis_reads_per_s:,.0f} + {writes:,.0f}/s / "
                    f"{rates.redis_writes_per_s:,.0f}) / {load.utilisation:g}"
                ),
            ),
            "memory": (
                (live * size + open_orders * TIMER_BYTES) / GIB,
                f"{live:,.0f} records x {size:g} B + {open_orders:,.0f} timers x {TIMER_BYTES} B",
            ),
            "network": (reads * size / GBIT_BYTES, f"{reads:,.0f}/s x {size:g} B out"),
        },
        shares=int,
        is_one_core=True,
    )


def mysql_shards(load: WantedLoad, rates: Rates) -> Demand:
    """A shard's primary, or its pump, whichever is slower; a change or a deletion is taken to cost what an insertion does."""
    rate = min(rates.mysql_rows_per_s, rates.pump_per_s)
    slower = "MySQL" if rate == rates.mysql_rows_per_s else "the pump"
    open_orders = load.creates_per_s * load.time_to_final_s
    references = load.creates_a_day
    rows = open_orders * load.order_bytes * ROW_FACTOR + references * REFERENCE_BYTES
    binlog = load.row_changes_a_day * load.binlog_days * load.order_bytes * EVENT_FACTOR
    return Demand(
        "shards",
        int(load.hot_copies),
        {
            "processor": (
                load.row_changes_per_s / rate / load.utilisation,
                f"{load.row_changes_per_s:,.0f} row changes/s / {rate:,.0f} ({slower}) / {load.utilisation:g}",
            ),
            "memory": (
                rows / GIB,
                f"{open_orders:,.0f} open orders and {references:,.0f} references of a day, in the buffer pool",
            ),
            "disk": (
                (rows + binlog) / GIB,
                f"these, and {load.row_changes_a_day:,.0f} changes x {load.binlog_days:g} days of binlog",
            ),
            "network": (
                load.row_changes_per_s * load.order_bytes * EVENT_FACTOR * load.hot_copies / GBIT_BYTES,
                f"{load.row_changes_per_s:,.0f}/s x {load.order_bytes * EVENT_FACTOR:g} B to each replica and the pump",
            ),
        },
        shares=int,
    )


def kafka_brokers(load: WantedLoad, rates: Rates) -> Demand:
    """Copies are taken into the amounts, since brokers share them among all partitions."""
    size = load.order_bytes * EVENT_FACTOR
    changes, taken = load.row_changes_per_s, load.row_changes_per_s * load.log_copies
    return Demand(
        "brokers",
        1,
        {
            "processor": (
                taken / rates.kafka_per_s / load.utilisation,
                f"{changes:,.0f}/s x {load.log_copies:g} copies / {rates.kafka_per_s:,.0f} / {load.utilisation:g}",
            ),
            "disk": (
                load.row_changes_a_day * load.log_copies * load.log_days * size / GIB,
                f"{load.row_changes_a_day:,.0f} a day x {load.log_copies:g} copies x {load.log_days:g} days x {size:g} B",
            ),
            "network": (
                load.row_changes_per_s * size * (load.log_copies + 2) / GBIT_BYTES,
                f"{load.row_changes_per_s:,.0f}/s x {size:g} B in, to each copy, and to two groups of readers",
            ),
        },
    )


def cassandra_nodes(load: WantedLoad, rates: Rates) -> Demand:
    """Copies are taken into the amounts, since nodes share them."""
    kept = load.creates_a_day * load.retention_days
    size = load.order_bytes * ARCHIVE_FACTOR
    # What the archiver writes it reads back, and most look-ups that come to a database are of old orders.
    calls = load.creates_per_s * 2 + load.loads_per_s
    return Demand(
        "nodes",
        1,
        {
            "processor": (
                calls * load.archive_copies / rates.cassandra_per_s / load.utilisation,
                (
                    f"({load.creates_per_s:,.0f}/s written and read back + {load.loads_per_s:,.0f}/s looked up) x "
                    f"{load.archive_copies:g} copies / {rates.cassandra_per_s:,.0f} / {load.utilisation:g}"
                ),
            ),
            "disk": (
                kept * size * load.archive_copies / GIB,
                f"{kept:,.0f} orders x {size:g} B x {load.archive_copies:g} copies",
            ),
        },
    )


def followers(load: WantedLoad, rates: Rates) -> Demand:
    """cdc, cache-sync, the archiver, expiry and timeouts; the processes of one kind divide the groups among them."""
    sync = load.row_changes_per_s * rates.sync_us / 1e6 / load.utilisation
    archiver = load.creates_per_s * rates.archive_us / 1e6 / load.utilisation
    pumps = load.row_changes_per_s / rates.pump_per_s / load.utilisation
    how = (
        f"cache-sync {load.row_changes_per_s:,.0f}/s x {rates.sync_us:,.2f} us + archiver {load.creates_per_s:,.0f}/s x "
        f"{rates.archive_us:,.1f} us + cdc {load.row_changes_per_s:,.0f}/s / {rates.pump_per_s:,.0f}, all / {load.utilisation:g}"
    )
    return Demand(
        "cores",
        1,
        {
            "processor": (sync + archiver + pumps, how),
        },
        shares=lambda _machines: max(1, ceil(max(sync, archiver))),
    )


PARTS: Final[Mapping[str, Callable[[WantedLoad, Rates], Demand]]] = MappingProxyType(
    {
        "query servers": query_servers,
        "command servers": command_servers,
        "daemons": followers,
        "redis": redis_primaries,
        "mysql": mysql_shards,
        "kafka": kafka_brokers,
        "cassandra": cassandra_nodes,
    }
)
