"""The query server: looks orders up. Its steps keep the keys fresh; a thread of its own follows what is to be forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from starlette.types import ASGIApp

from orderctl.config import Config
from orderctl.daemons.base import Context, ServerDaemon, edge_settings
from orderctl.daemons.deployment import Agreement
from orderctl.daemons.loop import Loop
from orderctl.daemons.manifest import Manifest
from orderctl.services.invalidation import Follower
from orderctl.services.keys import KeyRing
from orderctl.services.late import LateReader
from orderctl.services.near import NearCache
from orderctl.services.query import QueryService, QuerySettings
from orderctl.services.references import References
from orderctl.web.edge import Probe
from orderctl.web.query_app import query_app

INTERVAL_S = 2.0
FOLLOWER_STOP_S = 5.0


class QueryDaemon(ServerDaemon):
    """It judges nothing by this host's clock that a second or two could change, so it answers whatever the clock says."""

    def __init__(self, manifest: Manifest, context: Context) -> None:
        super().__init__(manifest, context)
        tiers, config = context.tiers, context.config
        settings = QuerySettings(
            hot_first_s=config.query.mysql_first_s,
            record_ttl_ms=config.cache.record_ttl.ms,
            loads_max=config.query.loads_max,
            loads_per_s=config.query.loads_per_s,
        )
        self._threads = ThreadPoolExecutor(manifest.limits.threads, thread_name_prefix="query")
        # Threads of their own: a database that hangs must not hold those that answer from memory and from the cache.
        self._load_threads = ThreadPoolExecutor(2 * settings.calls_max, thread_name_prefix="query-load")
        self._keys = KeyRing(tiers.registry)
        self._agreement = Agreement(tiers.registry, context.clock, groups=config.deployment.groups)
        self._references = References(tiers.hot, tiers.archive, clock=context.clock, metrics=context.metrics)
        self._late = LateReader(tiers.late, tiers.late_archive, tiers.hot, tiers.archive, context.metrics)
        near = NearCache(
            groups=config.deployment.groups,
            orders_max=config.query.near_orders_max,
            bytes_max=config.query.near_bytes_max,
            open_ttl_s=config.query.near_ttl_ms / 1000,
            clock=context.clock,
            metrics=context.metrics,
        )
        self._service = QueryService(
            tiers.hot,
            tiers.cache,
            tiers.archive,
            near,
            clock=context.clock,
            random=context.random,
            executor=self._load_threads,
            metrics=context.metrics,
            settings=settings,
        )
        follower = Follower(
            tiers.log, near, groups=config.deployment.groups, clock=context.clock, metrics=context.metrics
        )
        self._following = Loop(follower, clock=context.clock, random=context.random, metrics=context.metrics)
        self._follower_thread: threading.Thread | None = None

    def step(self) -> float:
        """While the registry is away the last keys stay. While the log is, process memory is off."""
        if self._follower_thread is None:
            self._follower_thread = threading.Thread(target=self._following.run, name=self._following.name, daemon=True)
            self._follower_thread.start()
        self._agreement.check()
        self._keys.reload()
        return INTERVAL_S

    def drain(self) -> None:
        self._following.stop()
        if self._follower_thread is not None:
            self._follower_thread.join(FOLLOWER_STOP_S)
        self._threads.shutdown()
        self._load_threads.shutdown(cancel_futures=True)

    @classmethod
    def bind(cls, config: Config) -> str:
        return config.query.bind

    def app(self, probe: Probe) -> ASGIApp:
        return query_app(
            self._service,
            self._references,
            self._keys,
            late=self._late,
            clock=self.context.clock,
            metrics=self.context.metrics,
            probe=probe,
            executor=self._threads,
            settings=edge_settings(self.context.config),
        )
