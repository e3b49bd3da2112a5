"""What the store promises after a promotion: nothing that it holds open is changed before somebody has asked the archive."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec import structs

from orderctl.ids import group_of
from orderctl.order import Order, Refusal, Refused, Status
from orderctl.stores.hot import Changed, Created, HotStore, Moved, OldEpoch, Ref, Removal
from orderctl.stores.registry import Registry
from orderctl.version import EPOCH_SHIFT
from tests.contract.hot_harness import GROUPS, T0_US, HotHarness, a_draft, an_order, at_once, create, drafts, to

EPOCH = 3
FIRST = EPOCH << EPOCH_SHIFT


def row(order: Order) -> Removal:
    """The row as it was seen."""
    return Removal(order.order_id, order.version)


def all_older(store: HotStore, groups: frozenset[int] | None = None, *, limit: int = 3) -> list[Order]:
    """Every open row of an older epoch, page by page."""
    found: list[Order] = []
    while page := store.of_older_epochs(groups, after=found[-1].order_id if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    return found


def final(store: HotStore, status: Status = Status.SUCCESS) -> Order:
    """An order at its end."""
    [outcome] = store.change([to(create(store), status)], now_us=T0_US)
    assert isinstance(outcome, Changed)
    return outcome.order


class OldEpochContract:
    """`HotStore.change` of rows of an older epoch, and the versions of the new one."""

    @pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING])
    def test_an_open_row_of_an_older_epoch_is_left_alone(
        self, store: HotStore, harness: HotHarness, status: Status
    ) -> None:
        """Whatever is asked for, also what it already is: the archive may know better."""
        order = create(store)
        store.change([to(order, status)], now_us=T0_US)
        [order] = [now for now in store.load([order.order_id]) if now]
        harness.set_epoch(EPOCH)
        before = store.transactions
        wishes = [to(order, wish) for wish in Status] + [to(order, Status.SUCCESS, if_versions=(order.version + 9,))]
        assert store.change(wishes, now_us=T0_US) == [OldEpoch(order)] * len(wishes)
        assert (store.load([order.order_id]), store.transactions) == ([order], before)

    def test_a_final_row_is_final_in_any_epoch(self, store: HotStore, harness: HotHarness) -> None:
        """The archive can only hold the same."""
        order = final(store)
        harness.set_epoch(EPOCH)
        assert store.change([to(order, Status.FAILED)], now_us=T0_US) == [Refused(Refusal.ILLEGAL_TRANSITION, order)]

    def test_whoever_may_not_know_of_an_order_is_not_told_of_its_epoch(
        self, store: HotStore, harness: HotHarness
    ) -> None:
        """Somebody else's and one that is not there look the same."""
        order = create(store, merchant_id="acme")
        harness.set_epoch(EPOCH)
        wishes = [to(one, Status.CANCELLED, merchant_id="globex") for one in (order, an_order())]
        assert store.change(wishes, now_us=T0_US) == [Refused(Refusal.NOT_FOUND)] * 2

    def test_the_epoch_is_read_by_the_statement_that_uses_it(self, store: HotStore, harness: HotHarness) -> None:
        """A store that was open before the promotion does not go on with the epoch that it knew."""
        for epoch in (1, 2, 7):
            old = create(store)
            harness.set_epoch(epoch)
            new = create(store)
            assert new.version == epoch << EPOCH_SHIFT
            outcomes = store.change([to(old, Status.SUCCESS), to(new, Status.SUCCESS)], now_us=T0_US)
            assert outcomes[0] == OldEpoch(old)
            assert isinstance(outcomes[1], Changed)
            assert outcomes[1].order.version == new.version + 1

    def test_a_batch_goes_on_around_old_rows(self, store: HotStore, harness: HotHarness) -> None:
        """Each item has its own outcome, in the order asked, and only what is of the new epoch was written."""
        old = [create(store) for _ in range(3)]
        harness.set_epoch(EPOCH)
        new = [create(store) for _ in range(3)]
        mixed = [order for pair in zip(old, new, strict=True) for order in pair]
        outcomes = store.change([to(order, Status.PROCESSING) for order in mixed], now_us=T0_US)
        assert [type(outcome) for outcome in outcomes] == [OldEpoch, Changed] * 3
        assert store.load([order.order_id for order in old]) == old


class TouchingContract:
    """`HotStore.touch`."""

    def test_a_touched_row_is_the_same_in_the_new_epoch(self, store: HotStore, harness: HotHarness) -> None:
        """Nothing but its version changed, and it is an order like any other from then on."""
        order = create(store)
        harness.set_epoch(EPOCH)
        assert store.touch([row(order)], now_us=T0_US) == [True]
        [touched] = store.load([order.order_id])
        assert touched == structs.replace(order, version=FIRST)
        [changed] = store.change([to(touched, Status.SUCCESS)], now_us=T0_US)
        assert isinstance(changed, Changed)
        assert changed.order.version == FIRST + 1

    def test_only_open_rows_of_older_epochs_at_this_very_version_are_touched(
        self, store: HotStore, harness: HotHarness
    ) -> None:
        """Not a final one, not one that has moved on, none that is not there, and none twice."""
        one, two = create(store), create(store)
        ended = final(store)
        assert store.touch([row(one)], now_us=T0_US) == [False]
        harness.set_epoch(EPOCH)
        new = create(store)
        wishes = [row(ended), row(two), Removal(one.order_id, one.version + 1), row(new), row(an_order()), row(two)]
        before = store.transactions
        assert store.touch(wishes, now_us=T0_US) == [False, True, False, False, False, False]
        assert store.transactions == before + 1
        assert store.touch([row(two), row(ended)], now_us=T0_US) == [False, False]
        assert store.touch([], now_us=T0_US) == []
        assert store.transactions == before + 1
        assert store.load([one.order_id, ended.order_id, new.order_id]) == [one, ended, new]

    def test_of_two_who_touch_one_does(self, harness: HotHarness) -> None:
        """So each row is raised once, and gets one version."""
        stores = [harness.open().store for _ in range(3)]
        created = stores[0].create(drafts(30))
        rows = [row(outcome.order) for outcome in created if isinstance(outcome, Created)]
        harness.set_epoch(EPOCH)
        batches = [rows, rows[::-1], rows]
        found = at_once([partial(s.touch, b, now_us=T0_US) for s, b in zip(stores, batches, strict=True)])
        assert sum(map(sum, found)) == len(rows)
        touched = stores[0].load([one.order_id for one in rows])
        assert [order and order.version for order in touched] == [FIRST] * len(rows)


class DiscardingContract:
    """`HotStore.discard`."""

    def test_a_discarded_row_is_gone_and_its_reference_has_moved(self, store: HotStore, harness: HotHarness) -> None:
        """As after the archiver's removal: a replay is the archived order, a second one is never made."""
        order = create(store, merchant_ref="R")
        harness.set_epoch(EPOCH)
        assert store.discard([row(order)], now_us=T0_US) == [True]
        assert store.load([order.order_id]) == [None]
        assert store.create([a_draft(merchant_ref="R")]) == [Moved(order.order_id)]
        assert store.change([to(order, Status.SUCCESS)], now_us=T0_US) == [Refused(Refusal.NOT_FOUND)]
        assert store.purge_references(moved_before_us=T0_US + 1, limit=9) == 1
        assert store.resolve([Ref("acme", "R")]) == [None]

    def test_only_open_rows_of_older_epochs_at_this_very_version_are_discarded(
        self, store: HotStore, harness: HotHarness
    ) -> None:
        """Everything else is the truth, and no word from the archive is above it."""
        one, two = create(store), create(store)
        ended = final(store)
        assert store.discard([row(one)], now_us=T0_US) == [False]
        harness.set_epoch(EPOCH)
        new = create(store)
        wishes = [row(ended), row(two), Removal(one.order_id, one.version + 1), row(new), row(an_order()), row(two)]
        before = store.transactions
        assert store.discard(wishes, now_us=T0_US) == [False, True, False, False, False, False]
        assert store.discard([row(two), row(new)], now_us=T0_US) == [False, False]
        assert store.discard([], now_us=T0_US) == []
        assert store.transactions == before + 1
        ids = [one.order_id, two.order_id, ended.order_id, new.order_id]
        assert store.load(ids) == [one, None, ended, new]
        assert None not in store.resolve([Ref(order.merchant_id, order.merchant_ref) for order in (one, ended, new)])


class OlderRowsContract:
    """`HotStore.of_older_epochs` and `count_open`."""

    def test_open_rows_of_older_epochs_are_found_by_id(self, store: HotStore, harness: HotHarness) -> None:
        """In pages that do not overlap and leave nothing out; none before a promotion, and none of the new epoch."""
        old = [outcome.order for outcome in store.create(drafts(20)) if isinstance(outcome, Created)]
        final(store)
        assert store.of_older_epochs(None, after=None, limit=100) == []
        harness.set_epoch(EPOCH)
        create(store)
        for limit in (1, 7, 20, 100):
            assert all_older(store, limit=limit) == old
        assert store.of_older_epochs(None, after=None, limit=0) == []
        store.touch([row(old[3])], now_us=T0_US)
        store.discard([row(old[5])], now_us=T0_US)
        assert all_older(store) == [order for order in old if order not in (old[3], old[5])]

    def test_groups_share_the_older_rows(self, store: HotStore, harness: HotHarness) -> None:
        """Each is in its own group's pages and in no other's."""
        old = [outcome.order for outcome in store.create(drafts(60)) if isinstance(outcome, Created)]
        harness.set_epoch(EPOCH)
        for group in range(GROUPS):
            own = [order for order in old if group_of(order.order_id, GROUPS) == group]
            assert all_older(store, frozenset({group})) == own
        assert all_older(store, frozenset(range(GROUPS)), limit=50) == old
        assert store.of_older_epochs(frozenset(), after=None, limit=9) == []

    def test_open_orders_are_counted(self, store: HotStore, harness: HotHarness) -> None:
        """Of whatever epoch; final ones are not."""
        assert store.count_open() == 0
        store.create(drafts(10))
        final(store)
        harness.set_epoch(EPOCH)
        create(store)
        assert store.count_open() == 11


class EpochRegistryContract:
    """`Registry.raise_epoch` and `note_settled`."""

    def test_an_epoch_is_raised_once_by_whoever_knows_the_last(self, registry: Registry) -> None:
        """Two who promote at once raise it by one together; until it is settled it says so."""
        assert registry.deployment().is_promoted
        assert registry.raise_epoch(above=1) is False
        assert registry.raise_epoch(above=0) is True
        assert registry.raise_epoch(above=0) is False
        raised = registry.deployment()
        assert (raised.epoch, raised.epoch_settled, raised.is_promoted) == (1, 0, True)
        assert registry.note_settled(epoch=2) is False
        assert registry.note_settled(epoch=1) is True
        assert registry.deployment().epoch_settled == 1


class EpochContract(OldEpochContract, TouchingContract, DiscardingContract, OlderRowsContract, EpochRegistryContract):
    """Everything that a promotion relies on."""
