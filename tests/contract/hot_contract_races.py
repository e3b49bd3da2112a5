"""What the hot store promises to threads and store objects that meet at one order, one reference or one set of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event

import pytest

from orderctl.order import Order, Refusal, Refused, Status
from orderctl.stores.hot import Changed, Created, HotStore, ReferenceReused, Replayed
from tests.contract.hot_harness import HotHarness, a_draft, at_once, create, drafts, to

ROUNDS = 5


class RaceContract:
    """Concurrent calls."""

    def test_fifty_identical_creates_make_one_order(self, store: HotStore) -> None:
        """One of them is the creator; all others are shown its order."""
        wishes = [a_draft(merchant_ref="R") for _ in range(50)]
        outcomes = [outcome for [outcome] in at_once([partial(store.create, [wish]) for wish in wishes])]
        [created] = [outcome for outcome in outcomes if isinstance(outcome, Created)]
        assert outcomes.count(Replayed(created.order)) == 49
        assert store.transactions == 1
        stored = [order for order in store.load([wish.order.order_id for wish in wishes]) if order]
        assert stored == [created.order]

    def test_two_wishes_for_one_reference_have_one_winner(self, harness: HotHarness) -> None:
        """Of two bodies that race for a reference, over two store objects, one stands and the other is refused."""
        stores = [harness.open().store, harness.open().store]
        wishes = [a_draft(merchant_ref="R", body=f"body {number % 2}") for number in range(20)]
        calls = [partial(stores[number % 2].create, [wish]) for number, wish in enumerate(wishes)]
        outcomes = [outcome for [outcome] in at_once(calls)]
        winner = next(number for number, outcome in enumerate(outcomes) if isinstance(outcome, Created))
        [created] = [outcome for outcome in outcomes if isinstance(outcome, Created)]
        for number, outcome in enumerate(outcomes):
            if number != winner:
                same = number % 2 == winner % 2
                assert outcome == (Replayed(created.order) if same else ReferenceReused(created.order.order_id))

    def test_of_two_final_changes_one_is_made(self, harness: HotHarness) -> None:
        """The other is refused, and is shown the one that was."""
        one, two = harness.open().store, harness.open().store
        for _ in range(ROUNDS):
            order = create(one)
            changes = [(one, Status.SUCCESS), (two, Status.FAILED)]
            outcomes = [o for [o] in at_once([partial(s.change, [to(order, w)], now_us=0) for s, w in changes])]
            [changed] = [outcome for outcome in outcomes if isinstance(outcome, Changed)]
            assert outcomes.count(Refused(Refusal.ILLEGAL_TRANSITION, changed.order)) == 1
            assert one.load([order.order_id]) == [changed.order]

    def test_creates_that_overlap_in_opposite_orders_get_through(self, harness: HotHarness) -> None:
        """Each reference is created by exactly one of the batches, and neither waits for ever."""
        stores = [harness.open().store for _ in range(4)]
        for round_ in range(ROUNDS):
            refs = [f"{round_}-{number}" for number in range(40)]
            batches = [[a_draft(merchant_ref=ref) for ref in (refs, refs[::-1])[i % 2]] for i in range(len(stores))]
            results = at_once([partial(s.create, batch) for s, batch in zip(stores, batches, strict=True)])
            created = [o.order.merchant_ref for outcomes in results for o in outcomes if isinstance(o, Created)]
            assert sorted(created) == sorted(refs)
            assert all(isinstance(outcome, Created | Replayed) for outcomes in results for outcome in outcomes)

    def test_changes_that_overlap_in_opposite_orders_get_through(self, harness: HotHarness) -> None:
        """Each order is changed once; nobody is turned away because somebody else held a row."""
        stores = [harness.open().store for _ in range(4)]
        for _ in range(ROUNDS):
            batch = drafts(40)
            stores[0].create(batch)
            changes = [to(draft.order, Status.SUCCESS) for draft in batch]
            calls = [partial(s.change, (changes, changes[::-1])[i % 2], now_us=0) for i, s in enumerate(stores)]
            results = at_once(calls)
            made = [o.order.order_id for outcomes in results for o in outcomes if isinstance(o, Changed)]
            assert sorted(made) == sorted(draft.order.order_id for draft in batch)

    def test_writers_and_readers_do_not_disturb_each_other(self, harness: HotHarness) -> None:
        """While orders are created and moved on, a reader sees each whole, and never an earlier version than before."""
        writer, reader = harness.open().store, harness.open().store
        batch = drafts(30)
        writer.create(batch)
        ids = [draft.order.order_id for draft in batch]

        finished = Event()

        def write() -> None:
            try:
                for draft in batch:
                    for status in (Status.PROCESSING, Status.SUCCESS):
                        writer.change([to(draft.order, status)], now_us=0)
            finally:
                finished.set()

        def read() -> None:
            floors = dict.fromkeys(ids, 1)
            while not finished.is_set():
                for order in reader.load(ids):
                    assert order is not None
                    assert order.version >= floors[order.order_id]
                    assert order.status is (Status.PENDING, Status.PROCESSING, Status.SUCCESS)[order.version - 1]
                    floors[order.order_id] = order.version

        at_once([write, read, read])
        assert {order.version for order in reader.load(ids) if order} == {3}

    def test_what_is_undone_was_never_seen(self, harness: HotHarness) -> None:
        """A batch that its hook refuses leaves nothing behind, and those who read meanwhile saw nothing of it."""
        writer, reader = harness.open().store, harness.open().store
        batch = drafts(50)
        ids = [draft.order.order_id for draft in batch]

        class HookError(Exception):
            """What this test's hook raises."""

        def refuse() -> None:
            raise HookError

        def attempt() -> list[Order | None]:
            with pytest.raises(HookError):
                writer.create(batch, before_commit=refuse)
            return writer.load(ids)

        calls: list[Callable[[], list[Order | None]]] = [attempt, *[partial(reader.load, ids)] * 3]
        for orders in at_once(calls):
            assert orders == [None] * len(ids)
