"""Opens the tiers that a configuration names; without any, the embedded ones under the data directory."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.config import Config
from orderctl.stores.base import CacheStore, HotStore, Registry
from orderctl.stores.sqlite.cache import open_embedded_cache
from orderctl.stores.sqlite.datadir import DataDir
from orderctl.stores.sqlite.embedded import open_embedded_hot


class Tiers(Struct, frozen=True):
    """The stores of one process."""

    hot: HotStore
    registry: Registry
    cache: CacheStore

    def close(self) -> None:
        """Let go of all of them."""
        self.cache.close()
        self.registry.close()
        self.hot.close()


def open_tiers(config: Config, data_dir: Path | None, clock: Clock) -> Tiers:
    """Open every tier; `data_dir` None is in memory, for tests and simulation.

    The data directory is to be made and checked first, see `DataDir`.

    Raises:
        ConfigError: the deployment was founded with another number of groups.
        DataDirError: a file is of a newer schema.
        TierUnavailable: a tier cannot be opened.

    """
    files = DataDir(data_dir) if data_dir is not None else None
    hot = open_embedded_hot(files.hot if files else None, groups=config.deployment.groups, clock=clock)
    try:
        cache = open_embedded_cache(files.cache if files else None, clock=clock)
    except BaseException:
        hot.close()
        raise
    return Tiers(hot.store, hot.registry, cache)
