"""The change feed's contract suite: one set of tests against the Protocols, which every backend inherits and none changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event

import pytest

from orderctl.errors import TierUnavailable
from orderctl.event import Op, decode, encode
from orderctl.order import Order, Status
from orderctl.stores.feed import Boundary, ChangeFeed, FeedItem, RowChange
from orderctl.stores.hot import HotStore, Removal
from tests.contract.feed_harness import (
    PATIENCE_S,
    SHARD,
    FeedHarness,
    boundaries,
    change_all,
    create_all,
    events,
    read_all,
    transactions,
)
from tests.contract.hot_contract_creating import TEXTS
from tests.contract.hot_harness import T0_US, a_draft, at_once, create, drafts


class FeedContract:
    """A backend's test class inherits this and gives a fixture named `harness`: a `FeedHarness` over an empty database."""

    @pytest.fixture
    def store(self, harness: FeedHarness) -> HotStore:
        """The store whose changes are read."""
        return harness.open_store()

    @pytest.fixture
    def feed(self, harness: FeedHarness) -> ChangeFeed:
        """The feed under test."""
        return harness.open_feed()

    def test_a_life_is_read_as_it_was_lived(self, harness: FeedHarness, store: HotStore, feed: ChangeFeed) -> None:
        """Creation, changes and removal, each with the row before and after; a deletion holds the row that left."""
        order = create(store)
        [processing] = change_all(store, [order], Status.PROCESSING, now_us=T0_US)
        [final] = change_all(store, [processing], Status.SUCCESS, now_us=T0_US + 1)
        assert store.remove([Removal(final.order_id, final.version)], now_us=T0_US + 2) == [True]
        items = read_all(harness.keep(feed.open(None)))
        assert [(event.op, event.before, event.after) for event in events(items)] == [
            (Op.CREATE, None, order),
            (Op.UPDATE, order, processing),
            (Op.UPDATE, processing, final),
            (Op.DELETE, final, None),
        ]
        assert [len(rows) for rows in transactions(items)] == [1, 1, 1, 1]

    def test_a_promotion_is_read_as_it_was_made(self, harness: FeedHarness, store: HotStore, feed: ChangeFeed) -> None:
        """A touched row is a change to a larger version, by which everybody hears of it; a discarded one is a deletion."""
        touched, discarded = create(store), create(store)
        harness.raise_epoch()
        assert store.touch([Removal(touched.order_id, touched.version)], now_us=T0_US) == [True]
        assert store.discard([Removal(discarded.order_id, discarded.version)], now_us=T0_US + 1) == [True]
        [now] = store.load([touched.order_id])
        items = read_all(harness.keep(feed.open(None)))
        assert [(event.op, event.before, event.after) for event in events(items)][2:] == [
            (Op.UPDATE, touched, now),
            (Op.DELETE, discarded, None),
        ]
        assert [len(rows) for rows in transactions(items)] == [1, 1, 1, 1]

    def test_an_event_says_where_it_is_from(self, harness: FeedHarness, store: HotStore, feed: ChangeFeed) -> None:
        """The shard, a place of its own, and a time; and it can be published."""
        create_all(store, 3)
        assert feed.shard == SHARD
        found = events(read_all(harness.keep(feed.open(None))))
        assert {event.source.shard for event in found} == {SHARD}
        assert len({event.source.position for event in found}) == 3
        assert all(event.source.ts_us > 0 for event in found)
        assert [decode(encode(event)) for event in found] == found

    def test_transactions_keep_their_rows_together(
        self, harness: FeedHarness, store: HotStore, feed: ChangeFeed
    ) -> None:
        """In the order in which they were committed; within one a store may sort different orders, so that locks do not cross."""
        batches = [create_all(store, number) for number in (5, 1, 3)]
        changed = change_all(store, batches[0][::-1], Status.SUCCESS)
        *created, last = transactions(read_all(harness.keep(feed.open(None))))
        assert [[event.order for event in transaction] for transaction in created] == batches
        assert sorted((event.order for event in last), key=_by_id) == sorted(changed, key=_by_id)

    def test_an_order_that_moves_twice_in_a_transaction_is_read_twice(
        self, harness: FeedHarness, store: HotStore, feed: ChangeFeed
    ) -> None:
        """Every version is in the feed."""
        order = create(store)
        change_all(store, [order, order], Status.PROCESSING)
        store.change([], now_us=0)
        reader = harness.keep(feed.open(None))
        assert [event.order.version for event in events(read_all(reader))] == [1, 2]
        [one, two] = drafts(2)
        store.create([one, two])
        assert [len(transaction) for transaction in transactions(read_all(reader))] == [2]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    def test_a_limit_may_fall_inside_a_transaction(
        self, harness: FeedHarness, store: HotStore, feed: ChangeFeed, limit: int
    ) -> None:
        """Whatever it is, the items are the same, and boundaries are at the ends of transactions only."""
        batches = [create_all(store, number) for number in (5, 1, 6, 2)]
        items = read_all(harness.keep(feed.open(None)), limit)
        rows = transactions(items)
        assert [[event.order for event in transaction] for transaction in rows] == batches

    def test_who_goes_on_from_a_boundary_gets_what_follows(
        self, harness: FeedHarness, store: HotStore, feed: ChangeFeed
    ) -> None:
        """Exactly that: nothing twice, nothing left out, from each boundary, also over another feed object."""
        for number in (2, 3, 1):
            create_all(store, number)
        items = read_all(harness.keep(feed.open(None)))
        other = harness.open_feed()
        for index, item in enumerate(items):
            if isinstance(item, Boundary):
                assert read_all(harness.keep(other.open(item.position)), 2) == items[index + 1 :]

    def test_a_reader_killed_inside_a_transaction_reads_it_again(
        self, harness: FeedHarness, store: HotStore, feed: ChangeFeed
    ) -> None:
        """It had no boundary to keep, so the next one begins with the whole transaction."""
        create_all(store, 1)
        batch = create_all(store, 6)
        reader = harness.keep(feed.open(None))
        [_, boundary] = reader.read(2, PATIENCE_S)
        assert isinstance(boundary, Boundary)
        assert all(isinstance(item, RowChange) for item in reader.read(4, PATIENCE_S))
        reader.close()
        again = read_all(harness.keep(feed.open(boundary.position)))
        assert [[event.order for event in transaction] for transaction in transactions(again)] == [batch]

    def test_what_was_rolled_back_is_not_in_it(self, harness: FeedHarness, store: HotStore, feed: ChangeFeed) -> None:
        """Nor is a gap where it was: who goes on from before it finds what was committed after it."""
        before = create_all(store, 2)

        class HookError(Exception):
            """What this test's hook raises."""

        def refuse() -> None:
            raise HookError

        [position] = boundaries(read_all(harness.keep(feed.open(None))))
        with pytest.raises(HookError):
            store.create(drafts(5), before_commit=refuse)
        after = create_all(store, 3)
        rows = transactions(read_all(harness.keep(feed.open(position))))
        assert [[event.order for event in transaction] for transaction in rows] == [after]
        rows = transactions(read_all(harness.keep(feed.open(None))))
        assert [[event.order for event in transaction] for transaction in rows] == [before, after]

    def test_what_writes_no_order_is_not_in_it(self, harness: FeedHarness, store: HotStore, feed: ChangeFeed) -> None:
        """Replays, refusals, removals of what is not there, and purges of references."""
        [order] = create_all(store)
        [final] = change_all(store, [order], Status.FAILED)
        reader = harness.keep(feed.open(None))
        assert len(events(read_all(reader))) == 2
        store.create([a_draft(merchant_ref=order.merchant_ref), a_draft(merchant_ref=order.merchant_ref, body="other")])
        change_all(store, [order], Status.SUCCESS)
        store.remove([Removal(final.order_id, final.version + 1)], now_us=T0_US)
        store.purge_references(moved_before_us=T0_US, limit=9)
        assert reader.read(9, 0.0) == []

    def test_a_reader_waits_for_news_no_longer_than_asked(
        self, harness: FeedHarness, store: HotStore, feed: ChangeFeed
    ) -> None:
        """With nothing new it returns nothing, and later it goes on where it was."""
        reader = harness.keep(feed.open(None))
        assert reader.read(9, 0.0) == []
        assert reader.read(9, 0.05) == []
        orders = create_all(store, 2)
        assert [event.order for event in events(read_all(reader))] == orders
        assert reader.read(9, 0.05) == []

    def test_a_feed_survives_a_restart(self, harness: FeedHarness) -> None:
        """Its changes and its positions."""
        create_all(harness.open_store(), 2)
        items = read_all(harness.keep(harness.open_feed().open(None)))
        harness.restart()
        later = create_all(harness.open_store(), 1)
        feed = harness.open_feed()
        assert read_all(harness.keep(feed.open(None)))[: len(items)] == items
        assert [e.order for e in events(read_all(harness.keep(feed.open(boundaries(items)[-1]))))] == later

    @pytest.mark.parametrize("text", TEXTS)
    def test_texts_come_through_as_they_were(
        self, harness: FeedHarness, store: HotStore, feed: ChangeFeed, text: str
    ) -> None:
        """Whatever is in them."""
        order = create(
            store, merchant_id=text, merchant_ref=text, payment_method=text, metadata=text, status_reason=text
        )
        assert [event.order for event in events(read_all(harness.keep(feed.open(None))))] == [order]

    def test_a_closed_reader_refuses(self, harness: FeedHarness, store: HotStore, feed: ChangeFeed) -> None:
        """Closing twice is closing once, and the feed's other readers go on."""
        create_all(store)
        one, two = harness.keep(feed.open(None)), harness.keep(feed.open(None))
        one.close()
        one.close()
        with pytest.raises(TierUnavailable):
            one.read(1, 0.0)
        assert len(read_all(two)) == 2

    def test_writers_and_a_reader_at_once(self, harness: FeedHarness) -> None:
        """Each transaction whole, each order's versions in order, everything once; over several store objects."""
        stores = [harness.open_store() for _ in range(3)]
        reader = harness.keep(harness.open_feed().open(None))
        written: list[list[Order]] = []
        finished = [Event() for _ in stores]

        def write(number: int) -> None:
            try:
                for size in range(1, 12):
                    orders = create_all(stores[number], size)
                    written.append(orders)
                    written.append(change_all(stores[number], orders, Status.PROCESSING))
                    written.append(change_all(stores[number], orders, Status.SUCCESS))
            finally:
                finished[number].set()

        items: list[FeedItem] = []

        def read() -> None:
            while not all(event.is_set() for event in finished):
                items.extend(reader.read(5, 0.01))

        calls: list[Callable[[], None]] = [partial(write, number) for number in range(len(stores))]
        at_once([*calls, read])
        items += read_all(reader, 5)
        rows = [[event.order for event in transaction] for transaction in transactions(items)]
        assert sorted(rows, key=_key) == sorted(written, key=_key)
        versions: dict[str, list[int]] = {}
        for order in (event.order for event in events(items)):
            versions.setdefault(order.order_id, []).append(order.version)
        assert set(map(tuple, versions.values())) == {(1, 2, 3)}


def _by_id(order: Order) -> str:
    return order.order_id


def _key(orders: list[Order]) -> tuple[str, int]:
    return orders[0].order_id, orders[0].version
