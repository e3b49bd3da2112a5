"""What the services answer: one value an order, whatever became of the others in its batch."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from orderctl.errors import TierError
from orderctl.order import Refused, Status
from orderctl.stores.hot import ReferenceReused
from orderctl.stores.record import Record


class Failed(Struct, frozen=True):
    """The tier that had to be asked could not be: nothing is known of the order, and nothing was written for it.

    Or, where the error is `OutcomeUnknown`, nobody knows whether it was.
    """

    error: TierError


class Stored(Struct, frozen=True):
    """The order that the reference stands for; `replayed` where it did so before."""

    record: Record
    replayed: bool


class Forward(StrEnum):
    """Why the cache did not answer, in the words of RFC 9211."""

    MISS = "miss"
    STALE = "stale"
    """The cached record was older than the version asked for."""
    BYPASS = "bypass"
    """The cache could not be asked."""


class Source(StrEnum):
    """Who answered."""

    CACHE = "redis"
    HOT = "mysql"
    ARCHIVE = "cassandra"


class Via(Struct, frozen=True):
    """The way that an answer came. `forward` is None where the cache had it."""

    source: Source
    forward: Forward | None = None

    def __str__(self) -> str:
        """`Cache-Status` (RFC 9211)."""
        return "redis; hit" if self.forward is None else f"redis; fwd={self.forward}; detail={self.source}"


class Found(Struct, frozen=True):
    """The order. `body` is its JSON."""

    version: int
    status: Status
    body: bytes
    via: Via


class Missing(Struct, frozen=True):
    """No database has the order, or it is not this caller's to see."""


class Pending(Struct, frozen=True):
    """The look-up is pending: the order is not yet at the version asked for. Ask again."""


CreateAnswer = Stored | ReferenceReused | Failed
ChangeAnswer = Record | Refused | Failed
Answer = Found | Missing | Pending | Failed
