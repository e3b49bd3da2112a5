"""What the hot store promises to the archiver: final rows in order, their removal by version, and what references say then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from orderctl.ids import group_of
from orderctl.order import FINAL, Order, Refusal, Refused, Status
from orderctl.stores.hot import (
    Changed,
    Created,
    CreateOutcome,
    Cursor,
    Draft,
    HotStore,
    Moved,
    Ref,
    ReferenceReused,
    Removal,
    Replayed,
)
from tests.contract.hot_harness import (
    GROUPS,
    T0_US,
    HotHarness,
    a_draft,
    an_order,
    at_once,
    create,
    drafts,
    refs_of_one_group,
    to,
)

MOVED_US = T0_US + 1_000


def finish(store: HotStore, *orders: Order, at_us: int = T0_US, status: Status = Status.SUCCESS) -> list[Order]:
    """Move the orders on to their end."""
    outcomes = store.change([to(order, status) for order in orders], now_us=at_us)
    return [outcome.order for outcome in outcomes if isinstance(outcome, Changed)]


def finished(store: HotStore, number: int = 1, **fields: object) -> list[Order]:
    """That many final orders, oldest first."""
    return [finish(store, create(store, **fields))[0] for _ in range(number)]


def removal(order: Order) -> Removal:
    """The wish to remove exactly this."""
    return Removal(order.order_id, order.version)


def move(store: HotStore, *orders: Order, now_us: int = MOVED_US) -> list[bool]:
    """Remove orders as the archiver does, having archived them."""
    return store.remove([removal(order) for order in orders], now_us=now_us)


def all_finals(store: HotStore, groups: frozenset[int] | None = None, *, limit: int = 3) -> list[Order]:
    """Every final row, page by page."""
    found: list[Order] = []
    while page := store.finals(groups, after=Cursor.behind(found[-1]) if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    return found


class FinalsContract:
    """`HotStore.finals`."""

    def test_only_final_orders_are_found(self, store: HotStore) -> None:
        """Of each final status, as they were committed; open ones are somebody else's affair."""
        ends = [finish(store, create(store), status=status)[0] for status in sorted(FINAL)]
        create(store)
        store.change([to(create(store), Status.PROCESSING)], now_us=0)
        assert store.finals(None, after=None, limit=100) == ends

    def test_the_oldest_comes_first(self, store: HotStore) -> None:
        """By the time of the last change, and within one moment by id."""
        first, second, third, fourth = (create(store) for _ in range(4))
        moment = fourth.created_at + 10
        late = finish(store, first, at_us=moment + 1)
        [early] = finish(store, third, at_us=moment - 1)
        same = finish(store, fourth, second, at_us=moment)
        assert store.finals(None, after=None, limit=100) == [early, *reversed(same), *late]

    def test_pages_do_not_overlap_and_leave_nothing_out(self, store: HotStore) -> None:
        """Also where a page ends amid rows of one moment."""
        orders = [outcome.order for outcome in store.create(drafts(20)) if isinstance(outcome, Created)]
        moment = orders[-1].created_at
        ends = finish(store, *orders, at_us=moment)
        for limit in (1, 3, 20, 100):
            assert all_finals(store, limit=limit) == ends

    def test_a_cursor_needs_no_row(self, store: HotStore) -> None:
        """The row that it was made from may have gone, and there may be nothing behind it."""
        one, two, three = finished(store, 3)
        move(store, two)
        assert store.finals(None, after=Cursor.behind(two), limit=9) == [three]
        assert store.finals(None, after=Cursor.behind(three), limit=9) == []
        assert store.finals(None, after=Cursor(one.updated_at, three.order_id), limit=9) == [three]
        assert store.finals(None, after=None, limit=0) == []

    def test_a_row_may_turn_up_behind_the_cursor(self, store: HotStore) -> None:
        """Its time is its command server's, so who begins again finds it."""
        [one] = finished(store)
        slow = create(store)
        [late] = finish(store, slow, at_us=0)
        assert store.finals(None, after=Cursor(late.updated_at + 1, late.order_id), limit=9) == []
        assert store.finals(None, after=None, limit=9) == [one, late]

    def test_groups_share_the_orders(self, store: HotStore) -> None:
        """Each order is in its own group's scan and in no other's, by the number of groups of the deployment."""
        orders = [outcome.order for outcome in store.create(drafts(150)) if isinstance(outcome, Created)]
        ends = finish(store, *orders)
        by_group = {group: all_finals(store, frozenset({group}), limit=50) for group in range(GROUPS)}
        for group, found in by_group.items():
            assert found == [order for order in ends if group_of(order.order_id, GROUPS) == group]
        odd = frozenset(range(1, GROUPS, 2))
        assert all_finals(store, odd, limit=7) == [o for o in ends if group_of(o.order_id, GROUPS) in odd]
        assert all_finals(store, frozenset(range(GROUPS)), limit=50) == ends
        assert store.finals(frozenset(), after=None, limit=50) == []


class RemovingContract:
    """`HotStore.remove`, and what is left."""

    def test_a_removed_order_is_gone(self, store: HotStore) -> None:
        """Its reference goes on standing for it."""
        [order] = finished(store, merchant_ref="R")
        assert move(store, order) == [True]
        assert store.load([order.order_id]) == [None]
        assert store.finals(None, after=None, limit=9) == []
        assert store.resolve([Ref("acme", "R")]) == [order.order_id]

    def test_only_this_very_version_is_removed(self, store: HotStore) -> None:
        """What changed since it was archived stays, and so does what is not there in that version yet."""
        [order] = finished(store)
        for version in (order.version - 1, order.version + 1):
            assert store.remove([Removal(order.order_id, version)], now_us=MOVED_US) == [False]
        assert store.load([order.order_id]) == [order]

    @pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING])
    def test_an_open_order_is_not_removed(self, store: HotStore, status: Status) -> None:
        """Whatever the caller believes, and its reference is not marked."""
        order = create(store, merchant_ref="R")
        store.change([to(order, status)], now_us=0)
        [order] = [now for now in store.load([order.order_id]) if now]
        assert move(store, order) == [False]
        assert store.load([order.order_id]) == [order]
        assert store.purge_references(moved_before_us=MOVED_US + 1, limit=9) == 0

    def test_a_batch_is_one_transaction(self, store: HotStore) -> None:
        """Each has its own outcome, in the order asked; the second of two alike finds nothing."""
        one, two, three = finished(store, 3)
        before = store.transactions
        other = Removal(two.order_id, two.version + 1)
        removals = [removal(three), other, Removal(an_order().order_id, 1), removal(one), removal(three)]
        assert store.remove(removals, now_us=MOVED_US) == [True, False, False, True, False]
        assert store.transactions == before + 1
        assert store.load([one.order_id, two.order_id, three.order_id]) == [None, two, None]

    def test_what_removes_nothing_writes_nothing(self, store: HotStore) -> None:
        """It is not counted as a writing transaction, nor is an empty batch."""
        before = store.transactions
        assert move(store, an_order()) == [False]
        assert store.remove([], now_us=MOVED_US) == []
        assert store.purge_references(moved_before_us=MOVED_US, limit=9) == 0
        assert store.transactions == before

    def test_a_replay_of_a_moved_order_says_where_it_is(self, store: HotStore) -> None:
        """The archive has it; nothing is written, and no second order is made, also from the very same draft."""
        draft = a_draft(merchant_ref="R")
        [created] = store.create([draft])
        assert isinstance(created, Created)
        move(store, *finish(store, created.order))
        before = store.transactions
        moved = Moved(draft.order.order_id)
        assert store.create([a_draft(merchant_ref="R"), draft, a_draft(merchant_ref="R")]) == [moved] * 3
        assert store.transactions == before
        assert store.load([draft.order.order_id]) == [None]

    def test_another_wish_under_a_moved_reference_is_refused(self, store: HotStore) -> None:
        """As if the order were still here."""
        [order] = finished(store, merchant_ref="R")
        move(store, order)
        fresh = a_draft()
        outcomes = store.create([a_draft(merchant_ref="R", body="another"), fresh])
        assert outcomes[0] == ReferenceReused(order.order_id)
        assert isinstance(outcomes[1], Created)

    def test_a_moved_order_cannot_be_changed_here(self, store: HotStore) -> None:
        """This store knows nothing of it any more."""
        [order] = finished(store)
        move(store, order)
        assert store.change([to(order, Status.SUCCESS)], now_us=0) == [Refused(Refusal.NOT_FOUND)]

    def test_a_removal_survives_a_restart(self, harness: HotHarness) -> None:
        """The row, and what the reference says."""
        store = harness.open().store
        [order] = finished(store, merchant_ref="R")
        move(store, order)
        harness.restart()
        store = harness.open().store
        assert store.load([order.order_id]) == [None]
        assert store.create([a_draft(merchant_ref="R")]) == [Moved(order.order_id)]

    def test_of_two_who_remove_one_does(self, harness: HotHarness) -> None:
        """Two archivers of one order are harmless."""
        stores = [harness.open().store for _ in range(4)]
        for _ in range(5):
            orders = finished(stores[0], 10)
            batches = [
                [removal(order) for order in (orders, orders[::-1])[number % 2]] for number in range(len(stores))
            ]
            calls = [partial(s.remove, b, now_us=MOVED_US) for s, b in zip(stores, batches, strict=True)]
            assert sum(map(sum, at_once(calls))) == len(orders)

    def test_whoever_replays_while_it_moves_finds_it(self, harness: HotHarness) -> None:
        """In this store or, as it says, in the archive: never a second order."""
        one, two = harness.open().store, harness.open().store
        for number in range(10):
            [order] = finished(one, merchant_ref=f"R{number}")
            again = a_draft(merchant_ref=f"R{number}")
            replay = partial(two.create, [again])
            calls: list[Callable[[], list[CreateOutcome]]] = [replay, replay, partial(_moved, one, order)]
            outcomes = at_once(calls)
            assert all(outcome in ([Replayed(order)], [Moved(order.order_id)]) for outcome in outcomes)
            assert one.load([again.order.order_id]) == [None]


class PurgingContract:
    """`HotStore.purge_references`."""

    def test_a_reference_is_free_after_its_window(self, store: HotStore) -> None:
        """Not before: the moment itself is still within."""
        [order] = finished(store, merchant_ref="R")
        move(store, order)
        assert store.purge_references(moved_before_us=MOVED_US, limit=9) == 0
        assert store.purge_references(moved_before_us=MOVED_US + 1, limit=9) == 1
        assert store.resolve([Ref("acme", "R")]) == [None]
        [outcome] = store.create([Draft(an_order(merchant_ref="R"), b"another body".ljust(32))])
        assert isinstance(outcome, Created)
        assert store.resolve([Ref("acme", "R")]) == [outcome.order.order_id]

    def test_references_of_orders_that_are_here_stay(self, store: HotStore) -> None:
        """However old, open or final."""
        orders = [create(store), *finished(store)]
        assert store.purge_references(moved_before_us=2**60, limit=9) == 0
        assert None not in store.resolve([Ref(order.merchant_id, order.merchant_ref) for order in orders])

    def test_a_purge_is_bounded_and_begins_with_the_earliest(self, store: HotStore) -> None:
        """So that it never holds up others for long. Which is the earliest is looked at on each shard by itself."""
        orders = [finished(store, merchant_ref=ref)[0] for ref in refs_of_one_group(5)]
        for number, order in enumerate(orders):
            move(store, order, now_us=MOVED_US - number)
        refs = [Ref(order.merchant_id, order.merchant_ref) for order in orders]
        assert store.purge_references(moved_before_us=MOVED_US + 1, limit=2) == 2
        assert store.resolve(refs) == [order.order_id for order in orders[:3]] + [None, None]
        assert store.purge_references(moved_before_us=MOVED_US, limit=9) == 2
        assert store.purge_references(moved_before_us=MOVED_US + 1, limit=0) == 0
        assert store.resolve(refs) == [orders[0].order_id, None, None, None, None]


class MovingContract(FinalsContract, RemovingContract, PurgingContract):
    """Everything that the archiver relies on."""


def _moved(store: HotStore, order: Order) -> list[CreateOutcome]:
    """Remove it, and say what a replay finds from then on."""
    assert move(store, order) == [True]
    return [Moved(order.order_id)]
