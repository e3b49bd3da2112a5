"""What creating promises: one order a reference, all of a batch or nothing, and texts as they were given."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from orderctl.errors import TierRejected
from orderctl.order import Status
from orderctl.stores.hot import Created, HotStore, Ref, ReferenceReused, Replayed
from tests.contract.hot_harness import a_draft, create, drafts, refs_of_one_group, to

TEXTS = [
    "Grüße, 注文, заказ",
    "\N{OK HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
    "a\0b\0",
    " a ",
    "O'Brien\\\"%_;--",
]
DISTINCT = [
    "a",
    "A",
    "a ",
    " a",
    "á",
    "a\N{COMBINING ACUTE ACCENT}",
    "a\0",
    "ß",
    "ss",
    "\N{OK HAND SIGN}",
    "\N{WAVING HAND SIGN}",
]


class CreatingContract:
    """`HotStore.create`."""

    def test_a_new_order_is_kept_as_it_was_given(self, store: HotStore) -> None:
        """Only the version is the store's, and the first one is 1."""
        draft = a_draft(metadata='{"a":"b"}', amount=10**15, status_reason="why")
        expected = structs.replace(draft.order, version=1)
        assert store.create([draft]) == [Created(expected)]
        assert store.load([expected.order_id]) == [expected]

    def test_the_same_wish_again_finds_the_order(self, store: HotStore) -> None:
        """The stored order is given back, with the id that it was created under."""
        order = create(store, merchant_ref="R")
        assert store.create([a_draft(merchant_ref="R")]) == [Replayed(order)]

    def test_a_replay_shows_the_order_as_it_now_is(self, store: HotStore) -> None:
        """The order may have moved on since it was created."""
        order = create(store, merchant_ref="R")
        store.change([to(order, Status.SUCCESS)], now_us=order.created_at + 1)
        [now] = store.load([order.order_id])
        assert now is not None
        assert now.version == 2
        assert store.create([a_draft(merchant_ref="R")]) == [Replayed(now)]

    def test_a_draft_sent_twice_is_created_once(self, store: HotStore) -> None:
        """The same id under the same reference is a replay too, in one batch and in another."""
        draft = a_draft()
        first, second = store.create([draft, draft])
        assert isinstance(first, Created)
        assert second == Replayed(first.order)
        assert store.create([draft]) == [Replayed(first.order)]

    def test_another_wish_under_the_reference_is_refused(self, store: HotStore) -> None:
        """It is told which order the reference stands for, and nothing is written."""
        order = create(store, merchant_ref="R")
        draft = a_draft(merchant_ref="R", body="another")
        assert store.create([draft]) == [ReferenceReused(order.order_id)]
        assert store.load([draft.order.order_id, order.order_id]) == [None, order]

    def test_a_reference_is_one_merchants(self, store: HotStore) -> None:
        """Two merchants may use the same text."""
        one, two = (create(store, merchant_id=merchant, merchant_ref="R") for merchant in ("acme", "globex"))
        assert one.order_id != two.order_id
        assert store.resolve([Ref("globex", "R"), Ref("acme", "R")]) == [two.order_id, one.order_id]

    def test_items_of_a_batch_act_one_after_another(self, store: HotStore) -> None:
        """Of several drafts with one reference the first is created, and the others meet it."""
        batch = [
            a_draft(merchant_ref="R"),
            a_draft(merchant_ref="S"),
            a_draft(merchant_ref="R"),
            a_draft(merchant_ref="R", body="another"),
            a_draft(merchant_ref="S"),
        ]
        first, second, *others = store.create(batch)
        assert isinstance(first, Created)
        assert isinstance(second, Created)
        assert others == [Replayed(first.order), ReferenceReused(first.order.order_id), Replayed(second.order)]
        assert store.load([draft.order.order_id for draft in batch[2:]]) == [None, None, None]

    def test_new_orders_and_replays_share_a_batch(self, store: HotStore) -> None:
        """Each has its own outcome, in the order asked."""
        old = create(store, merchant_ref="old")
        outcomes = store.create([a_draft(), a_draft(merchant_ref="old"), a_draft()])
        assert [type(outcome) for outcome in outcomes] == [Created, Replayed, Created]
        assert outcomes[1] == Replayed(old)

    def test_nothing_asked_is_nothing_done(self, store: HotStore) -> None:
        """No transaction, and no hook."""
        called: list[str] = []
        assert store.create([], before_commit=lambda: called.append("hook")) == []
        assert (called, store.transactions) == ([], 0)

    def test_a_batch_of_500_is_one_transaction(self, store: HotStore) -> None:
        """Its outcomes are in the order asked."""
        batch = drafts(500)
        outcomes = store.create(batch)
        assert outcomes == [Created(structs.replace(draft.order, version=1)) for draft in batch]
        assert store.transactions == 1
        assert store.load([draft.order.order_id for draft in batch]) == [
            outcome.order for outcome in outcomes if isinstance(outcome, Created)
        ]

    def test_replays_are_no_writing_transaction(self, store: HotStore) -> None:
        """A batch that wrote nothing is not counted."""
        create(store, merchant_ref="R")
        store.create([a_draft(merchant_ref="R"), a_draft(merchant_ref="R", body="another")])
        assert store.transactions == 1

    def test_the_hook_runs_before_the_commit(self, store: HotStore) -> None:
        """It runs once, and what it raises leaves no order and no claim behind."""
        draft = a_draft(merchant_ref="R")

        class HookError(Exception):
            """What this test's hook raises."""

        def refuse() -> None:
            raise HookError

        with pytest.raises(HookError):
            store.create([draft], before_commit=refuse)
        assert store.transactions == 0
        assert store.load([draft.order.order_id]) == [None]
        assert store.resolve([Ref("acme", "R")]) == [None]
        called: list[str] = []
        [outcome] = store.create(
            [a_draft(merchant_ref="R", body="another")], before_commit=lambda: called.append("hook")
        )
        assert isinstance(outcome, Created)
        assert (called, store.transactions) == (["hook"], 1)

    @pytest.mark.parametrize(
        "value", [{"amount": 2**64}, {"status_reason": "half a pair: \ud800"}], ids=["number", "text"]
    )
    def test_what_cannot_be_held_is_rejected_whole(self, store: HotStore, value: dict[str, Any]) -> None:
        """Such a value is the caller's mistake: the transaction (one shard's) leaves nothing behind, and the store goes on."""
        one, other = refs_of_one_group(2)
        good, bad = a_draft(merchant_ref=one), a_draft(merchant_ref=other, **value)
        with pytest.raises(TierRejected):
            store.create([good, bad])
        assert store.load([good.order.order_id]) == [None]
        assert isinstance(store.create([good])[0], Created)

    @pytest.mark.parametrize("text", TEXTS)
    def test_texts_come_back_as_they_were(self, store: HotStore, text: str) -> None:
        """Whatever is in them, in every column that holds text of somebody else's."""
        order = create(
            store, merchant_id=text, merchant_ref=text, payment_method=text, metadata=text, status_reason=text
        )
        assert store.load([order.order_id]) == [order]
        assert store.resolve([Ref(text, text)]) == [order.order_id]

    def test_references_are_told_apart_byte_by_byte(self, store: HotStore) -> None:
        """Case, accents and trailing spaces make another reference, and another merchant."""
        refs = [Ref("acme", text) for text in DISTINCT] + [Ref(text, "R") for text in DISTINCT]
        outcomes = store.create([a_draft(merchant_id=ref.merchant_id, merchant_ref=ref.merchant_ref) for ref in refs])
        ids = [outcome.order.order_id for outcome in outcomes if isinstance(outcome, Created)]
        assert len(ids) == len(refs)
        assert store.resolve(refs) == ids
