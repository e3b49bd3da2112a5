"""What writing and reading promise: orders come back as they were, by id and by reference, in the order asked."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from orderctl.errors import TierRejected
from orderctl.ids import new_order_id, partition_in
from orderctl.order import AMOUNT_MAX, FINAL, Order, Status
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import Ref
from orderctl.version import VERSION_MAX
from tests.contract.archive_harness import a_final, finals, ref_of
from tests.contract.hot_contract_creating import DISTINCT, TEXTS

DAY_US = 86_400_000_000


def days_later(order: Order, days: int) -> Order:
    """The same order, had it been created that much later."""
    created_at = order.created_at + days * DAY_US
    order_id = new_order_id(created_at // 1000, partition_in(order.order_id), lambda size: days.to_bytes(size, "big"))
    return structs.replace(order, order_id=order_id, created_at=created_at)


class WritingContract:
    """`ArchiveStore.write`, `load` and `resolve`."""

    @pytest.mark.parametrize("status", sorted(FINAL))
    def test_a_final_order_comes_back_as_it_was(self, store: ArchiveStore, status: Status) -> None:
        """Whatever its end, with a reason and without."""
        orders = [a_final(status=status, status_reason=reason) for reason in (None, "card declined", "")]
        store.write(orders)
        assert store.load([order.order_id for order in orders]) == orders
        assert store.resolve([ref_of(order) for order in orders]) == [order.order_id for order in orders]

    def test_the_largest_values_fit(self, store: ArchiveStore) -> None:
        """Amount and version are exact up to their limits."""
        order = a_final(amount=AMOUNT_MAX, version=VERSION_MAX, metadata='{"a":"' + "b" * 1000 + '"}')
        store.write([order])
        assert store.load([order.order_id]) == [order]

    def test_results_are_in_the_order_asked(self, store: ArchiveStore) -> None:
        """With None where there is nothing, and twice what was asked twice."""
        one, two, missing = finals(3)
        store.write([one, two])
        assert store.load([two.order_id, missing.order_id, one.order_id, two.order_id]) == [two, None, one, two]
        refs = [ref_of(order) for order in (two, missing, one, two)]
        assert store.resolve(refs) == [two.order_id, None, one.order_id, two.order_id]

    def test_what_was_never_written_is_missing(self, store: ArchiveStore) -> None:
        """Also a reference of another merchant's, or one that begins alike."""
        order = a_final(merchant_ref="R")
        store.write([order])
        assert store.load([a_final().order_id]) == [None]
        assert store.resolve([Ref("globex", "R"), Ref("acme", "R1"), Ref("acm", "eR")]) == [None, None, None]

    def test_nothing_asked_is_nothing_done(self, store: ArchiveStore) -> None:
        """Empty batches are answered by empty batches."""
        store.write([])
        assert store.load([]) == []
        assert store.resolve([]) == []

    def test_writing_again_changes_nothing(self, store: ArchiveStore) -> None:
        """In another batch, and in one."""
        order = a_final()
        store.write([order])
        store.write([order, order])
        assert store.load([order.order_id]) == [order]
        assert store.resolve([ref_of(order)]) == [order.order_id]

    def test_a_batch_of_500_over_many_slots(self, store: ArchiveStore) -> None:
        """However far apart the orders were created, and in whichever group they are."""
        orders = [days_later(order, number) for number, order in enumerate(finals(500))]
        store.write(orders)
        assert store.load([order.order_id for order in orders]) == orders
        assert store.resolve([ref_of(order) for order in orders]) == [order.order_id for order in orders]

    @pytest.mark.parametrize("text", TEXTS)
    def test_texts_come_back_as_they_were(self, store: ArchiveStore, text: str) -> None:
        """Whatever is in them, in every column that holds text of somebody else's."""
        order = a_final(
            merchant_id=text, merchant_ref=text, payment_method=text, metadata=text, status_reason=text, currency=text
        )
        store.write([order])
        assert store.load([order.order_id]) == [order]
        assert store.resolve([Ref(text, text)]) == [order.order_id]

    def test_references_are_told_apart_byte_by_byte(self, store: ArchiveStore) -> None:
        """Case, accents and trailing spaces make another reference, and another merchant."""
        orders = [a_final(merchant_ref=text) for text in DISTINCT] + [a_final(merchant_id=text) for text in DISTINCT]
        store.write(orders)
        assert store.resolve([ref_of(order) for order in orders]) == [order.order_id for order in orders]

    def test_a_reference_leads_to_its_newest_order(self, store: ArchiveStore) -> None:
        """It may be used again after its window; the order that was created last counts, whichever was written last."""
        first, second, third = (a_final(merchant_ref="R", version=version) for version in (9, 2, 4))
        for order in (second, third, first):
            store.write([order])
        assert store.resolve([Ref("acme", "R")]) == [third.order_id]
        assert store.load([first.order_id, second.order_id, third.order_id]) == [first, second, third]

    def test_two_orders_of_a_reference_share_a_batch(self, store: ArchiveStore) -> None:
        """The newer one is found, whichever comes first."""
        first, second = a_final(merchant_ref="R"), a_final(merchant_ref="R")
        store.write([second, first])
        assert store.resolve([Ref("acme", "R")]) == [second.order_id]

    @pytest.mark.parametrize(
        "value", [{"amount": 2**64}, {"status_reason": "half a pair: \ud800"}], ids=["number", "text"]
    )
    def test_what_cannot_be_held_is_rejected(self, store: ArchiveStore, value: dict[str, Any]) -> None:
        """Such a value is the caller's mistake; the store goes on."""
        good, bad = a_final(), a_final(**value)
        with pytest.raises(TierRejected):
            store.write([bad])
        store.write([good])
        assert store.load([bad.order_id, good.order_id]) == [None, good]
