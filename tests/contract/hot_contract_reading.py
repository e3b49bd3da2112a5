"""What reading promises: what was committed, in the order asked, from whichever store object, and after a restart."""

from __future__ import annotations

from orderctl.order import Status
from orderctl.stores.hot import Changed, Created, HotStore, Ref, Replayed
from tests.contract.hot_harness import HotHarness, a_draft, an_order, create, drafts, to


class ReadingContract:
    """`HotStore.load` and `resolve`, and what other store objects on the same database see."""

    def test_load_answers_in_the_order_asked(self, store: HotStore) -> None:
        """With None where there is nothing, and twice what was asked twice."""
        one, two = create(store), create(store)
        missing = an_order().order_id
        ids = [two.order_id, missing, one.order_id, two.order_id]
        assert store.load(ids) == [two, None, one, two]
        assert store.load([missing]) == [None]
        assert store.load([]) == []

    def test_resolve_answers_in_the_order_asked(self, store: HotStore) -> None:
        """With None for a reference that stands for nothing, also if it is another merchant's."""
        one, two = create(store), create(store)
        refs = [Ref(order.merchant_id, order.merchant_ref) for order in (two, one)]
        unknown = [Ref("acme", "never used"), Ref("globex", one.merchant_ref)]
        assert store.resolve([refs[0], *unknown, refs[1], refs[0]]) == [
            two.order_id,
            None,
            None,
            one.order_id,
            two.order_id,
        ]
        assert store.resolve([]) == []

    def test_reading_is_no_writing_transaction(self, store: HotStore) -> None:
        """However much is read."""
        order = create(store)
        store.load([order.order_id] * 500)
        store.resolve([Ref(order.merchant_id, order.merchant_ref)] * 500)
        assert store.transactions == 1

    def test_store_objects_see_each_others_commits(self, harness: HotHarness) -> None:
        """As soon as a call has returned, whoever made it; each counts its own transactions."""
        one, two = harness.open().store, harness.open().store
        order = create(one, merchant_ref="R")
        assert two.load([order.order_id]) == [order]
        assert two.create([a_draft(merchant_ref="R")]) == [Replayed(order)]
        [changed] = two.change([to(order, Status.SUCCESS)], now_us=0)
        assert isinstance(changed, Changed)
        assert one.load([order.order_id]) == [changed.order]
        assert (one.transactions, two.transactions) == (1, 1)

    def test_what_was_committed_is_there_after_a_restart(self, harness: HotHarness) -> None:
        """Orders, their changes, their references, and the place where versions go on."""
        store = harness.open().store
        batch = drafts(20)
        outcomes = store.create(batch)
        orders = [outcome.order for outcome in outcomes if isinstance(outcome, Created)]
        changed = store.change([to(order, Status.PROCESSING) for order in orders[:10]], now_us=0)
        orders[:10] = [outcome.order for outcome in changed if isinstance(outcome, Changed)]
        harness.restart()
        store = harness.open().store
        assert store.load([order.order_id for order in orders]) == orders
        assert store.create(batch) == [Replayed(order) for order in orders]
        [last] = store.change([to(orders[0], Status.SUCCESS)], now_us=0)
        assert isinstance(last, Changed)
        assert last.order.version == orders[0].version + 1
        assert store.transactions == 1

    def test_closing_one_store_leaves_the_others(self, harness: HotHarness) -> None:
        """Closing twice is closing once."""
        one, two = harness.open(), harness.open()
        order = create(one.store)
        one.store.close()
        one.store.close()
        one.registry.close()
        assert two.store.load([order.order_id]) == [order]
