"""What a daemon must agree on with its deployment before it works: the constants, and the time."""

from __future__ import annotations

from orderctl.clock import US_PER_S, Clock
from orderctl.errors import ConfigError
from orderctl.stores.registry import Deployment, Registry


class Agreement:
    """Compares this host with the database, at every step anew."""

    def __init__(self, registry: Registry, clock: Clock, *, groups: int) -> None:
        self._registry = registry
        self._clock = clock
        self._groups = groups
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
        return deployment
