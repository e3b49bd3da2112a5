"""expiry: tells the log of timers that ran out in the cache. Several may run at once, and each tells."""

from __future__ import annotations

from orderctl.daemons.base import Context, Daemon
from orderctl.daemons.manifest import Manifest
from orderctl.services.expiry import Expiry

WAIT_S = 0.25
ROUNDS_MAX = 20
"""How often a step listens before it publishes, where more keeps coming: events that nobody takes are lost in time."""


class ExpiryDaemon(Daemon):
    """Listens, and publishes what it heard. It has no position anywhere: what it misses, the sweep finds."""

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        self._expirations = context.tiers.expirations
        self._expiry = Expiry(
            self._expirations,
            context.tiers.log,
            groups=context.config.deployment.groups,
            clock=context.clock,
            metrics=context.metrics,
        )

    def step(self) -> float:
        try:
            self._listen()
        finally:
            self._expiry.publish()
        return 0

    def drain(self) -> None:
        while self._expiry.publish():
            pass

    def _listen(self) -> None:
        # Those that wait for the log already do not wait for more to come.
        heard = self._expiry.listen(0 if self._expiry.kept else WAIT_S)
        for _ in range(ROUNDS_MAX):
            if not heard:
                break
            heard = self._expiry.listen(0)

    def not_ready(self) -> list[str]:
        return self._expirations.deaf()
