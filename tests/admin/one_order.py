"""One order in a deployment's tiers, each of them written to as its daemon would, or behind everybody's back."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import count
from typing import Any

from msgspec import structs

from orderctl.admin.inspection import Inspection, InspectSettings, inspect
from orderctl.admin.verdict import Finding
from orderctl.clock import Clock
from orderctl.ids import group_of, new_order_id, partition_of
from orderctl.order import Change, Order, Status
from orderctl.services.pump import Pump
from orderctl.stores.cache import Applied, Fill, Granted, Put, Tentative
from orderctl.stores.hot import Changed, Created, Draft, Removal
from orderctl.stores.log import CHANGES, Outgoing, Place
from orderctl.stores.record import record_of
from orderctl.stores.tiers import Tiers

GROUPS = 64
TTL_MS = 60_000
TOKEN = b"\x01" * 16

_serial = count(1)


class OneOrder:
    """An order, not created yet, and what may be done to it. `order` is how the hot store last had it."""

    def __init__(self, tiers: Tiers, clock: Clock) -> None:
        self.tiers = tiers
        self.clock = clock
        now_us, serial = clock.now_us(), next(_serial)
        ref = f"ref-{serial}"
        order_id = new_order_id(now_us // 1000, partition_of("acme", ref), lambda size: serial.to_bytes(size, "big"))
        self.order = Order(
            order_id, "acme", ref, 1999, "EUR", "card", "{}", Status.PENDING, None, 1, now_us, now_us, now_us + 900_000_000
        )  # fmt: skip

    @property
    def place(self) -> Place:
        """Its partition of the changes."""
        return Place(CHANGES, group_of(self.order.order_id, GROUPS))

    def create(self) -> Order:
        """Into the hot store."""
        [outcome] = self.tiers.hot.create([Draft(self.order, sha256(b"a body").digest())])
        assert isinstance(outcome, Created)
        self.order = outcome.order
        return self.order

    def move(self, *statuses: Status) -> Order:
        """On, in the hot store."""
        for status in statuses:
            change = Change(self.order.order_id, status)
            [outcome] = self.tiers.hot.change([change], now_us=self.clock.now_us())
            assert isinstance(outcome, Changed)
            self.order = outcome.order
        return self.order

    def remove(self) -> None:
        """Out of the hot store, whatever the archive has."""
        removal = Removal(self.order.order_id, self.order.version)
        assert self.tiers.hot.remove([removal], now_us=self.clock.now_us()) == [True]

    def pump(self) -> None:
        """What was committed goes to the log."""
        [feed] = self.tiers.feeds
        pump = Pump(feed, self.tiers.log, partition=0, groups=GROUPS, clock=self.clock)
        while pump.step(0):
            pass
        pump.close()

    def publish(self, value: bytes, *, times: int = 1, key: bytes | None = None) -> None:
        """Messages into its partition."""
        message = Outgoing(self.place, self.order.order_id.encode() if key is None else key, value)
        self.tiers.log.publish([message] * times)

    def archive(self, **fields: Any) -> Order:
        """Into the archive, perhaps with other fields than it has."""
        order = structs.replace(self.order, **fields)
        self.tiers.archive.write([order])
        return order

    def lease(self) -> None:
        """Somebody loads it."""
        assert self.tiers.cache.lookup([self.order.order_id], tokens=[TOKEN]) == [Granted(TOKEN)]

    def cache(self, **fields: Any) -> None:
        """Into the cache as a record, perhaps with other fields than it has."""
        self.lease()
        self._fill(record_of(structs.replace(self.order, **fields)))

    def set_timer(self) -> None:
        """A timer for its deadline, and no entry."""
        assert self.tiers.cache.apply([Put(record_of(self.order), TTL_MS)]) == [Applied.NOTHING]

    def deny(self) -> None:
        """Into the cache as `absent`."""
        self.lease()
        self._fill(None)

    def announce(self, **fields: Any) -> None:
        """Into the cache as a tentative."""
        record = record_of(structs.replace(self.order, **fields))
        assert self.tiers.cache.tentative([Tentative(record, TOKEN, self.clock.now_us() + 5_000_000)]) == [True]

    def inspect(self, **settings: Any) -> tuple[Inspection, Finding]:
        """What the verb says."""
        values = InspectSettings(**{"groups": GROUPS, **settings})
        return inspect(self.tiers, self.clock, self.order.order_id, values)

    def _fill(self, record: Any) -> None:
        fills: Sequence[Fill] = [Fill(self.order.order_id, TOKEN, record, TTL_MS)]
        assert self.tiers.cache.fill(fills) == [True]
