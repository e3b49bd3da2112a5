"""cdc: carries each shard's committed changes to the log. Whoever has a shard's checkpoint partition leads the shard."""

from __future__ import annotations

import structlog

from orderctl.clock import US_PER_S
from orderctl.daemons.base import Context, Daemon
from orderctl.daemons.manifest import Manifest
from orderctl.errors import OrderctlError
from orderctl.services.pump import Pump
from orderctl.stores.log import CHECKPOINTS, Fenced, Member

WAIT_S = 0.25
"""How long a step waits for news. The membership is renewed between steps."""

_log = structlog.stdlib.get_logger(__name__)


class CdcDaemon(Daemon):
    """Leads the shards that the group gave it. A leader that lost a shard and does not know it yet does no harm."""

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        self._member: Member | None = None
        self._pumps: dict[int, Pump] = {}

    def step(self) -> float:
        self._elect()
        if not self._pumps:
            self.context.metrics.cdc_lag_seconds.set(0)
            return WAIT_S
        wait_s = WAIT_S / len(self._pumps)
        failed = [error for pump in self._pumps.values() if (error := _failure(pump, wait_s)) is not None]
        self.context.metrics.cdc_lag_seconds.set(max(pump.lag_us for pump in self._pumps.values()) / US_PER_S)
        if failed:
            raise failed[0]
        return 0

    def drain(self) -> None:
        for pump in self._pumps.values():
            pump.close()
        if self._member is not None:
            self._member.close()

    def _elect(self) -> None:
        """Renew the membership, begin what came to us and end what went away. What is read there is nobody's business here.

        The membership has no instance name: a leader that ends in good order is to be succeeded at once, not waited for.
        """
        tiers, groups = self.context.tiers, self.context.config.deployment.groups
        self._member = self._member or tiers.log.join(str(self.manifest.group), [CHECKPOINTS])
        try:
            self._member.poll(1_000, 0)
            mine = {place.partition for place in self._member.assigned()}
        except Fenced:
            self._member.close()
            self._member, mine = None, set()
        for partition in self._pumps.keys() - mine:
            _log.info("no longer the leader", shard=tiers.feeds[partition].shard)
            self._pumps.pop(partition).close()
        for partition in mine - self._pumps.keys():
            _log.info("leading", shard=tiers.feeds[partition].shard)
            feed = tiers.feeds[partition]
            self._pumps[partition] = Pump(feed, tiers.log, partition=partition, groups=groups, clock=self.context.clock)


def _failure(pump: Pump, wait_s: float) -> OrderctlError | None:
    """Let a shard's pump do its step; returns why it could not, since the other shards' pumps are to do theirs."""
    try:
        pump.step(wait_s)
    except OrderctlError as error:
        return error
    return None
