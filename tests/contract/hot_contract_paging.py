"""What paging through the hot store promises: its open orders by id, and its references by their keys, all or of some groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.stores.hot import Changed, Created, HotStore, Ref, Removal
from tests.contract.hot_harness import GROUPS, a_draft, drafts, to

T = TypeVar("T")


def paged(ask: Callable[[T | None, int], Sequence[T]], limit: int) -> list[T]:
    """All pages, one after another."""
    found: list[T] = []
    while page := ask(found[-1] if found else None, limit):
        assert len(page) <= limit
        found.extend(page)
    return found


class PagingContract:
    """`HotStore.open_orders` and `references`."""

    def made(self, store: HotStore, number: int) -> list[Order]:
        """New orders, by id."""
        orders = [outcome.order for outcome in store.create(drafts(number)) if isinstance(outcome, Created)]
        return sorted(orders, key=lambda order: order.order_id)

    def open_orders(self, store: HotStore, groups: frozenset[int] | None = None, limit: int = 1_000) -> list[Order]:
        """All of these groups."""

        def ask(after: Order | None, count: int) -> list[Order]:
            return store.open_orders(groups, after=after.order_id if after else None, limit=count)

        return paged(ask, limit)

    def references(
        self, store: HotStore, groups: frozenset[int] | None = None, limit: int = 1_000
    ) -> list[tuple[Ref, str]]:
        """All of these groups."""

        def ask(after: tuple[Ref, str] | None, count: int) -> list[tuple[Ref, str]]:
            return store.references(groups, after=after[0] if after else None, limit=count)

        return paged(ask, limit)

    def test_open_orders_come_by_id(self, store: HotStore) -> None:
        """Pending ones and those in process, as they stand; final ones do not."""
        orders = self.made(store, 30)
        store.change([to(order, Status.PROCESSING) for order in orders[:10]], now_us=0)
        store.change([to(order, Status.SUCCESS) for order in orders[20:]], now_us=0)
        expected = [order for order in store.load([order.order_id for order in orders[:20]]) if order]
        assert self.open_orders(store) == expected
        assert self.open_orders(store, limit=7) == expected
        assert store.open_orders(None, after=expected[4].order_id, limit=3) == expected[5:8]
        assert store.open_orders(None, after=None, limit=0) == []

    def test_open_orders_of_some_groups(self, store: HotStore) -> None:
        """The id says which; no group, no order."""
        orders = self.made(store, 60)
        some = frozenset(range(0, GROUPS, 3))
        expected = [order for order in orders if group_of(order.order_id, GROUPS) in some]
        assert 0 < len(expected) < len(orders)
        assert self.open_orders(store, some, limit=5) == expected
        assert self.open_orders(store, frozenset()) == []

    def test_references_come_by_their_keys(self, store: HotStore) -> None:
        """Each with its order's id, be the order open, final, or moved."""
        orders = self.made(store, 20)
        [done] = store.change([to(orders[3], Status.SUCCESS)], now_us=0)
        assert isinstance(done, Changed)
        assert store.remove([Removal(done.order.order_id, done.order.version)], now_us=1) == [True]
        expected = sorted((Ref(order.merchant_id, order.merchant_ref), order.order_id) for order in orders)
        assert self.references(store) == expected
        assert self.references(store, limit=3) == expected

    def test_references_of_several_merchants(self, store: HotStore) -> None:
        """Compared byte by byte: upper case comes first, and nothing is equal that differs."""
        names = [("acme", "b"), ("acme", "B"), ("Acme", "b"), ("acme ", "a"), ("acm", "z"), ("acme", "~")]
        for merchant_id, ref in names:
            [outcome] = store.create([a_draft(merchant_id=merchant_id, merchant_ref=ref)])
            assert isinstance(outcome, Created)
        assert [(ref.merchant_id, ref.merchant_ref) for ref, _ in self.references(store, limit=1)] == sorted(names)

    def test_references_of_some_groups(self, store: HotStore) -> None:
        """The order's id says which."""
        orders = self.made(store, 60)
        some = frozenset(range(1, GROUPS, 4))
        expected = {order.order_id for order in orders if group_of(order.order_id, GROUPS) in some}
        assert 0 < len(expected) < len(orders)
        assert {order_id for _, order_id in self.references(store, some, limit=5)} == expected
        assert self.references(store, frozenset()) == []
