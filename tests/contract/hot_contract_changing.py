"""What changing promises: the state machine's decision under a lock, and a version that only grows."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.order import FINAL, Change, Refusal, Refused, Status, Unchanged
from orderctl.stores.hot import Changed, Created, HotStore
from orderctl.version import EPOCH_MAX, EPOCH_SHIFT
from tests.contract.hot_harness import HotHarness, a_draft, an_order, create, drafts, to

NEVER_CREATED = an_order()


class ChangingContract:
    """`HotStore.change`."""

    def test_an_order_moves_on(self, store: HotStore) -> None:
        """Status, reason, time and version change, and nothing else does."""
        order = create(store)
        later = order.created_at + 7
        expected = structs.replace(
            order, status=Status.FAILED, status_reason="card declined", updated_at=later, version=order.version + 1
        )
        change = to(order, Status.FAILED, status_reason="card declined")
        assert store.change([change], now_us=later) == [Changed(expected)]
        assert store.load([order.order_id]) == [expected]

    @pytest.mark.parametrize("status", sorted(FINAL))
    def test_final_is_final(self, store: HotStore, status: Status) -> None:
        """A final status admits no other, and the refusal shows the order as it is."""
        order = create(store)
        [changed] = store.change([to(order, status)], now_us=order.created_at)
        assert isinstance(changed, Changed)
        others = [other for other in Status if other is not status]
        outcomes = store.change([to(order, other) for other in others], now_us=order.created_at + 1)
        assert outcomes == [Refused(Refusal.ILLEGAL_TRANSITION, changed.order)] * len(others)
        assert store.load([order.order_id]) == [changed.order]

    def test_two_changes_in_a_batch_are_two_versions(self, store: HotStore) -> None:
        """Each item finds what the one before it left."""
        order = create(store)
        first, second, third = store.change(
            [to(order, Status.PROCESSING), to(order, Status.SUCCESS), to(order, Status.FAILED)], now_us=order.created_at
        )
        assert isinstance(first, Changed)
        assert isinstance(second, Changed)
        assert (first.order.status, first.order.version) == (Status.PROCESSING, 2)
        assert (second.order.status, second.order.version) == (Status.SUCCESS, 3)
        assert third == Refused(Refusal.ILLEGAL_TRANSITION, second.order)
        assert store.load([order.order_id]) == [second.order]

    def test_outcomes_are_in_the_order_asked(self, store: HotStore) -> None:
        """Made, unchanged, refused and unknown ones side by side, whatever the ids' order."""
        orders = [create(store) for _ in range(4)][::-1]
        store.change([to(orders[1], Status.SUCCESS)], now_us=0)
        outcomes = store.change(
            [
                to(orders[0], Status.PROCESSING),
                to(orders[1], Status.SUCCESS),
                to(NEVER_CREATED, Status.SUCCESS),
                to(orders[2], Status.PENDING),
                to(orders[1], Status.FAILED),
                to(orders[3], Status.CANCELLED),
            ],
            now_us=0,
        )
        assert [type(outcome) for outcome in outcomes] == [Changed, Unchanged, Refused, Unchanged, Refused, Changed]
        shown = [outcome.order.order_id if outcome.order else None for outcome in outcomes]
        expected = [orders[i].order_id for i in (0, 1)] + [None] + [orders[i].order_id for i in (2, 1, 3)]
        assert shown == expected

    def test_the_same_words_again_write_nothing(self, store: HotStore) -> None:
        """Also under the version that they named the first time, which has passed."""
        order = create(store)
        change = to(order, Status.CANCELLED, status_reason="why", if_versions=(order.version,))
        [first] = store.change([change], now_us=order.created_at)
        assert isinstance(first, Changed)
        assert store.change([change], now_us=order.created_at + 1) == [Unchanged(first.order)]
        assert store.transactions == 2

    def test_a_final_status_keeps_its_reason(self, store: HotStore) -> None:
        """The same status in other words is another change."""
        order = create(store)
        [first] = store.change([to(order, Status.FAILED, status_reason="one")], now_us=0)
        assert isinstance(first, Changed)
        other = to(order, Status.FAILED, status_reason="two")
        assert store.change([other], now_us=0) == [Refused(Refusal.ILLEGAL_TRANSITION, first.order)]

    def test_a_change_can_name_the_versions_it_is_for(self, store: HotStore) -> None:
        """Any of those named will do; under another one nothing is written."""
        order = create(store)
        stale = to(order, Status.SUCCESS, if_versions=(order.version + 1, order.version + 2))
        assert store.change([stale], now_us=0) == [Refused(Refusal.VERSION_MISMATCH, order)]
        assert store.change([to(order, Status.SUCCESS, if_versions=())], now_us=0) == [
            Refused(Refusal.VERSION_MISMATCH, order)
        ]
        [outcome] = store.change([to(order, Status.SUCCESS, if_versions=(9, order.version))], now_us=0)
        assert isinstance(outcome, Changed)

    def test_an_unknown_order_and_somebody_elses_look_the_same(self, store: HotStore) -> None:
        """To whoever may not know of an order it does not exist."""
        order = create(store, merchant_id="acme")
        foreign = to(order, Status.CANCELLED, merchant_id="globex")
        unknown = to(NEVER_CREATED, Status.CANCELLED, merchant_id="globex")
        assert store.change([foreign, unknown], now_us=0) == [Refused(Refusal.NOT_FOUND)] * 2
        [own] = store.change([to(order, Status.CANCELLED, merchant_id="acme")], now_us=0)
        assert isinstance(own, Changed)

    def test_only_what_writes_is_counted(self, store: HotStore) -> None:
        """A batch is one transaction, and one that decided against every change is none."""
        orders = [create(store) for _ in range(3)]
        before = store.transactions
        store.change([to(order, Status.SUCCESS) for order in orders], now_us=0)
        assert store.transactions == before + 1
        store.change([to(order, Status.SUCCESS) for order in orders], now_us=0)
        store.change([to(order, Status.FAILED) for order in orders], now_us=0)
        store.change([to(NEVER_CREATED, Status.FAILED)], now_us=0)
        assert store.change([], now_us=0) == []
        assert store.transactions == before + 1

    def test_500_changes_are_one_transaction(self, store: HotStore) -> None:
        """As many as a request may hold."""
        batch = drafts(500)
        store.create(batch)
        changes = [Change(draft.order.order_id, Status.SUCCESS) for draft in reversed(batch)]
        outcomes = store.change(changes, now_us=0)
        assert [o.order.order_id for o in outcomes if isinstance(o, Changed)] == [c.order_id for c in changes]
        assert {o.order.version for o in outcomes if isinstance(o, Changed)} == {2}
        assert store.transactions == 2

    def test_the_time_of_change_never_runs_backwards(self, store: HotStore) -> None:
        """A server whose clock is behind does not put an order before its own creation."""
        order = create(store)
        [outcome] = store.change([to(order, Status.SUCCESS)], now_us=order.created_at - 1)
        assert isinstance(outcome, Changed)
        assert outcome.order.updated_at == order.created_at

    def test_versions_stay_exact_in_a_double(self, store: HotStore, harness: HotHarness) -> None:
        """The largest epoch's versions come back as they went in."""
        harness.set_epoch(EPOCH_MAX)
        [created] = store.create([a_draft()])
        assert isinstance(created, Created)
        assert created.order.version == EPOCH_MAX << EPOCH_SHIFT
        assert store.load([created.order.order_id]) == [created.order]
