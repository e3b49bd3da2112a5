"""What the change feed's contract suite needs around a feed: the store whose changes are in it, and ways to read it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orderctl.event import ChangeEvent
from orderctl.order import Change, Order, Status
from orderctl.stores.feed import Boundary, ChangeFeed, FeedItem, FeedReader, RowChange
from orderctl.stores.hot import Changed, Created, HotStore
from tests.contract.hot_harness import drafts

SHARD = "shard-0"
PATIENCE_S = 60.0
"""How long a reader waits for what was committed; the embedded feed, and a clock moved by hand, need no time at all."""

TransactionRows = list[ChangeEvent]


class FeedHarness(Protocol):
    """One hot database, empty at first, and its feed. The suite knows no backend."""

    def open_store(self) -> HotStore:
        """A further store, as another process has it; the harness closes it."""
        ...

    def open_feed(self) -> ChangeFeed:
        """A further feed of the shard `SHARD`, as another process has it; the harness closes it."""
        ...

    def keep(self, reader: FeedReader) -> FeedReader:
        """Close this reader in the end; returns it."""
        ...

    def raise_epoch(self) -> None:
        """Raise the shard's epoch by one, as a promotion does."""
        ...

    def restart(self) -> None:
        """Close everything that was opened."""
        ...


def create_all(store: HotStore, number: int = 1) -> list[Order]:
    """That many orders, created in one transaction."""
    return [outcome.order for outcome in store.create(drafts(number)) if isinstance(outcome, Created)]


def change_all(store: HotStore, orders: Sequence[Order], status: Status, *, now_us: int = 0) -> list[Order]:
    """The orders, moved on in one transaction."""
    outcomes = store.change([Change(order.order_id, status) for order in orders], now_us=now_us)
    return [outcome.order for outcome in outcomes if isinstance(outcome, Changed)]


def read_all(reader: FeedReader, limit: int = 100) -> list[FeedItem]:
    """Everything that is there now."""
    items: list[FeedItem] = []
    wait_s = PATIENCE_S
    while page := reader.read(limit, wait_s):
        assert len(page) <= limit
        items += page
        # Behind a transaction's end there may be nothing; within one the rest is there already.
        wait_s = 0.0 if isinstance(items[-1], Boundary) else PATIENCE_S
    return items


def transactions(items: Sequence[FeedItem]) -> list[TransactionRows]:
    """The rows of each transaction. The last item is a boundary, and no transaction is empty."""
    found: list[TransactionRows] = [[]]
    for item in items:
        if isinstance(item, RowChange):
            found[-1].append(item.event)
        else:
            assert found[-1], "a boundary without a transaction"
            found.append([])
    assert found.pop() == [], "the feed ends inside a transaction"
    return found


def events(items: Sequence[FeedItem]) -> list[ChangeEvent]:
    """The rows."""
    return [item.event for item in items if isinstance(item, RowChange)]


def boundaries(items: Sequence[FeedItem]) -> list[str]:
    """Where a reader may go on from."""
    return [item.position for item in items if isinstance(item, Boundary)]
