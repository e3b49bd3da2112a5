"""What the deadlines' contract suite needs around a store: the orders it times out, and the database's clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from orderctl.order import Order
from orderctl.stores.deadlines import DeadlineStore
from orderctl.stores.feed import FeedReader
from orderctl.stores.hot import Created, HotStore
from tests.contract.hot_harness import a_draft

US_PER_MS = 1_000
HOUR_US = 3_600_000_000


class OpenedDeadlines(Struct, frozen=True):
    """One process's hold on the hot tier. `read_feed` opens a reader of all its changes, None where there are several shards."""

    hot: HotStore
    deadlines: DeadlineStore
    read_feed: Callable[[], FeedReader] | None


class DeadlineHarness(Protocol):
    """One hot database, empty at first. The suite knows no backend: this is all that it does beside calling the stores."""

    def open(self) -> OpenedDeadlines:
        """A further hold on the same database, as another process has it; the harness closes it."""
        ...

    def now_us(self) -> int:
        """The time by the database's own clock, Unix microseconds."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let that much pass on the database's clock, by moving its hands or by waiting."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Raise the deployment's epoch, as a promotion does."""
        ...


def due(hot: HotStore, deadline_at: int, **fields: Any) -> Order:
    """A pending order in the store, with this deadline."""
    [outcome] = hot.create([a_draft(deadline_at=deadline_at, **fields)])
    assert isinstance(outcome, Created)
    return outcome.order


def all_due(hot: HotStore, deadlines: list[int]) -> list[Order]:
    """Pending orders in the store, one for each deadline, created at once."""
    outcomes = hot.create([a_draft(deadline_at=deadline_at) for deadline_at in deadlines])
    return [outcome.order for outcome in outcomes if isinstance(outcome, Created)]
