"""An order in each tier as `inspect` shows it: the members that every tier has, and each tier's own."""

from __future__ import annotations

from msgspec import Struct

from orderctl.admin.verdict import Cached, Look
from orderctl.body import rfc3339
from orderctl.errors import TierError
from orderctl.event import Op
from orderctl.order import Order, Status
from orderctl.services.last_event import LastEvent, NoEvent


class Missing(Struct, frozen=True):
    """The tier does not have the order."""

    present: bool = False


class Unreachable(Struct, frozen=True):
    """The tier failed, or did not answer in time."""

    error: str


class InDatabase(Struct, frozen=True, kw_only=True):
    """The order as a database holds it. Times are RFC 3339."""

    present: bool = True
    version: int
    status: Status
    status_reason: str | None
    updated_at: str
    deadline_at: str


class InCache(Struct, frozen=True, kw_only=True):
    """The cache's entry. Of a lease the version is its floor; a lease and `absent` have no status.

    `timer_ttl_s` is in how long the order's timer goes off, None where it has none.
    """

    present: bool = True
    version: int
    status: Status | None
    kind: str
    ttl_s: float | None
    timer_ttl_s: float | None


class InLog(Struct, frozen=True, kw_only=True):
    """The log's last message of the order; without version, status and `op` where it is no change event."""

    present: bool = True
    version: int | None
    status: Status | None
    op: Op | None
    partition: int
    offset: int
    published_at: str


class InTiers(Struct, frozen=True):
    """One order in every tier."""

    cache: InCache | Missing | Unreachable
    hot: InDatabase | Missing | Unreachable
    archive: InDatabase | Missing | Unreachable
    log: InLog | Missing | Unreachable


def in_tiers(look: Look) -> InTiers:
    """What was seen, as it is shown."""
    return InTiers(_in_cache(look.cache), _in_database(look.hot), _in_database(look.archive), _in_log(look.log))


def _in_database(order: Order | TierError | None) -> InDatabase | Missing | Unreachable:
    if order is None:
        return Missing()
    if isinstance(order, TierError):
        return Unreachable(str(order))
    return InDatabase(
        version=order.version,
        status=order.status,
        status_reason=order.status_reason,
        updated_at=rfc3339(order.updated_at),
        deadline_at=rfc3339(order.deadline_at),
    )


def _in_cache(cached: Cached | TierError) -> InCache | Missing | Unreachable:
    if isinstance(cached, TierError):
        return Unreachable(str(cached))
    if cached.entry is None:
        return Missing()
    return InCache(
        version=cached.entry.version,
        status=cached.entry.status,
        kind=cached.entry.kind.name.lower(),
        ttl_s=_seconds(cached.ttl_ms),
        timer_ttl_s=_seconds(cached.timer_ttl_ms),
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _in_log(last: LastEvent | NoEvent | TierError) -> InLog | Missing | Unreachable:
    if isinstance(last, NoEvent):
        return Missing()
    if isinstance(last, TierError):
        return Unreachable(str(last))
    event = last.event
    return InLog(
        version=None if event is None else event.order.version,
        status=None if event is None else event.order.status,
        op=None if event is None else event.op,
        partition=last.place.partition,
        offset=last.offset,
        published_at=rfc3339(last.ts_ms * 1000),
    )
