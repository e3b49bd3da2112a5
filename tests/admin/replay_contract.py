"""What `replay` promises on any stores: a dry run changes nothing, and what it counts is what the run then applies."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import structs

from orderctl.order import Order, Status
from orderctl.stores.log import CHANGES
from orderctl.stores.record import record_of
from tests.admin.flowing import Flow, each_of

KINDS = 7
"""An order in so many is damaged in each of four ways."""


def older(order: Order) -> Order:
    """As it was created."""
    return structs.replace(order, version=order.version - 1, status=Status.PENDING)


def overdue(flow: Flow) -> list[Order]:
    """20 open orders and 10 final ones whose deadlines have passed, and 5 with time left, each named twice by a timer."""
    orders = flow.orders.create(30, due_in_s=-1)
    flow.orders.finish(orders[20:])
    flow.hint([*orders, *flow.orders.create(5)], times=2)
    return orders


class ReplayContract:
    """A backend's test class inherits this and gives the fixtures `flow` and `many`, how many orders it is tried with."""

    def test_changes(self, flow: Flow, many: int, record_property: Callable[[str, object], None]) -> None:
        """cache-sync: each kind of damage counts, what a newer version put there does not; the offsets stay where they are."""
        orders = flow.moved(many)
        stale, other, newer, gone = (orders[kind::KINDS] for kind in range(4))
        clean = flow.plan("cache-sync")
        assert (clean.events, clean.orders, clean.would_change, clean.applied) == (2 * many, many, 0, 0)
        flow.orders.cache([older(order) for order in stale])
        flow.orders.cache(other, amount=7)
        flow.orders.cache(newer, version=3)
        for batch in (gone[at : at + 500] for at in range(0, len(gone), 500)):
            flow.tiers.cache.invalidate([order.order_id for order in batch])
        before, began_s = flow.state(orders), time.monotonic()
        plan = flow.plan("cache-sync")
        planned_s = time.monotonic() - began_s
        damaged = len(stale) + len(other)
        assert (plan.events, plan.orders, plan.would_change, plan.applied) == (2 * many, many, damaged, 0)
        assert {each.change for each in plan.examples} <= {
            "cached version 1 becomes 2, processing",
            "cached version 2 gets other bytes",
        }
        assert flow.state(orders) == before
        done = flow.execute("cache-sync")
        record_property("replayed", {"events": plan.events, "seconds": planned_s, "changed": done.applied})
        assert (done.would_change, done.applied) == (damaged, damaged)
        assert flow.state(orders)[4:] == before[4:]
        as_they_are = [record_of(order).body for order in (*stale, *other)]
        assert [entry.body for entry in flow.all_cached([*stale, *other])] == as_they_are
        assert {entry.version for entry in flow.all_cached(newer)} == {3}
        assert set(flow.all_cached(gone)) == {None}
        assert flow.plan("cache-sync").would_change == 0

    def test_hints(self, flow: Flow) -> None:
        """timeouts: those open and due; not what is final, and not what has time left."""
        orders = overdue(flow)
        before = flow.state(orders)
        plan = flow.plan("timeouts")
        assert (plan.events, plan.orders, plan.would_change) == (70, 35, 20)
        assert flow.state(orders) == before
        done = flow.execute("timeouts")
        assert (done.would_change, done.applied) == (20, 20)
        rows = [order for order in each_of(flow.tiers.hot.load, orders) if order is not None]
        assert [row.status for row in rows] == [Status.TIMEOUT] * 20 + [Status.SUCCESS] * 10
        assert flow.plan("timeouts").would_change == 0

    def test_final_rows(self, flow: Flow) -> None:
        """archiver: they move; open ones, and one that the archive contradicts, stay."""
        orders = flow.orders.create(40)
        final = flow.orders.finish(orders[:30])
        flow.pump()
        flow.follow()
        flow.have_read("archiver", CHANGES)
        flow.tiers.archive.write([structs.replace(final[0], status=Status.FAILED)])
        before = flow.state(orders)
        plan = flow.plan("archiver")
        assert (plan.events, plan.orders, plan.would_change) == (70, 40, 29)
        assert flow.state(orders) == before
        done = flow.execute("archiver")
        assert (done.would_change, done.applied) == (29, 29)
        ids = [order.order_id for order in final[1:]]
        assert flow.tiers.hot.load(ids) == [None] * 29
        assert flow.tiers.archive.load(ids) == final[1:]
        assert flow.tiers.hot.load([final[0].order_id]) == [final[0]]
