"""Invalidation: what is to be forgotten goes from the cache and from memories, and no load under way brings it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from orderctl.admin.audit import audit_log
from orderctl.admin.groups import parse_groups
from orderctl.admin.invalidate import Invalidation, Invalidator, orders_of_merchant, plan_groups, plan_orders
from orderctl.clock import ManualClock
from orderctl.errors import TierUnavailable, UsageRefused
from orderctl.ids import group_of
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.invalidation import Follower
from orderctl.services.near import NearCache
from orderctl.stores.cache import Fill
from orderctl.stores.record import record_of
from orderctl.stores.tiers import Tiers
from tests.admin.flowing import GROUPS, Flow, unheard
from tests.admin.many_orders import ManyOrders
from tests.services.tiers import Failing


@pytest.fixture
def flow(tiers: Tiers, clock: ManualClock, tmp_path: Path) -> Flow:
    """Tiers with nothing in them yet."""
    return Flow(tiers, clock, tmp_path / "audit.jsonl")


class Memory:
    """A process's memory that follows the invalidations."""

    def __init__(self, flow: Flow) -> None:
        metrics = Metrics(CollectorRegistry())
        self.near = NearCache(
            groups=GROUPS, clock=flow.clock, metrics=metrics, orders_max=1_000, bytes_max=1 << 20, open_ttl_s=60
        )
        self.follower = Follower(flow.tiers.log, self.near, groups=GROUPS, clock=flow.clock, metrics=metrics)
        self.follower.step()

    def keep(self, orders: Sequence[Order]) -> None:
        self.near.put_many(
            self.near.begin([order.order_id for order in orders]), [record_of(order) for order in orders]
        )

    def has(self, orders: Sequence[Order]) -> list[bool]:
        self.follower.step()
        return [found is not None for found in self.near.get_many([order.order_id for order in orders])]


def ids_of(orders: Sequence[Order]) -> list[str]:
    return [order.order_id for order in orders]


def invalidate(flow: Flow, orders: Sequence[Order], **stores: Any) -> Invalidation:
    """These, as an operator does."""
    cache, log = stores.get("cache", flow.tiers.cache), stores.get("log", flow.tiers.log)
    with audit_log(flow.path, flow.clock) as audit:
        invalidator = Invalidator(cache, log, audit, groups=GROUPS)
        return invalidator.orders(ids_of(orders), reason="test", progress=unheard)


def invalidate_groups(flow: Flow, groups: frozenset[int]) -> Invalidation:
    """All of these groups."""
    plan = plan_groups(flow.tiers.cache, groups, progress=unheard)
    with audit_log(flow.path, flow.clock) as audit:
        invalidator = Invalidator(flow.tiers.cache, flow.tiers.log, audit, groups=GROUPS)
        return invalidator.groups(plan, groups, reason="test", progress=unheard)


def test_named_orders_are_forgotten_everywhere(flow: Flow) -> None:
    """In the cache and in every process's memory; the others stay. Twice is once."""
    gone, kept = flow.orders.create(600), flow.orders.create(5)
    flow.orders.cache([*gone, *kept])
    memory = Memory(flow)
    memory.keep([*gone[:10], *kept])
    done = invalidate(flow, [*gone, gone[0]])
    assert (done.orders, done.executed) == (600, True)
    assert done.by_group == Counter(group_of(order.order_id, GROUPS) for order in gone)
    assert [flow.cached(order) for order in gone] == [None] * 600
    assert all(flow.cached(order) for order in kept)
    assert memory.has([*gone[:10], *kept]) == [False] * 10 + [True] * 5


def test_a_load_under_way_brings_nothing_back(flow: Flow) -> None:
    """Its lease is gone, and what it would keep in memory is not taken."""
    orders = flow.orders.create(3)
    leased = flow.lease(orders)
    memory = Memory(flow)
    began = memory.near.begin(ids_of(orders))
    invalidate(flow, orders)
    memory.follower.step()
    fills = [Fill(order.order_id, token, record_of(order), 60_000) for order, token in leased]
    assert flow.tiers.cache.fill(fills) == [False] * 3
    memory.near.put_many(began, [record_of(order) for order in orders])
    assert memory.has(orders) == [False] * 3


def test_groups_are_forgotten_with_what_only_memories_have(flow: Flow) -> None:
    """The plan counts what the cache has, and changes nothing; the marks stay, or cache-sync would drop the groups again."""
    orders = flow.orders.create(400)
    groups = frozenset(range(8))
    mine = [order for order in orders if group_of(order.order_id, GROUPS) in groups]
    cached, near_only = mine[:-3], mine[-3:]
    others = [order for order in orders if order not in mine]
    flow.orders.cache([*cached, *others])
    memory = Memory(flow)
    memory.keep([*near_only, *others[:3]])
    marks = flow.tiers.cache.marks(range(GROUPS))
    plan = plan_groups(flow.tiers.cache, groups, progress=unheard)
    assert (plan.orders, plan.executed) == (len(cached), False)
    assert plan.by_group == Counter(group_of(order.order_id, GROUPS) for order in cached)
    assert all(map(flow.cached, cached))
    assert invalidate_groups(flow, groups) == Invalidation(plan.orders, plan.by_group, executed=True)
    assert [flow.cached(order) for order in cached] == [None] * len(cached)
    assert all(map(flow.cached, others))
    assert memory.has([*near_only, *others[:3]]) == [False] * 3 + [True] * 3
    assert flow.tiers.cache.marks(range(GROUPS)) == marks


def test_a_merchants_orders_are_those_that_the_cache_has(flow: Flow) -> None:
    """Whosever they are is in the entry's header; a lease is nobody's."""
    mine, others = flow.orders.create(50), ManyOrders(flow.tiers, flow.clock, merchant="other").create(20)
    flow.orders.cache([*mine[:40], *others])
    flow.lease(mine[40:])
    assert sorted(orders_of_merchant(flow.tiers.cache, "acme", groups=GROUPS, progress=unheard)) == sorted(
        ids_of(mine[:40])
    )
    assert orders_of_merchant(flow.tiers.cache, "nobody", groups=GROUPS, progress=unheard) == []


@pytest.mark.parametrize("tier", ["cache", "log"])
def test_a_tier_that_is_away(flow: Flow, tier: str) -> None:
    """It is an error, and the audit log says that it began and not that it ended; done again it is done."""
    orders = flow.orders.create(3)
    flow.orders.cache(orders)
    failing = Failing(getattr(flow.tiers, tier))
    failing.error = TierUnavailable(tier)
    with pytest.raises(TierUnavailable):
        invalidate(flow, orders, **{tier: failing})
    assert [line["done"] for line in flow.audited()] == [False]
    invalidate(flow, orders)
    assert [line["done"] for line in flow.audited()] == [False, False, True]


def test_the_audit_log_names_the_orders(flow: Flow) -> None:
    """A few by their ids, many by their number; and the plan's digest."""
    orders = flow.orders.create(501)
    invalidate(flow, orders[:2])
    invalidate(flow, orders)
    invalidate_groups(flow, frozenset({3, 1}))
    few, _, many, _, groups, _ = flow.audited()
    assert few["order_ids"] == ids_of(orders[:2])
    assert (many["orders"], "order_ids" in many) == (501, False)
    assert groups["groups"] == [1, 3]
    assert len({line["plan"] for line in (few, many, groups)}) == 3
    assert {line["reason"] for line in flow.audited()} == {"test"}


def test_nothing_to_forget(flow: Flow) -> None:
    """An empty list is done."""
    assert plan_orders([], GROUPS) == Invalidation(0, {})
    assert invalidate(flow, []) == Invalidation(0, {}, executed=True)


def test_groups_as_they_are_written() -> None:
    """Numbers and ranges, in any order, of the groups that there are."""
    assert parse_groups("0-2,17, 5 ,17", 64) == {0, 1, 2, 5, 17}
    for text in ("", "x", "3-", "-3", "1,,2", "3-1", "64", "0-64"):
        with pytest.raises(UsageRefused):
            parse_groups(text, 64)
