"""The command server: creates and changes orders. Its steps keep the keys, the epoch and the clock's agreement fresh."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from starlette.types import ASGIApp

from orderctl.config import Config
from orderctl.daemons.base import Context, ServerDaemon, edge_settings
from orderctl.daemons.deployment import Agreement
from orderctl.daemons.manifest import Manifest
from orderctl.services.command import CommandService, CommandSettings
from orderctl.services.keys import KeyRing
from orderctl.web.command_app import command_app
from orderctl.web.edge import Probe

INTERVAL_S = 2.0


class CommandDaemon(ServerDaemon):
    """Ids and `created_at` come from this host's clock, so it is not ready while that is off the database's."""

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        tiers, config = context.tiers, context.config
        self._threads = ThreadPoolExecutor(manifest.limits.threads, thread_name_prefix="command")
        # Threads of their own: a transaction that waits for its tentatives must not hold the thread that writes them.
        self._tentative_threads = ThreadPoolExecutor(manifest.limits.threads, thread_name_prefix="command-tentative")
        self._keys = KeyRing(tiers.registry)
        groups = config.deployment.groups
        self._agreement = Agreement(tiers.registry, context.clock, groups=groups, shards=tiers.shards)
        self._service = CommandService(
            tiers.hot,
            tiers.cache,
            tiers.archive,
            tiers.late,
            clock=context.clock,
            random=context.random,
            executor=self._tentative_threads,
            metrics=context.metrics,
            settings=CommandSettings(
                tentative_ttl_ms=config.command.tentative_ttl.ms,
                tentative_wait_s=config.command.tentative_wait,
                record_ttl_ms=config.cache.record_ttl.ms,
            ),
        )

    def step(self) -> float:
        """While the registry is away the last keys stay; whether an order can be written is the hot store's to say."""
        self._service.epoch = self._agreement.check().epoch
        self._keys.reload()
        return INTERVAL_S

    def drain(self) -> None:
        self._threads.shutdown()
        self._tentative_threads.shutdown()

    def not_ready(self) -> list[str]:
        skew_s, most_s = self._agreement.clock_skew_s, self.context.config.command.clock_skew_max
        if abs(skew_s) <= most_s:
            return self._agreement.refusals()
        return [f"this host's clock is {-skew_s:+.3f} s off the database's; at most {most_s:g} s are allowed"]

    @classmethod
    def bind(cls, config: Config) -> str:
        return config.command.bind

    def app(self, probe: Probe) -> ASGIApp:
        return command_app(
            self._service,
            self._keys,
            clock=self.context.clock,
            metrics=self.context.metrics,
            probe=probe,
            executor=self._threads,
            settings=edge_settings(self.context.config),
        )
