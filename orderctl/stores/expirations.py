"""What goes out of the cache, as it tells itself: hints that make time-outs prompt, any of which may be lost or come twice."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Gone(StrEnum):
    """What went, and why. A cache tells of keys alone, so a *record* here is any entry: a lease's, for one, is no other's."""

    TIMER = "timer"
    """A timer reached its order's deadline, by the cache node's clock."""
    RECORD_EXPIRED = "record_expired"
    RECORD_EVICTED = "record_evicted"
    TIMER_EVICTED = "timer_evicted"
    """Memory was out: the order's deadline will pass without an event."""


class Expiration(Struct, frozen=True):
    """One key that went."""

    order_id: str
    what: Gone


class Expirations(Protocol):
    """Follows every node of the cache that may tell. Not for several threads."""

    def poll(self, wait_s: float) -> list[Expiration]:
        """What went since the last call; waits up to `wait_s` for the first.

        Connects where it is not connected yet, and follows fail-overs and slots that move. A node that cannot be listened to
        does not keep the others' events back: see `deaf`.

        Raises:
            TierUnavailable: no node at all can be listened to.

        """
        ...

    def deaf(self) -> list[str]:
        """Why events of a part of the cache do not come just now, a line a node: away, or not allowed to switch events on."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
