"""What a cached entry comes to beside the order that it was made from: equal, diverged, absent, or unknown. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from orderctl.errors import TierError
from orderctl.order import Order
from orderctl.stores.record import Entry, Kind, record_of

LOST: Final = None
"""Nothing repairs an order that only the cache has: its record is kept, it may be the last."""


class SourceName(StrEnum):
    """Where the copy is that counts: the hot store's as long as it has one."""

    HOT = "hot"
    ARCHIVE = "archive"


class Repair(StrEnum):
    """What puts the cache right. Neither writes a state that no database has."""

    APPLY = "apply"
    """Bring the record to its source's version and bytes."""
    INVALIDATE = "invalidate"
    """Drop what is newer than its source, or means nothing: whoever asks next loads the order anew."""


class Outcome(StrEnum):
    """What a comparison comes to."""

    EQUAL = "equal"
    DIVERGED = "diverged"
    ABSENT = "absent"
    """The order is open, and the cache does not have it, as it need not."""
    UNKNOWN = "unknown"
    """A tier failed, so nobody can say."""
    PASSED_OVER = "passed_over"
    """There is nothing to be compared: no entry of a final order, or one that goes by itself in seconds."""


class Unreadable(Struct, frozen=True):
    """An entry whose bytes mean nothing. To a reader there is none; to one of another version there may be."""


class Found(Struct, frozen=True):
    """What the databases have of an order. `error` is of the one that did not answer; the other may have it all the same."""

    order: Order | None = None
    source: SourceName | None = None
    error: TierError | None = None


class Sides(Struct, frozen=True):
    """One order as the cache has it, and the databases."""

    order_id: str
    entry: Entry | Unreadable | TierError | None
    found: Found

    @property
    def cache_version(self) -> int | None:
        """The version of the record, None where there is none that can be read."""
        return self.entry.version if isinstance(self.entry, Entry) else None

    @property
    def source_version(self) -> int | None:
        """The version of the copy that counts, None where no database has one."""
        return self.found.order.version if self.found.order is not None else None


def compare(sides: Sides) -> Outcome:
    """What `sides` come to, had both been read at one moment. They were not: a divergence is one if it lasts."""
    entry, order = sides.entry, sides.found.order
    if isinstance(entry, TierError):
        return Outcome.UNKNOWN
    if isinstance(entry, Entry) and entry.kind is not Kind.RECORD:
        return Outcome.PASSED_OVER
    if order is None and sides.found.error is not None:
        return Outcome.UNKNOWN
    if entry is None:
        return Outcome.PASSED_OVER if order is None or order.status.is_final else Outcome.ABSENT
    if isinstance(entry, Entry) and order is not None and holds(entry, order):
        return Outcome.EQUAL
    return Outcome.DIVERGED if sides.found.error is None else Outcome.UNKNOWN


def holds(entry: Entry, order: Order) -> bool:
    """Whether the record is this order's, version and bytes."""
    record = record_of(order)
    kept = (record.version, record.status, record.merchant, record.body)
    return (entry.version, entry.status, entry.merchant, entry.body) == kept


def repair_of(sides: Sides) -> Repair | None:
    """What mends a divergence, None where nothing does."""
    if isinstance(sides.entry, Unreadable):
        return Repair.INVALIDATE
    if sides.cache_version is None or sides.source_version is None:
        return LOST
    return Repair.APPLY if sides.cache_version <= sides.source_version else Repair.INVALIDATE


def has_moved(before: Sides, after: Sides) -> bool:
    """Whether a divergence may be another one than it was: the side that was behind has come on since.

    An order that goes on changing is always a little behind in the cache; that is no divergence, as long as the cache follows.
    """
    was_newer = (before.cache_version or 0) > (before.source_version or 0)
    if was_newer and before.source_version != after.source_version:
        return True
    return before.entry != after.entry
