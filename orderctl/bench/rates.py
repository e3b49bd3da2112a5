"""What a plan takes from a bench: a few rates and costs, each with the scenario that it is from."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orderctl.bench.report import Report, Result
from orderctl.errors import UsageRefused

BATCH: Final = 500
NEEDED: Final = (
    *("lookup-near", "lookup-cache", "batch-lookup-near", "batch-lookup-cache", "batch-create", "single-creates"),
    *("cdc-backlog", "cache-sync-backlog", "archiver-backlog"),
)


class Rates(Struct, frozen=True, kw_only=True):
    """CPU microseconds are of our own processes for each order; rates are what one server of a tier has been seen to do.

    A server's rate is a lower bound: client and server shared the machine.
    """

    near_single_us: float
    near_batch_us: float
    cache_single_us: float
    cache_batch_us: float
    create_us: float
    sync_us: float
    archive_us: float
    pump_per_s: float
    redis_reads_per_s: float
    redis_writes_per_s: float
    mysql_rows_per_s: float
    kafka_per_s: float
    cassandra_per_s: float
    query_mib: float

    def lookup_us(self, *, from_memory: bool, batch: float) -> float:
        """CPU microseconds an order in a request of `batch`: the order's own, and its share of the request's.

        Two figures give both: a request of one costs order + request, one of `BATCH` costs each order + request / `BATCH`.
        """
        single, batched = (
            (self.near_single_us, self.near_batch_us) if from_memory else (self.cache_single_us, self.cache_batch_us)
        )
        request = max(0.0, single - batched) * BATCH / (BATCH - 1)
        return max(0.0, single - request) + request / batch

    def shown(self) -> list[str]:
        """Each, and where it is from."""
        return [
            f"{self.near_single_us:,.1f} us of CPU a single look-up from memory (lookup-near)",
            f"{self.cache_single_us:,.1f} us a single look-up from Redis (lookup-cache)",
            f"{self.near_batch_us:,.2f} us an order of {BATCH} from memory (batch-lookup-near)",
            f"{self.cache_batch_us:,.2f} us an order of {BATCH} from Redis (batch-lookup-cache)",
            f"{self.create_us:,.1f} us a single creation (single-creates); a change is taken to cost the same",
            f"{self.sync_us:,.2f} us an event in cache-sync (cache-sync-backlog)",
            f"{self.archive_us:,.1f} us an order in the archiver (archiver-backlog)",
            f"{self.pump_per_s:,.0f} changes/s a pump, which is one thread (cdc-backlog, a CPU second)",
            f"{self.redis_reads_per_s:,.0f} records/s read from one primary (batch-lookup-cache, its ceiling by nodes)",
            f"{self.redis_writes_per_s:,.0f} records/s written to one primary (cache-sync-backlog, its ceiling)",
            f"{self.mysql_rows_per_s:,.0f} orders/s inserted into one MySQL (batch-create, its ceiling)",
            f"{self.kafka_per_s:,.0f} messages/s taken by one broker (cdc-backlog, its ceiling)",
            f"{self.cassandra_per_s:,.0f} orders/s written to one Cassandra node (archiver-backlog, its ceiling)",
        ]


def rates_of(report: Report) -> Rates:
    """Take them from a report.

    Raises:
        UsageRefused: it was a smoke run, or on embedded stores, or lacks a scenario.

    """
    if report.smoke:
        raise UsageRefused(
            "this report is of a smoke run, which measures nothing", hint="run `orderctl bench run` without --smoke"
        )
    found = {result.name: result for result in report.scenarios}
    if missing := [name for name in NEEDED if name not in found]:
        raise UsageRefused(
            f"this report lacks {', '.join(missing)}",
            hint="`orderctl bench run --save FILE` with the servers in the configuration measures all",
        )
    cache = found["batch-lookup-cache"]
    return Rates(
        near_single_us=found["lookup-near"].real.cpu_us,
        near_batch_us=found["batch-lookup-near"].real.cpu_us,
        cache_single_us=found["lookup-cache"].real.cpu_us,
        cache_batch_us=cache.real.cpu_us,
        create_us=found["single-creates"].real.cpu_us,
        sync_us=found["cache-sync-backlog"].real.cpu_us,
        archive_us=found["archiver-backlog"].real.cpu_us,
        pump_per_s=found["cdc-backlog"].real.rate_per_core,
        redis_reads_per_s=cache.ceiling.rate / cache.ceiling.facts.get("nodes", 1),
        redis_writes_per_s=_ceiling(found["cache-sync-backlog"]),
        mysql_rows_per_s=_ceiling(found["batch-create"]),
        kafka_per_s=_ceiling(found["cdc-backlog"]),
        cassandra_per_s=_ceiling(found["archiver-backlog"]),
        query_mib=max(found["lookup-near"].real.memory_mib, found["batch-lookup-near"].real.memory_mib),
    )


def _ceiling(result: Result) -> float:
    return result.ceiling.rate
