"""Opens the real tiers each by itself, for who looks at all of them: one that is away hides no other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any, NoReturn

from orderctl.clock import Clock
from orderctl.config import Config
from orderctl.errors import TierUnavailable
from orderctl.stores.binlog import BinlogFeed
from orderctl.stores.cassandra import open_cassandra_archive
from orderctl.stores.cassandra_schema import Layout
from orderctl.stores.kafka import KafkaLogStore
from orderctl.stores.mysql_database import MysqlDatabase
from orderctl.stores.mysql_hot import groups_of, server_of
from orderctl.stores.mysql_registry import MysqlRegistry
from orderctl.stores.redis import open_redis_cache
from orderctl.stores.servers import KINDS, cassandra_access, kafka_cluster, open_servers, redis_access
from orderctl.stores.shards import HotShard
from orderctl.stores.tiers import Tiers


class Away:
    """Stands for a store that could not be opened: whatever is asked of it raises why."""

    def __init__(self, error: TierUnavailable) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def refuse(*_arguments: Any, **_named: Any) -> NoReturn:
            raise TierUnavailable(self._error.tier, self._error.message, hint=self._error.hint)

        return refuse

    def close(self) -> None:
        """There is nothing to let go of."""


def open_servers_apart(config: Config, clock: Clock) -> Tiers:
    """As `open_servers`, but where MySQL is away its stores are `Away`; the registry and the shards' are asked all the same.

    Raises:
        ConfigError: a schema is not this program's, or a tier was made for another deployment.

    """
    try:
        return open_servers(config, clock)
    except TierUnavailable as error:
        away: Any = Away(error)
    groups = config.deployment.groups
    with ExitStack() as stack:
        # None of these connects before it is asked.
        shards = tuple(
            HotShard(
                one.name,
                groups_of(one, groups),
                away,
                stack.enter_context(closing(MysqlRegistry(MysqlDatabase(server_of(one))))),
            )
            for one in config.mysql.shards
        )
        access = redis_access(config)
        cache = stack.enter_context(
            closing(open_redis_cache(config.redis.nodes, groups=groups, access=access, clock=clock))
        )
        archive = stack.enter_context(
            closing(open_cassandra_archive(cassandra_access(config), Layout(groups), clock=clock))
        )
        log = stack.enter_context(closing(KafkaLogStore(kafka_cluster(config), clock=clock)))
        feeds = tuple(BinlogFeed(server_of(one), shard=one.name, clock=clock) for one in config.mysql.shards)
        stack.pop_all()
    return Tiers(
        away,
        shards[0].registry,
        cache,
        archive,
        log,
        feeds,
        late=away,
        late_archive=archive.late(),
        deadlines=away,
        expirations=away,
        shards=shards,
        kinds=KINDS,
    )
