"""Opens the tiers that a configuration names; without any, the embedded ones under the data directory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.config import Config, is_embedded
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.cache import CacheStore
from orderctl.stores.deadlines import DeadlineStore
from orderctl.stores.expirations import Expirations
from orderctl.stores.feed import ChangeFeed
from orderctl.stores.hot import HotStore
from orderctl.stores.late import LateArchive, LateStore
from orderctl.stores.log import LogStore, topics
from orderctl.stores.registry import Registry
from orderctl.stores.shards import HotShard
from orderctl.stores.sqlite.archive import open_embedded_archive
from orderctl.stores.sqlite.cache import open_embedded_cache
from orderctl.stores.sqlite.datadir import DataDir
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.log import open_embedded_log

EMBEDDED_KINDS = MappingProxyType(dict.fromkeys(("hot", "cache", "log", "archive"), "sqlite"))
SHARD = "embedded"
"""The name of the one shard that there is without MySQL."""


class Closable(Protocol):
    """What is let go of in the end."""

    def close(self) -> None:
        """Let go."""
        ...


class Tiers(Struct, frozen=True):
    """The stores of one process. `feeds` and `shards` are the hot store's; a shard's place is its checkpoints' partition.

    `kinds` says what keeps each tier.
    """

    hot: HotStore
    registry: Registry
    cache: CacheStore
    archive: ArchiveStore
    log: LogStore
    feeds: tuple[ChangeFeed, ...]
    late: LateStore
    late_archive: LateArchive
    deadlines: DeadlineStore
    expirations: Expirations
    shards: tuple[HotShard, ...]
    kinds: Mapping[str, str] = EMBEDDED_KINDS

    def close(self) -> None:
        """Let go of all of them."""
        stores: tuple[Closable, ...] = (
            *self.feeds,
            self.log,
            self.archive,
            self.expirations,
            self.cache,
            self.deadlines,
            self.registry,
            *(shard.registry for shard in self.shards),
            self.hot,
        )
        for store in stores:
            store.close()


def open_tiers(config: Config, data_dir: Path | None, clock: Clock) -> Tiers:
    """Open every tier: its servers where the configuration names them, else the embedded ones under `data_dir`.

    A data directory is to be made and checked first, see `DataDir`; None is in memory, for tests and simulation. Of servers
    the schema is to be made first, see `servers.migrate_servers`.

    Raises:
        ConfigError: the configuration names some tiers' servers only, or the deployment was founded with other constants.
        DataDirError: a file is of a newer schema.
        TierUnavailable: a tier cannot be opened.

    """
    if not is_embedded(config):
        from orderctl.stores.servers import open_servers

        return open_servers(config, clock)
    files = DataDir(data_dir) if data_dir is not None else None
    groups = config.deployment.groups
    with ExitStack() as stack:
        hot = stack.enter_context(closing(open_embedded_hot(files.hot if files else None, groups=groups, clock=clock)))
        feed = stack.enter_context(closing(hot.open_feed(shard=SHARD, clock=clock)))
        cache = stack.enter_context(
            closing(open_embedded_cache(files.cache if files else None, groups=groups, clock=clock))
        )
        archive = stack.enter_context(closing(open_embedded_archive(files.archive if files else None, clock=clock)))
        log = stack.enter_context(closing(open_embedded_log(files.log if files else None, clock=clock)))
        log.ensure_topics(topics(groups=groups, shards=1))
        stack.pop_all()
    return Tiers(
        hot.store,
        hot.registry,
        cache,
        archive,
        log,
        (feed,),
        late=hot.late,
        late_archive=archive.late(),
        deadlines=hot.open_deadlines(clock),
        expirations=cache.expirations(),
        shards=(HotShard(SHARD, range(groups), hot.store, hot.registry),),
    )
