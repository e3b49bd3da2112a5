"""`Flow` over real servers, which others have used before and will use again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from orderctl import event
from orderctl.admin.audit import audit_log
from orderctl.admin.parked import parked_drop, plan_drop
from orderctl.clock import Clock, SystemClock
from orderctl.config import Config
from orderctl.ids import group_of
from orderctl.order import Order
from orderctl.services.pump import Pump
from orderctl.services.replaying import AtTime
from orderctl.stores.log import CHANGES, EXPIRED, Place
from orderctl.stores.servers import migrate_servers
from orderctl.stores.tiers import Tiers, open_tiers
from tests.acceptance.server import until
from tests.admin.flowing import GROUPS, Flow
from tests.admin.many_orders import ManyOrders

PATIENCE_S = 60.0
NEWEST = 1_000
"""Among so many messages of a partition the newest of an order is looked for."""


class RealFlow(Flow):
    """It begins behind what is there, and with nothing parked; its merchant is nobody else's.

    One pump goes on: another one would publish again what came after the last checkpoint.
    """

    def __init__(self, tiers: Tiers, config: Config, clock: Clock, path: Path) -> None:
        assert config.deployment.groups == GROUPS
        super().__init__(tiers, clock, path, ManyOrders(tiers, clock, merchant=os.urandom(8).hex(), seed=os.urandom(8)))
        self.config = config
        [feed] = tiers.feeds
        self._pump = Pump(feed, tiers.log, partition=0, groups=GROUPS, clock=clock)
        self.orders.create(1)
        self.pump()
        self.have_read("cache-sync", CHANGES)
        self.have_read("archiver", CHANGES)
        self.have_read("timeouts", EXPIRED)
        for group, mark in enumerate(tiers.log.committed("cache-sync", CHANGES)):
            tiers.cache.reset_group(group, mark=mark or 0)
        with audit_log(path, clock) as audit:
            parked_drop(tiers.log, audit, clock, *plan_drop(tiers.log, None), reason=None)
        path.unlink()
        begin_ms = clock.now_us() // 1000 + 1
        until(lambda: clock.now_us() // 1000 >= begin_ms, seconds=PATIENCE_S, what="a later moment")
        self.begin = AtTime(begin_ms)

    def pump(self) -> None:
        """Until the newest change of an order of ours is in the log: by then all before it are."""
        order = self.orders.newest
        until(
            lambda: not self._pump.step(0.2) and self._is_published(order), seconds=PATIENCE_S, what="it is published"
        )

    def close(self) -> None:
        """Let go of the feed."""
        self._pump.close()

    def _is_published(self, order: Order) -> bool:
        place, key = Place(CHANGES, group_of(order.order_id, GROUPS)), order.order_id.encode()
        end = self.end(place)
        messages = self.tiers.log.read(place, max(0, end - NEWEST), NEWEST)
        return any(each.key == key and event.decode(each.value).order.version == order.version for each in messages)


@contextmanager
def real_flow(config: Config, path: Path) -> Iterator[RealFlow]:
    """One on these servers, with their schemas and topics made."""
    clock = SystemClock()
    migrate_servers(config, clock, dry_run=False)
    tiers = open_tiers(config, None, clock)
    try:
        with closing(RealFlow(tiers, config, clock, path)) as flow:
            yield flow
    finally:
        tiers.close()
