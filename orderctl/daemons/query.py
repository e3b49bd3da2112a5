"""The query server: looks orders up. Its steps keep the keys fresh."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from starlette.types import ASGIApp

from orderctl.config import Config
from orderctl.daemons.base import Context, ServerDaemon, edge_settings
from orderctl.daemons.deployment import Agreement
from orderctl.daemons.manifest import Manifest
from orderctl.services.keys import KeyRing
from orderctl.services.query import QueryService, QuerySettings
from orderctl.web.edge import Probe
from orderctl.web.query_app import query_app

INTERVAL_S = 2.0


class QueryDaemon(ServerDaemon):
    """It judges nothing by this host's clock that a second or two could change, so it answers whatever the clock says."""

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        tiers, config = context.tiers, context.config
        self._threads = ThreadPoolExecutor(manifest.limits.threads, thread_name_prefix="query")
        self._keys = KeyRing(tiers.registry)
        self._agreement = Agreement(tiers.registry, context.clock, groups=config.deployment.groups)
        self._service = QueryService(
            tiers.hot,
            tiers.cache,
            tiers.archive,
            clock=context.clock,
            metrics=context.metrics,
            settings=QuerySettings(hot_first_s=config.query.mysql_first_s, record_ttl_ms=config.cache.record_ttl.ms),
        )

    def step(self) -> float:
        """While the registry is away the last keys stay."""
        self._agreement.check()
        self._keys.reload()
        return INTERVAL_S

    def drain(self) -> None:
        self._threads.shutdown()

    @classmethod
    def bind(cls, config: Config) -> str:
        return config.query.bind

    def app(self, probe: Probe) -> ASGIApp:
        return query_app(
            self._service,
            self._keys,
            clock=self.context.clock,
            metrics=self.context.metrics,
            probe=probe,
            executor=self._threads,
            settings=edge_settings(self.context.config),
        )
