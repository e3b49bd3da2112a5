"""The hot store (MySQL): what holds open orders, the truth.

As in every store's Protocol: every method takes and returns a batch, in the same
order. An implementation raises `TierUnavailable` where nothing was written, `OutcomeUnknown` where nobody can know, and
`TierRejected` where it was given something it cannot hold. It repeats a call by itself only while that is known to be harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from orderctl.errors import TierUnavailable
from orderctl.order import Change, Order, Refused, Unchanged


def do_nothing() -> None:
    """The hook that is called where nobody has anything to do."""


class Draft(Struct, frozen=True):
    """An order to be created. Its version is the store's to give; `digest` is `body_digest` of what was asked for."""

    order: Order
    digest: bytes


class Created(Struct, frozen=True):
    """The order was written, as this."""

    order: Order


class Replayed(Struct, frozen=True):
    """The merchant's reference already stands for this order, and the same was asked for."""

    order: Order


class ReferenceReused(Struct, frozen=True):
    """The merchant's reference already stands for another order: nothing was written."""

    order_id: str


class Changed(Struct, frozen=True):
    """The order moved on, to this."""

    order: Order


class Moved(Struct, frozen=True):
    """The merchant's reference already stands for this order, and the same was asked for; the archive has it, not this store."""

    order_id: str


class OldEpoch(Struct, frozen=True):
    """The row is open and was last written before the shard's last promotion: a final state may be in the archive.

    Nothing was written. The archive is to be asked first; then `discard` or `touch` the row, and ask again.
    """

    order: Order


CreateOutcome = Created | Replayed | ReferenceReused | Moved
ChangeOutcome = Changed | Unchanged | Refused | OldEpoch


class Ref(Struct, frozen=True, order=True):
    """A merchant's own name for an order: the idempotency key."""

    merchant_id: str
    merchant_ref: str


class Cursor(Struct, frozen=True, order=True):
    """A place in the final rows, by time and then by id. Times are Unix microseconds."""

    updated_at: int
    order_id: str

    @staticmethod
    def behind(order: Order) -> Cursor:
        """The place right behind `order`."""
        return Cursor(order.updated_at, order.order_id)


class Removal(Struct, frozen=True):
    """A row by its order and its version, at which it may go."""

    order_id: str
    version: int


class NotPromoted(TierUnavailable):
    """The shard's epoch was raised on another server than this one, which may lag behind it: nothing was written.

    A version that the other server has given out might otherwise be given to another state.
    """

    def __init__(self, shard: str, server: str | None, epoch_server: str | None) -> None:
        super().__init__(
            "hot",
            f"{shard} is on the server {server}, and its epoch was raised on {epoch_server}: no version is given here",
            hint="after a fail-over or a restore, and with the old server fenced, run orderctl shard promote",
        )


class HotStore(Protocol):
    """Open orders: the truth. Each call that writes is one transaction, durable when it returns.

    `OutcomeUnknown` is for a transaction whose COMMIT was sent and not answered; it is never repeated. Before that the store
    may roll back and repeat (a deadlock, a busy database); `before_commit` then runs again.
    """

    @property
    def transactions(self) -> int:
        """How many writing transactions were committed through this object."""
        ...

    def create(self, drafts: Sequence[Draft], *, before_commit: Callable[[], None] = do_nothing) -> list[CreateOutcome]:
        """Claim each draft's reference and insert its order, or say what the reference already stands for.

        Items act one after another: of two drafts with one reference the first is created and the second meets it.
        `before_commit` runs right before COMMIT is sent; what it raises rolls back.
        """
        ...

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        """Lock each order's row, `decide`, and write. Items act one after another, each raising the version.

        The epoch is read by the statement that raises the version. An open row of an older epoch is left as it is, and its
        outcome is `OldEpoch` for everybody who may know of the order.

        Raises:
            NotPromoted: see there. So do all that give a version: `create` and `touch`.

        """
        ...

    def touch(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        """Raise each open row that is at this very version and of an older epoch to the next version, and change nothing else.

        `now_us` is when, for the change feed.

        Returns whether each was raised; of the same one twice, the first. By it a promotion makes everybody who knew the order by
        the old primary's word hear the new one's.
        """
        ...

    def discard(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        """Remove each open row that is at this very version and of an older epoch: the archive holds a final state of the order.

        As `remove` does: its reference notes that it has moved, at `now_us`. Returns whether each was removed.
        """
        ...

    def of_older_epochs(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        """At most `limit` open orders of these groups (None: all) whose version is of an older epoch, by id, behind `after`."""
        ...

    def open_orders(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        """At most `limit` open orders of these groups (None: all), by id, behind `after`. A plain read, of a moment ago."""
        ...

    def references(self, groups: frozenset[int] | None, *, after: Ref | None, limit: int) -> list[tuple[Ref, str]]:
        """At most `limit` references to orders of these groups (None: all), by merchant and reference, behind `after`.

        Each with the id of its order, whose row may have moved to the archive.
        """
        ...

    def count_open(self) -> int:
        """How many orders are open."""
        ...

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        """The orders as committed, None where there is no row.

        A locking read: the binlog shows an event before its row is visible to a plain one, and a reader that fills the cache
        from a plain read could put an order's past over its present.
        """
        ...

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        """The order id that each reference stands for, None where it stands for none. The row may have moved to the archive."""
        ...

    def finals(self, groups: frozenset[int] | None, *, after: Cursor | None, limit: int) -> list[Order]:
        """At most `limit` final orders of these groups (None: of all), oldest first by `updated_at` and then by id.

        Only those behind `after`, so that a caller can page past rows that it has in hand. Those times are of many clocks, and
        a transaction may commit late: rows turn up behind the cursor too, so begin again from None now and then.
        """
        ...

    def remove(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        """Remove each row that is final and at this very version, and note in its reference that it has moved, at `now_us`.

        Returns whether each was removed. The reference goes on standing for the order.
        """
        ...

    def purge_references(self, *, moved_before_us: int, limit: int) -> int:
        """Forget at most `limit` references whose orders moved before a time, the earliest first; returns how many.

        They may be used for other orders then.
        """
        ...

    def close(self) -> None:
        """Let go of connections. Calls that are under way end first or fail."""
        ...
