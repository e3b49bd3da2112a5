"""What the services answer: one value an order, whatever became of the others in its batch."""

from __future__ import annotations

from concurrent.futures import Future
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

    NEAR = "near"
    """This process's own memory."""
    CACHE = "redis"
    HOT = "mysql"
    ARCHIVE = "cassandra"


class Via(Struct, frozen=True):
    """The way that an answer came. `forward` is None where process memory or the cache had it."""

    source: Source
    forward: Forward | None = None

    def __str__(self) -> str:
        """`Cache-Status` (RFC 9211)."""
        return f"{self.source}; hit" if self.forward is None else f"redis; fwd={self.forward}; detail={self.source}"


class Found(Struct, frozen=True):
    """The order. `body` is its JSON."""

    version: int
    status: Status
    body: bytes
    via: Via


class Missing(Struct, frozen=True):
    """No database has the order, or it is not this caller's to see."""


class Pending(Struct, frozen=True):
    """The look-up is pending, ask again.

    Somebody else loads the order, or too many are being loaded, or it is not yet at the version asked for.
    """


Settled = Found | Missing | Pending | Failed


class Loading(Struct, frozen=True, eq=False):
    """The order is being looked up in this process; `answer` comes as soon as that is done."""

    answer: Future[Settled]


CreateAnswer = Stored | ReferenceReused | Failed
ChangeAnswer = Record | Refused | Failed
Answer = Settled | Loading
