"""timeouts: orders that are past their deadline are timed out, prompted by events and by a sweep that needs none."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import ClassVar, Final

from orderctl.daemons.base import Context, Daemon
from orderctl.daemons.loop import Loop
from orderctl.daemons.manifest import Manifest
from orderctl.order import Order
from orderctl.services.caching import puts_of
from orderctl.services.consumer import Consumer
from orderctl.services.epochs import OlderEpochs
from orderctl.services.sweeping import Sweep, SweepSettings
from orderctl.services.timeouts import BATCH, Hints, TimeOuts
from orderctl.stores.log import EXPIRED

WAIT_S: Final = 0.25
PAUSE_S_MAX: Final = 1.0
"""After a failure too: orders go on falling due, and a database that is back is to be asked at once."""
LEAVE_S: Final = 10.0


class TimeoutsDaemon(Daemon):
    """Its steps sweep. The events have a loop of their own: a log that hangs must not keep the sweep from its promise."""

    pause_s_max: ClassVar[float] = PAUSE_S_MAX

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        tiers, config = context.tiers, context.config
        time_outs = TimeOuts(
            tiers.deadlines,
            OlderEpochs(tiers.hot, tiers.archive, context.metrics, tell=self._tell),
            tiers.cache,
            clock=context.clock,
            metrics=context.metrics,
            record_ttl_ms=config.cache.record_ttl.ms,
        )
        self._sweep = Sweep(
            time_outs,
            clock=context.clock,
            random=context.random,
            settings=SweepSettings(
                interval_s=config.timeouts.sweep_interval,
                grace_s=config.timeouts.sweep_grace,
                rate_max=config.timeouts.sweep_rate_max,
            ),
        )
        self._events = Events(manifest, context, time_outs)
        self._loop = Loop(
            self._events,
            clock=context.clock,
            random=context.random,
            metrics=context.metrics,
            step_s_max=manifest.limits.step_s_max,
            pause_s_max=PAUSE_S_MAX,
        )
        self._thread = threading.Thread(target=self._loop.run, name=self._events.name, daemon=True)

    def step(self) -> float:
        if self._thread.ident is None:
            self._thread.start()
        if self._loop.refusal is not None:
            raise self._loop.refusal
        return self._sweep.step(self.own_groups)

    def _tell(self, orders: Sequence[Order]) -> None:
        """Let the cache have orders as the archive has them."""
        context = self.context
        ttl_ms = context.config.cache.record_ttl.ms
        context.tiers.cache.apply(puts_of(orders, now_us=context.clock.now_us(), ttl_ms=ttl_ms))

    def drain(self) -> None:
        self._loop.stop()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_S)

    @property
    def own_groups(self) -> frozenset[int] | None:
        """The groups that the log gave to this process, as last heard; None before. Any thread may ask."""
        return self._events.groups

    def not_ready(self) -> list[str]:
        return self._loop.not_alive()


class Events:
    """The work of following `orders.expired`, as one of the group that shares out the groups of orders."""

    name = "timeouts-events"

    def __init__(self, manifest: Manifest, context: Context, time_outs: TimeOuts) -> None:
        log, instance = context.tiers.log, context.config.daemon.instance or None
        self._consumer = Consumer(log, str(manifest.group), [EXPIRED], instance=instance, batch=BATCH)
        self._time_outs = time_outs
        self._hints = Hints(time_outs, log, clock=context.clock, metrics=context.metrics)
        self.groups: frozenset[int] | None = None
        """Those that are ours, as last heard; None before."""

    def step(self) -> float:
        """Ask again for those whose time has come, and handle what has come in; waits for it a moment."""
        self._hints.ask_again()
        handled = self._consumer.step(self._hints.handle, min(WAIT_S, self._hints.next_in_s()))
        if handled < BATCH:
            self._time_outs.tell_cache()
        self.groups = frozenset(place.partition for place in self._consumer.assigned())
        return 0

    def drain(self) -> None:
        """Leave the group."""
        self._consumer.close()
