"""The archiver: moves final orders to the archive, and forgets references whose window is over."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from orderctl.clock import US_PER_S
from orderctl.daemons.base import Context, Daemon
from orderctl.daemons.manifest import Manifest
from orderctl.errors import TierError
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.services.consumer import Consumer, lag_events
from orderctl.services.late_moving import LateMover, LateMoverSettings
from orderctl.stores.log import CHANGES, Message, Place

WAKE_BATCH = 5_000
IDLE_S = 0.25
"""How long a step waits for an event to wake it."""
HOUSEKEEPING_S = 1.0
PURGE_BATCH = 500
LATE_S = 1.0
"""How often to look for late results, while there are none."""
FOLLOWER = "cache-sync"
"""The group whose lag slows the archiver: each removal is one more change for it to read."""

_log = structlog.stdlib.get_logger(__name__)


class ArchiverDaemon(Daemon):
    """One loop from the hot store's state. The log only wakes it and shares out the groups.

    While the log is away it goes on with the groups that it had, or with all of them if it was never given any.
    """

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        tiers, config = context.tiers, context.config
        instance = config.daemon.instance or None
        self._consumer = Consumer(tiers.log, str(manifest.group), [CHANGES], instance=instance, batch=WAKE_BATCH)
        self._mover = Mover(
            tiers.hot,
            tiers.archive,
            clock=context.clock,
            metrics=context.metrics,
            settings=ArchiverSettings(settle_s=config.archiver.settle_s),
        )
        self._late = LateMover(
            tiers.late,
            tiers.late_archive,
            clock=context.clock,
            metrics=context.metrics,
            settings=LateMoverSettings(settle_s=config.archiver.settle_s),
        )
        self._move_late_at_s = 0.0
        self._groups: frozenset[int] | None = None
        self._is_busy = False
        self._keep_house_at_s = 0.0
        self._is_throttled = False

    def step(self) -> float:
        is_log_there = self._ask_log(0 if self._is_busy else IDLE_S)
        self._keep_house()
        self._move_late()
        if self._is_throttled:
            return HOUSEKEEPING_S
        self._is_busy = self._mover.step(self._groups) > 0
        return 0 if is_log_there or self._is_busy else IDLE_S

    def drain(self) -> None:
        self._consumer.close()

    def _ask_log(self, wait_s: float) -> bool:
        """Wait up to `wait_s` for something to happen in our groups, and hear which these are; False while the log is away."""
        try:
            self._consumer.step(_only_wake, wait_s)
        except TierError as error:
            self.context.metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            return False
        self._groups = frozenset(place.partition for place in self._consumer.assigned())
        return True

    def _move_late(self) -> None:
        """Move late results, too, in a rhythm of their own: they are rare, no change of an order, and hold nobody back.

        Nor does their failure: a tier that is away fails the orders' move as well, which then says so.
        """
        clock, metrics = self.context.clock, self.context.metrics
        if clock.monotonic_s() < self._move_late_at_s:
            return
        try:
            is_busy = self._late.step(self._groups) > 0
        except TierError as error:
            is_busy = False
            metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            _log.warning("late results stay where they are", error=str(error))
        self._move_late_at_s = clock.monotonic_s() + (0 if is_busy else LATE_S)

    def _keep_house(self) -> None:
        context = self.context
        now_s = context.clock.monotonic_s()
        if now_s < self._keep_house_at_s:
            return
        self._keep_house_at_s = now_s + HOUSEKEEPING_S
        window_us = int(context.config.archiver.idempotency_window * US_PER_S)
        moved_before_us = context.clock.now_us() - window_us
        if context.tiers.hot.purge_references(moved_before_us=moved_before_us, limit=PURGE_BATCH) == PURGE_BATCH:
            # There are more, and orders may come faster than a batch a second.
            self._keep_house_at_s = now_s
        oldest = context.tiers.hot.finals(None, after=None, limit=1)
        lag_us = context.clock.now_us() - oldest[0].updated_at if oldest else 0
        context.metrics.archive_lag_seconds.set(max(0, lag_us) / US_PER_S)
        self._throttle()

    def _throttle(self) -> None:
        """Hold back while the cache is far behind. A log that cannot be asked is no reason to let MySQL grow."""
        try:
            behind = lag_events(self.context.tiers.log, FOLLOWER, CHANGES)
        except TierError:
            behind = 0
        was_throttled, self._is_throttled = self._is_throttled, behind > self.context.config.archiver.lag_max
        if self._is_throttled and not was_throttled:
            _log.warning("holding back: the cache is behind", lag_events=behind)


def _only_wake(messages: Sequence[Message]) -> dict[Place, int]:
    """What the events say is read from the hot store instead: an event may be late, lost or of a row that has gone."""
    return {message.place: message.offset + 1 for message in messages}
