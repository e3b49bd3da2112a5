"""What the archive promises to threads and store objects that share it, to those who come back, and after closing."""

from __future__ import annotations

from functools import partial

import pytest

from orderctl.errors import TierUnavailable
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import Ref
from tests.contract.archive_harness import ArchiveHarness, a_final, at_version, finals, ref_of
from tests.contract.hot_harness import at_once

WRITERS = 4


class SharingContract:
    """Several stores on one archive."""

    def test_store_objects_see_each_others_writes(self, harness: ArchiveHarness) -> None:
        """As soon as a write was acknowledged, whoever made it."""
        one, two = harness.open(), harness.open()
        order = a_final()
        one.write([order])
        assert two.load([order.order_id]) == [order]
        two.write([at_version(order, 8)])
        assert one.load([order.order_id]) == [at_version(order, 8)]
        assert one.resolve([ref_of(order)]) == [order.order_id]

    def test_what_was_acknowledged_is_there_after_a_restart(self, harness: ArchiveHarness) -> None:
        """By id, by reference, and the place from which versions go on."""
        orders = finals(20)
        harness.open().write(orders)
        harness.restart()
        store = harness.open()
        assert store.load([order.order_id for order in orders]) == orders
        assert store.resolve([ref_of(order) for order in orders]) == [order.order_id for order in orders]
        store.write([at_version(orders[0], 1)])
        assert store.load([orders[0].order_id]) == [orders[0]]

    def test_two_archivers_of_the_same_orders_are_harmless(self, harness: ArchiveHarness) -> None:
        """They may write the same batch at once, one forwards and one backwards."""
        orders = finals(100)
        stores = [harness.open() for _ in range(WRITERS)]
        at_once([partial(s.write, (orders, orders[::-1])[number % 2]) for number, s in enumerate(stores)])
        assert stores[0].load([order.order_id for order in orders]) == orders

    def test_writers_of_different_versions_end_at_the_largest(self, harness: ArchiveHarness) -> None:
        """However their writes fall between each other's."""
        orders = finals(20)
        stores = [harness.open() for _ in range(WRITERS)]
        batches = [[at_version(order, 3 + number) for order in orders] for number in range(WRITERS)]
        at_once([partial(s.write, batch) for s, batch in zip(stores, batches, strict=True)])
        assert stores[0].load([order.order_id for order in orders]) == batches[-1]

    def test_threads_share_a_store(self, store: ArchiveStore) -> None:
        """Each finds what it wrote itself."""

        def write_and_read(number: int) -> bool:
            order = a_final(merchant_ref=f"thread {number}")
            store.write([order])
            return store.load([order.order_id]) == [order] and store.resolve([ref_of(order)]) == [order.order_id]

        assert all(at_once([partial(write_and_read, number) for number in range(8)]))

    def test_closing_one_store_leaves_the_others(self, harness: ArchiveHarness) -> None:
        """Closing twice is closing once."""
        one, two = harness.open(), harness.open()
        order = a_final()
        one.write([order])
        one.close()
        one.close()
        assert two.load([order.order_id]) == [order]

    def test_what_is_closed_refuses(self, store: ArchiveStore) -> None:
        """It says that it cannot be reached, as an archive that is away does."""
        store.ping()
        store.close()
        order = a_final()
        for call in (
            store.ping,
            partial(store.write, [order]),
            partial(store.load, [order.order_id]),
            partial(store.resolve, [Ref("acme", "R")]),
        ):
            with pytest.raises(TierUnavailable, match="closed"):
                call()
