"""The change feed's Protocol: every committed row change of a shard, in commit order, with transaction boundaries (a binlog)."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from orderctl.errors import OrderctlError
from orderctl.event import ChangeEvent


class FeedPurged(OrderctlError):
    """The change feed no longer holds what comes after the checkpoint: changes would be missed."""

    exit_code = 1


class RowChange(Struct, frozen=True, gc=False):
    """One row of a transaction. The event's `ts_ms` is its publisher's to set."""

    event: ChangeEvent


class Boundary(Struct, frozen=True, gc=False):
    """A transaction ended here. `position` is where a reader may go on from; there is none inside a transaction."""

    position: str


FeedItem = RowChange | Boundary


class FeedReader(Protocol):
    """One reading of a feed, from a position on. Not for several threads."""

    def read(self, limit: int, wait_s: float) -> list[FeedItem]:
        """At most `limit` items in commit order, waiting up to `wait_s` for the first; the next call goes on behind them.

        A call may end inside a transaction. What it holds in memory beside that does not grow with the backlog.

        Raises:
            TierUnavailable: the connection was lost. This reader is done for; open another at the last boundary.
            FeedPurged: what comes next was purged meanwhile.

        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class ChangeFeed(Protocol):
    """A shard's feed."""

    @property
    def shard(self) -> str:
        """The shard's name."""
        ...

    def open(self, position: str | None) -> FeedReader:
        """Read on behind `position` (a boundary's), or from the oldest change kept.

        Raises:
            FeedPurged: changes behind `position` were purged, or the feed never came that far: it is another database's.
            TierRejected: `position` is none of such a feed's.

        """
        ...

    def purge(self, position: str) -> None:
        """Say that nobody needs what is before `position` any more. A database that purges by itself does nothing."""
        ...

    def close(self) -> None:
        """Let go of connections; readers are closed by their owners."""
        ...
