"""Timing orders out, by the database alone: its clock says what is due, and its rows say what is still open.

As in every store's Protocol: every method takes and returns a batch; `TierUnavailable` means that nothing was written,
`OutcomeUnknown` that nobody can know. All of it is safe to repeat: an order that was timed out is `Settled` the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from orderctl.order import Order
from orderctl.stores.hot import OldEpoch


class TimedOut(Struct, frozen=True):
    """The order is `timeout` now, as this. `late_us` is how long after its deadline, by the database's clock."""

    order: Order
    late_us: int


class NotDue(Struct, frozen=True):
    """The order is open, and its deadline is `due_in_us` ahead by the database's clock: nothing was written."""

    due_in_us: int


class Settled(Struct, frozen=True):
    """The order is final, or this store has no row of it: nothing is left to do."""


TimeOutOutcome = TimedOut | NotDue | Settled | OldEpoch


class DeadlineStore(Protocol):
    """The hot store's rows by their deadlines. Any thread may use it.

    A deadline has come when the database's clock, in whole microseconds, reaches it.
    """

    def time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome]:
        """Time out each of these orders that is open and due: status `timeout`, no reason, the next version.

        One transaction, durable when it returns; `updated_at` is the database's time.
        """
        ...

    def time_out_overdue(
        self, groups: frozenset[int] | None, *, limit: int, late_by_us: int = 0
    ) -> list[TimedOut | OldEpoch]:
        """Time out at most `limit` orders of these groups (None: of all) that have been due for `late_by_us`, the earliest first.

        Rows that another transaction holds are passed over: whoever holds them decides. Rows of an older epoch count
        towards `limit`, and come back as `OldEpoch`. Fewer than `limit` does not say that there are no more; none does.
        """
        ...

    def oldest_overdue_us(self) -> int:
        """How long ago the earliest deadline of an open order passed, in microseconds; 0 where none has."""
        ...

    def close(self) -> None:
        """Let go of what is its own, before the hot store, over whose database it is, is closed."""
        ...
