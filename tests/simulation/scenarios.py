"""The scenarios: which processes meet over which order, each small enough for every interleaving of its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import count

from msgspec import Struct

from orderctl.clock import US_PER_S
from orderctl.ids import new_order_id, partition_of
from orderctl.order import Change, NewOrder, Order, Status
from orderctl.stores.cache import Granted
from orderctl.stores.hot import Draft
from orderctl.stores.record import Kind, record_of
from tests.contract.cache_harness import GROUPS
from tests.simulation import programs as run
from tests.simulation.process import Program
from tests.simulation.search import Report, Search, Violation
from tests.simulation.world import BEGIN_US, World

MERCHANT = "merchant"
REF = next(ref for ref in map(str, count()) if partition_of(MERCHANT, ref) % GROUPS == 0)
"""All orders are of the same group: its partition is the one that is followed."""
NEW = NewOrder(merchant_ref=REF, amount=100, currency="EUR", payment_method="card")
ORDER_ID = new_order_id(BEGIN_US // 1000, 0, lambda size: b"\x01" * size)
LEASE_S = 2.1
"""Longer than a lease lives."""
TENTATIVE_S = 5.1
"""Longer than a tentative lives."""


class Scenario(Struct, frozen=True):
    """Processes over a world that was prepared. Those in `mortal` may be killed before any of their steps."""

    programs: Callable[[World], Mapping[str, Program]]
    prepare: Callable[[World], None]
    mortal: Collection[str] = ()
    is_real: bool = True
    """Whether it can be had with a real cache, whose time does not pass at will."""

    def search(self, world: World, *, states_max: int) -> Report:
        """Go through all of it, or to the first violation. `world` is fresh."""
        self.prepare(world)
        search = Search(world, self.programs(world), at_end=end_well, mortal=self.mortal)
        return search.run(states_max=states_max)


def end_well(world: World) -> None:
    """When all is quiet: what was acknowledged is there, and a record in the cache equals its source.

    Tentatives and `absent` may be wrong: they live for seconds. So does a lease, which says nothing.
    """
    for order_id, version in world.facts.items():
        order = world.hot.load([order_id])[0] or world.archive.load([order_id])[0]
        if order is None or order.version < version:
            raise Violation(f"version {version} was acknowledged, and the databases have {order}")
        (entry,) = world.cache.get([order_id])
        if entry is None or entry.kind is not Kind.RECORD:
            continue
        record = record_of(order)
        if (entry.version, entry.body) != (record.version, record.body):
            raise Violation(f"the cache has {entry.version}: {entry.body!r}, and the databases {order}")


def nothing(_world: World) -> None:
    """The world is empty."""


def an_order(world: World) -> None:
    """One open order, which its merchant was told of, is in MySQL, and in no cache."""
    order = Order(
        order_id=ORDER_ID,
        merchant_id=MERCHANT,
        merchant_ref=NEW.merchant_ref,
        amount=NEW.amount,
        currency=NEW.currency,
        payment_method=NEW.payment_method,
        metadata="{}",
        status=Status.PENDING,
        status_reason=None,
        version=1,
        created_at=BEGIN_US,
        updated_at=BEGIN_US,
        deadline_at=BEGIN_US + 900 * US_PER_S,
    )
    world.hot.create([Draft(order, b"d" * 32)])
    run.acknowledge(world, ORDER_ID, 1)


def an_old_order(world: World) -> None:
    """As `an_order`, so long ago that the archive is asked first."""
    an_order(world)
    world.clock.advance(2_000)


def a_cached_order(world: World) -> None:
    """As `an_order`, and its record is in the cache."""
    an_order(world)
    (granted,) = world.cache.lookup([ORDER_ID], tokens=[b"t" * 16])
    assert isinstance(granted, Granted)
    run.fill(world, ORDER_ID, granted.token)


def a_spoilt_order(world: World) -> None:
    """As `a_cached_order`, but the record's bytes are wrong."""
    a_cached_order(world)
    world.spoil(ORDER_ID)


SUCCESS = Change(ORDER_ID, Status.SUCCESS)
PROCESSING = Change(ORDER_ID, Status.PROCESSING)

SCENARIOS: dict[str, Scenario] = {
    "a change meets a reader, and the entry is evicted": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "follower": run.following(world, 1),
            "reader": run.reading(world, ORDER_ID, times=1),
            "eviction": run.evicting(world, ORDER_ID),
        },
        an_order,
        mortal=("command", "reader"),
    ),
    "a change meets two readers": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "follower": run.following(world, 1),
            "reader a": run.reading(world, ORDER_ID, times=1),
            "reader b": run.reading(world, ORDER_ID, times=1),
        },
        an_order,
        mortal=("command",),
    ),
    "a reader looks again and again": Scenario(
        lambda world: {
            "command": run.changing(world, PROCESSING, SUCCESS),
            "reader": run.reading(world, ORDER_ID, times=3, is_near=True),
            "eviction": run.evicting(world, ORDER_ID),
        },
        an_order,
    ),
    "a reader of many orders looks again and again": Scenario(
        lambda world: {
            "command": run.changing(world, PROCESSING, SUCCESS),
            "reader": run.reading(world, ORDER_ID, times=3, is_near=True, reads_first=True),
            "eviction": run.evicting(world, ORDER_ID),
        },
        an_order,
    ),
    "a change meets a reader of many orders, and Redis goes back in time": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "follower": run.following(world, 1),
            "fail-over": run.going_back(world),
            "reader": run.reading(world, ORDER_ID, times=2, is_near=True, reads_first=True),
        },
        a_cached_order,
    ),
    "a reader of what was acknowledged": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "follower": run.following(world, 1),
            "reader": run.reading_own_write(world, ORDER_ID),
            "eviction": run.evicting(world, ORDER_ID),
        },
        a_cached_order,
    ),
    "a lease lapses": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "reader a": run.reading(world, ORDER_ID, times=1),
            "reader b": run.reading(world, ORDER_ID, times=1),
            "time": run.ageing(world, LEASE_S),
        },
        an_order,
        mortal=("reader a",),
        is_real=False,
    ),
    "an old event comes again": Scenario(
        lambda world: {
            "command": run.changing(world, PROCESSING, SUCCESS),
            "second follower": run.repeating(world),
            "reader": run.reading(world, ORDER_ID, times=1),
        },
        an_order,
    ),
    "Redis goes back in time": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "follower": run.following(world, 1),
            "fail-over": run.going_back(world),
            "reader": run.reading(world, ORDER_ID, times=1),
        },
        a_cached_order,
    ),
    "a young order moves to the archive": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "archiver": run.archiving(world),
            "reader": run.reading(world, ORDER_ID, times=2),
        },
        an_order,
        mortal=("archiver",),
    ),
    "an old order moves to the archive": Scenario(
        lambda world: {
            "command": run.changing(world, SUCCESS),
            "archiver": run.archiving(world),
            "reader": run.reading(world, ORDER_ID, times=2),
        },
        an_old_order,
        mortal=("archiver",),
    ),
    "a creation's tentative comes late": Scenario(
        lambda world: {
            "creator": run.creating(world, MERCHANT, NEW),
            "command": run.changing_created(world, Status.SUCCESS),
            "follower": run.following(world, 0),
            "reader": run.reading_created(world),
        },
        nothing,
    ),
    "a creation's tentative comes late, and an old event again": Scenario(
        lambda world: {
            "creator": run.creating(world, MERCHANT, NEW),
            "command": run.changing_created(world, Status.PROCESSING, Status.SUCCESS),
            "second follower": run.repeating(world, but_the_last=True),
        },
        nothing,
    ),
    "wrong bytes are mended": Scenario(
        lambda world: {"second follower": run.following(world, 0)},
        a_spoilt_order,
        is_real=False,
    ),
}
