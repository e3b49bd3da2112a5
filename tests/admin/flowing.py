"""Tiers through which orders have flowed: what was committed is in the log, and cache-sync has read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import structs
from prometheus_client import CollectorRegistry

from orderctl.admin.audit import audit_log
from orderctl.admin.audit_read import audit_list
from orderctl.admin.replay import Replayer, ReplayView
from orderctl.clock import Clock
from orderctl.config import Config
from orderctl.ids import group_of
from orderctl.metrics import Metrics
from orderctl.order import Order, Status
from orderctl.services.cache_sync import CacheSync
from orderctl.services.expiry import Expired, encode_expired
from orderctl.services.pump import Pump
from orderctl.services.replaying import AtTime, Point
from orderctl.stores.cache import Fill, Granted
from orderctl.stores.log import CHANGES, EXPIRED, Outgoing, Place
from orderctl.stores.tiers import Tiers
from tests.admin.many_orders import ManyOrders, batches

CONFIG = Config()
GROUPS = CONFIG.deployment.groups
BEGINNING = AtTime(0)


T = TypeVar("T")


def unheard(_: int) -> None:
    """Progress that nobody looks at."""


class Flow:
    """A deployment's tiers, and what the daemons would do in them. `path` is the audit log's."""

    config = CONFIG
    begin: Point = BEGINNING
    """Before all that the test does, and behind what others did."""

    def __init__(self, tiers: Tiers, clock: Clock, path: Path, orders: ManyOrders | None = None) -> None:
        self.tiers = tiers
        self.clock = clock
        self.path = path
        self.orders = orders or ManyOrders(tiers, clock)
        for group, mark in enumerate(tiers.cache.marks(range(GROUPS))):
            if mark is None:
                tiers.cache.reset_group(group, mark=0)

    def pump(self) -> None:
        """What was committed goes to the log."""
        [feed] = self.tiers.feeds
        pump = Pump(feed, self.tiers.log, partition=0, groups=GROUPS, clock=self.clock)
        while pump.step(0):
            pass
        pump.close()

    def follow(self) -> None:
        """cache-sync applies what is in the log, from the last commit on, and commits it."""
        log = self.tiers.log
        sync = CacheSync(
            self.tiers.cache,
            log,
            groups=GROUPS,
            clock=self.clock,
            metrics=Metrics(CollectorRegistry()),
            record_ttl_ms=600_000,
        )
        at = [offset or 0 for offset in log.committed("cache-sync", CHANGES)]
        done: dict[Place, int] = {}
        for number, (_, end) in enumerate(log.ends(CHANGES)):
            place = Place(CHANGES, number)
            if at[number] < end:
                done |= sync.apply(log.read(place, at[number], end - at[number]))
        log.seek("cache-sync", done)

    def have_read(self, group: str, topic: str) -> None:
        """Another daemon's group has read all there is."""
        ends = enumerate(self.tiers.log.ends(topic))
        self.tiers.log.seek(group, {Place(topic, number): end for number, (_, end) in ends})

    def hint(self, orders: Sequence[Order], *, times: int = 1) -> None:
        """Timers of these orders went off, and the daemon has read of it."""
        now_ms = self.clock.now_us() // 1000
        self.tiers.log.publish(
            [
                Outgoing(
                    Place(EXPIRED, group_of(order.order_id, GROUPS)),
                    order.order_id.encode(),
                    encode_expired(Expired(order.order_id, now_ms)),
                )
                for order in orders
                for _ in range(times)
            ]
        )
        self.have_read("timeouts", EXPIRED)

    def deny(self, orders: Sequence[Order]) -> None:
        """The cache says that there are no such orders."""
        fills = [Fill(order.order_id, token, None, 60_000) for order, token in self.lease(orders)]
        assert all(self.tiers.cache.fill(fills))

    def lease(self, orders: Sequence[Order]) -> list[tuple[Order, bytes]]:
        """Somebody loads them, under these tokens; the cache had no entry of them."""
        tokens = [number.to_bytes(16, "big") for number in range(1, len(orders) + 1)]
        ids = [order.order_id for order in orders]
        assert self.tiers.cache.lookup(ids, tokens=tokens) == [Granted(token) for token in tokens]
        return list(zip(orders, tokens, strict=True))

    def moved(self, count: int) -> list[Order]:
        """So many orders that are processing, cached as that, with both changes in the log and read."""
        orders = self.orders.move(self.orders.create(count), Status.PROCESSING)
        self.orders.cache(orders)
        self.pump()
        self.follow()
        return orders

    def cached(self, order: Order) -> Any:
        """What the cache holds of the order."""
        return self.tiers.cache.get([order.order_id])[0]

    def all_cached(self, orders: Sequence[Order]) -> list[Any]:
        """What it holds of each."""
        return each_of(self.tiers.cache.get, orders)

    def end(self, place: Place) -> int:
        """The offset that the next message gets there."""
        return self.tiers.log.ends(place.topic)[place.partition][1]

    def replayer(self, daemon: str, begin: Point | None = None, end: Point | None = None, **stores: Any) -> Replayer:
        """One over the whole log, unless told otherwise; `stores` are others than the tiers' own."""
        tiers = structs.replace(self.tiers, **stores)
        return Replayer(tiers, self.config, self.clock, daemon=daemon, begin=begin or self.begin, end=end)

    def plan(self, daemon: str, *points: Point, **stores: Any) -> ReplayView:
        """What a replay would do."""
        return self.replayer(daemon, *points, **stores).plan(progress=unheard)

    def execute(self, daemon: str, *points: Point, progress: Callable[[int], None] = unheard) -> ReplayView:
        """Do it, after a dry run."""
        replayer = self.replayer(daemon, *points)
        with audit_log(self.path, self.clock) as audit:
            return replayer.execute(replayer.plan(progress=unheard), audit, reason="test", progress=progress)

    def audited(self) -> list[dict[str, Any]]:
        """The audit log."""
        return audit_list(self.path)

    def state(self, orders: Sequence[Order]) -> list[object]:
        """All that a replay may touch: entries, rows of both databases, what the log holds and where its groups are."""
        tiers = self.tiers
        ends = [tiers.log.ends(topic) for topic in (CHANGES, EXPIRED, "orders.parked", "orders.invalidated")]
        groups = [tiers.log.committed("cache-sync", CHANGES), tiers.log.committed("timeouts", EXPIRED)]
        marks = tiers.cache.marks(range(GROUPS))
        loads: Sequence[Callable[[list[str]], Sequence[object]]] = (tiers.cache.get, tiers.hot.load, tiers.archive.load)
        return [*(each_of(load, orders) for load in loads), ends, groups, marks]


def each_of(load: Callable[[list[str]], Sequence[T]], orders: Sequence[Order]) -> list[T]:
    """What a tier has of each of many orders."""
    return [found for batch in batches(orders) for found in load([order.order_id for order in batch])]
