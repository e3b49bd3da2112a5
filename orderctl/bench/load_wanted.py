"""The load that a deployment is planned for, and what its machines are: every number that is assumed and not measured."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

DAY_S = 86_400


class WantedLoad(Struct, frozen=True, kw_only=True):
    """What is wanted at the peak, and what is assumed of the deployment. The meaning of each is shown with the plan."""

    lookups_per_s: Annotated[float, Meta(description="orders looked up a second")]
    creates_per_s: Annotated[float, Meta(description="orders created a second")]
    lookup_batch: Annotated[float, Meta(description="orders in a look-up request")] = 1
    changes_per_order: Annotated[float, Meta(description="changes in an order's life after its creation")] = 2
    near_hit: Annotated[float, Meta(description="share of look-ups that process memory answers")] = 0.5
    cache_hit: Annotated[float, Meta(description="share of the other look-ups that Redis answers")] = 0.999
    order_bytes: Annotated[float, Meta(description="an order as JSON, in bytes")] = 450
    time_to_final_s: Annotated[float, Meta(description="seconds from an order's creation to its final status")] = 120
    record_ttl_s: Annotated[float, Meta(description="seconds that a record stays in Redis after that")] = 3600
    retention_days: Annotated[float, Meta(description="days that the archive keeps an order")] = 365
    log_days: Annotated[float, Meta(description="days that Kafka keeps a change")] = 7
    binlog_days: Annotated[float, Meta(description="days that MySQL keeps its binlog")] = 1
    average_share: Annotated[
        float, Meta(description="a day's average load, by the peak's: what is kept grows with it")
    ] = 0.4
    utilisation: Annotated[float, Meta(description="share of what was measured that is planned with")] = 0.5
    cores: Annotated[float, Meta(description="cores of a server")] = 32
    memory_gib: Annotated[float, Meta(description="memory of a server, in GiB")] = 128
    disk_gib: Annotated[float, Meta(description="disk of a server that may be filled, in GiB")] = 4000
    network_gbit: Annotated[float, Meta(description="network of a server, in Gbit/s")] = 25
    cache_copies: Annotated[float, Meta(description="servers that hold a record in Redis, its primary included")] = 2
    hot_copies: Annotated[float, Meta(description="servers that hold a shard of MySQL, its primary included")] = 3
    log_copies: Annotated[float, Meta(description="brokers that hold a change")] = 3
    archive_copies: Annotated[float, Meta(description="nodes that hold an archived order")] = 3

    @property
    def row_changes_per_s(self) -> float:
        """What the binlog carries: an insert, the changes, and the archiver's deletion."""
        return self.creates_per_s * (2 + self.changes_per_order)

    @property
    def creates_a_day(self) -> float:
        """Orders of a whole day, which is not all peak."""
        return self.creates_per_s * self.average_share * DAY_S

    @property
    def row_changes_a_day(self) -> float:
        """The binlog's changes of a whole day."""
        return self.row_changes_per_s * self.average_share * DAY_S

    @property
    def from_cache_per_s(self) -> float:
        """Look-ups that process memory does not answer."""
        return self.lookups_per_s * (1 - self.near_hit)

    @property
    def loads_per_s(self) -> float:
        """Look-ups that come to a database."""
        return self.from_cache_per_s * (1 - self.cache_hit)
