"""cache-sync: brings every cached record to what the log says, and notices a cache that went back in time."""

from __future__ import annotations

import structlog

from orderctl.daemons.base import Context, Daemon
from orderctl.daemons.manifest import Manifest
from orderctl.services.cache_sync import CacheSync
from orderctl.services.consumer import Consumer
from orderctl.stores.log import CHANGES, Place

BATCH = 8_000
"""A hundred events or more of each of 64 groups: what a call costs by itself is shared by so many."""
WAIT_S = 0.25
WATCH_S = 1.0
"""How often the marks of groups are looked at in which nothing happens."""

_log = structlog.stdlib.get_logger(__name__)


class CacheSyncDaemon(Daemon):
    """Follows the groups that are its own."""

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        tiers, config = context.tiers, context.config
        self._group = str(manifest.group)
        instance = config.daemon.instance or None
        self._consumer = Consumer(tiers.log, self._group, [CHANGES], instance=instance, batch=BATCH)
        self._sync = CacheSync(
            tiers.cache,
            tiers.log,
            groups=config.deployment.groups,
            clock=context.clock,
            metrics=context.metrics,
            record_ttl_ms=config.cache.record_ttl.ms,
        )
        self._followed: frozenset[Place] = frozenset()
        self._watch_at_s = 0.0

    def step(self) -> float:
        self._consumer.step(self._sync.apply, WAIT_S)
        self._follow(self._consumer.assigned())
        now_s = self.context.clock.monotonic_s()
        if now_s >= self._watch_at_s:
            self._watch_at_s = now_s + WATCH_S
            if gone_back := self._sync.watch():
                _log.warning("the cache went back in time; dropped what it knew of these groups", groups=gone_back)
        return 0

    def drain(self) -> None:
        self._consumer.close()

    def _follow(self, assigned: frozenset[Place]) -> None:
        """Take over the groups that came to us at their last commit, and leave those that went."""
        for place in self._followed - assigned:
            self._sync.leave(place)
        if came := assigned - self._followed:
            committed = self.context.tiers.log.committed(self._group, CHANGES)
            for place in came:
                self._sync.take(place, committed[place.partition])
        self._followed = assigned
