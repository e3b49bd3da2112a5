"""What a daemon must agree on with its deployment before it works: the constants, the time, and where versions are given."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from orderctl.clock import US_PER_S, Clock
from orderctl.errors import ConfigError, TierError
from orderctl.stores.hot import NotPromoted
from orderctl.stores.registry import Deployment, Registry
from orderctl.stores.shards import HotShard

_log = structlog.stdlib.get_logger(__name__)


class Agreement:
    """Compares this host with the database, at every step anew.

    A shard that answers by another server than its epoch's is no reason to end: the daemon is to go on by itself once it is
    promoted. Until then the store gives no version there, whoever asks (`NotPromoted`).
    """

    def __init__(self, registry: Registry, clock: Clock, *, groups: int, shards: Sequence[HotShard] = ()) -> None:
        """`shards` are those that this daemon writes to; the registry is the first one's."""
        self._registry = registry
        self._clock = clock
        self._groups = groups
        self._shards = shards
        self.not_promoted: dict[str, str] = {}
        """Why a shard gives no versions, by its name."""
        self.clock_skew_s = 0.0
        """How far the database's clock is ahead of this host's, at the least: what the answer's way may explain is left out."""

    def check(self) -> Deployment:
        """The deployment's constants as they are now.

        Raises:
            ConfigError: the configuration says other groups: whatever was written would be looked for elsewhere.
            TierError: the database could not be asked.

        """
        asked_us = self._clock.now_us()
        deployment = self._registry.deployment()
        answered_us = self._clock.now_us()
        if deployment.groups != self._groups:
            raise ConfigError(
                f"[deployment] groups = {self._groups}, but the database says {deployment.groups}",
                hint=f"set groups = {deployment.groups}: every order's place depends on it",
            )
        ahead_us = max(0, deployment.now_us - answered_us)
        behind_us = max(0, asked_us - deployment.now_us)
        self.clock_skew_s = (ahead_us - behind_us) / US_PER_S
        self._look_at_servers(deployment)
        return deployment

    def refusals(self) -> list[str]:
        """Why nothing can be written at all. With one shard that gives versions there is something to do."""
        is_all = bool(self._shards) and len(self.not_promoted) == len(self._shards)
        return list(self.not_promoted.values()) if is_all else []

    def _look_at_servers(self, first: Deployment) -> None:
        before, self.not_promoted = self.not_promoted, {}
        for shard in self._shards:
            try:
                found = first if shard.registry is self._registry else shard.registry.deployment()
            except TierError:
                continue  # Its orders are told so by the store.
            if not found.is_promoted:
                self.not_promoted[shard.name] = str(NotPromoted(shard.name, found.server, found.epoch_server))
        for name in self.not_promoted.keys() - before.keys():
            _log.error("nothing is written to a shard", shard=name, error=self.not_promoted[name])
        for name in before.keys() - self.not_promoted.keys():
            _log.info("versions are given again", shard=name)
