"""What the tests of time-outs share: a host whose clock may be wrong, orders that fall due, and events that name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orderctl.clock import US_PER_S, ManualClock
from orderctl.ids import group_of
from orderctl.order import Order
from orderctl.services.epochs import OlderEpochs
from orderctl.services.expiry import Expired, encode_expired
from orderctl.services.sweeping import Sweep, SweepSettings
from orderctl.services.timeouts import Hints, TimeOuts
from orderctl.stores.hot import Created
from orderctl.stores.log import EXPIRED, Message, Place
from tests.contract.hot_harness import a_draft
from tests.services.tiers import Bench, Failing

GROUPS = 64
HOUR_S = 3600.0


class Host:
    """The timeouts service on a host of its own. `skew_s` is how far its wall clock is ahead of the database's."""

    def __init__(self, bench: Bench, *, skew_s: float = 0.0, deadlines: Any = None, again_max: int = 100) -> None:
        self.bench = bench
        self.clock = ManualClock(bench.clock.now_us() + int(skew_s * US_PER_S))
        self.deadlines = Failing(deadlines or bench.tiers.deadlines)
        self.time_outs = TimeOuts(
            self.deadlines,
            OlderEpochs(bench.hot, bench.archive, bench.metrics),
            bench.cache,
            clock=self.clock,
            metrics=bench.metrics,
            record_ttl_ms=60_000,
        )
        self.hints = Hints(self.time_outs, bench.log, clock=self.clock, metrics=bench.metrics, again_max=again_max)

    def sweep(self, **settings: float) -> Sweep:
        """A sweep of this host."""
        return Sweep(self.time_outs, clock=self.clock, random=_half, settings=SweepSettings(**settings))

    def pass_time(self, seconds: float) -> None:
        """On this host and on the database's."""
        self.clock.advance(seconds)
        self.bench.clock.advance(seconds)

    def named(self, *orders: Order) -> dict[Place, int]:
        """Handle one event for each order."""
        return self.hints.handle([event(order.order_id, offset) for offset, order in enumerate(orders)])

    def status(self, *orders: Order) -> list[str]:
        """How the orders stand in the hot store."""
        found = self.bench.tiers.hot.load([order.order_id for order in orders])
        return [order.status.value if order is not None else "gone" for order in found]

    @property
    def found(self) -> tuple[int, int]:
        """How many were timed out by events and by the sweep."""
        expiry, sweep = (self.bench.counted("timeouts_total", found_by=found_by) for found_by in ("expiry", "sweep"))
        return int(expiry), int(sweep)


def _half(size: int) -> bytes:
    return b"\x80" + bytes(size - 1)


def due_in(bench: Bench, *seconds: float) -> list[Order]:
    """Pending orders, each with its deadline so far ahead by the database's clock."""
    now_us = bench.clock.now_us()
    outcomes = bench.tiers.hot.create([a_draft(deadline_at=now_us + int(each * US_PER_S)) for each in seconds])
    return [outcome.order for outcome in outcomes if isinstance(outcome, Created)]


def event(order_id: str, offset: int = 0) -> Message:
    """What the expiry daemon says when a timer ran out."""
    return raw(encode_expired(Expired(order_id, 0)), offset, group=group_of(order_id, GROUPS), key=order_id)


def raw(value: bytes, offset: int = 0, *, group: int = 0, key: str = "") -> Message:
    """Whatever somebody put into the topic."""
    return Message(Place(EXPIRED, group), offset, key.encode(), value, (), 0)


def groups_of(orders: Sequence[Order]) -> frozenset[int]:
    """The groups that these orders are of."""
    return frozenset(group_of(order.order_id, GROUPS) for order in orders)
