"""What the tests of process memory need: orders in chosen groups, records of them, and a memory under a clock held by hand."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from orderctl.clock import ManualClock
from orderctl.ids import new_order_id
from orderctl.metrics import Metrics
from orderctl.order import Status
from orderctl.services.near import COPY_BYTES, NearCache
from orderctl.stores.record import NO_TIMER, Record

GROUPS = 8
OPEN_TTL_S = 0.05
BODY_BYTES = 100
ON_S = 1e9
"""As good as for ever."""


def order_ids(group: int, count: int, *, first: int = 0) -> list[str]:
    """Ids of one group."""
    return [
        new_order_id(1_700_000_000_000, group, lambda size, n=n: n.to_bytes(size, "big"))  # type: ignore[misc]
        for n in range(first, first + count)
    ]


def record(order_id: str, version: int = 1, status: Status = Status.SUCCESS, *, body: bytes = b"") -> Record:
    """A committed order as the tiers give it; final unless told otherwise."""
    return Record(order_id, version, status, b"m" * 16, body or b"x" * BODY_BYTES, NO_TIMER)


def still_open(order_id: str, version: int = 1) -> Record:
    """One that may still change."""
    return record(order_id, version, Status.PENDING)


class Nearby:
    """A memory that is on, unless told otherwise, with room for so many orders of `BODY_BYTES`."""

    def __init__(
        self, *, orders_max: int = 100, copies_max: int = 100, floors_max: int | None = None, is_on: bool = True
    ) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics(CollectorRegistry())
        self.near = NearCache(
            groups=GROUPS,
            orders_max=orders_max,
            bytes_max=copies_max * (COPY_BYTES + BODY_BYTES),
            open_ttl_s=OPEN_TTL_S,
            clock=self.clock,
            metrics=self.metrics,
            floors_max=floors_max,
        )
        if is_on:
            self.near.turn_on(ON_S)

    def put(self, *records: Record) -> list[bool]:
        """Offer what was asked for just now."""
        return self.near.put_many(self.near.begin([each.order_id for each in records]), records)

    def versions(self, ids: Iterable[str]) -> list[int | None]:
        """Of each order the version of its copy."""
        return [None if copy is None else copy.version for copy in self.near.get_many(list(ids))]

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"orderctl_{name}", labels) or 0.0
