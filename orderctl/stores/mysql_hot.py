"""Opens the MySQL shards that a configuration names: store and registry, after a look at what each database is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Final

from msgspec import Struct, structs

from orderctl.errors import ConfigError
from orderctl.secret import Secret, read_secret
from orderctl.sections import ShardSection
from orderctl.stores.deadlines import DeadlineStore
from orderctl.stores.hot import HotStore
from orderctl.stores.late import LateStore
from orderctl.stores.mysql import MysqlHotStore
from orderctl.stores.mysql_database import MysqlDatabase
from orderctl.stores.mysql_deadlines import MysqlDeadlineStore
from orderctl.stores.mysql_driver import NO_PASSWORD, MysqlServer
from orderctl.stores.mysql_late import MysqlLateStore
from orderctl.stores.mysql_registry import MysqlRegistry, check_deployment, found_deployment
from orderctl.stores.mysql_schema import Migration, migrate, missing_migrations, require_schema
from orderctl.stores.registry import Registry
from orderctl.stores.sharded import Shard, ShardedHotStore
from orderctl.stores.sharded_deadlines import DeadlineShard, ShardedDeadlineStore
from orderctl.stores.sharded_late import ShardedLateStore
from orderctl.stores.shards import HotShard

MIGRATION_S: Final = 3600.0
"""A statement of a migration may rebuild a large table."""


class MysqlHot(Struct, frozen=True):
    """The hot tier as a process has it, of one shard or of several. `shards` are those of a configuration, one by one."""

    store: HotStore
    registry: Registry
    late: LateStore
    deadlines: DeadlineStore
    shards: tuple[HotShard, ...] = ()

    def close(self) -> None:
        """Close all."""
        self.deadlines.close()
        self.store.close()
        self.registry.close()
        for shard in self.shards:
            shard.registry.close()


def server_of(shard: ShardSection) -> MysqlServer:
    """How to reach a shard.

    Raises:
        ConfigError: its password cannot be read.

    """
    password = read_secret(shard.password, shard.password_file)
    return MysqlServer(
        host=shard.host,
        port=shard.port,
        user=shard.user,
        password=NO_PASSWORD if password is None else Secret(password),
        database=shard.database,
        tls_ca=shard.tls_ca,
        tls_cert=shard.tls_cert,
        tls_key=shard.tls_key,
    )


def groups_of(shard: ShardSection, groups: int) -> range:
    """The groups that a shard holds, of the deployment's `groups`: all, where it does not say.

    Raises:
        ConfigError: it says something else than a range of them.

    """
    if shard.groups is None:
        return range(groups)
    first, last = map(int, shard.groups.split("-"))
    if not first <= last < groups:
        raise ConfigError(f"shard {shard.name} has groups = {shard.groups}: they go from 0 to {groups - 1}")
    return range(first, last + 1)


def open_mysql_shards(shards: Sequence[ShardSection], *, groups: int) -> MysqlHot:
    """Open every shard; the registry is the first one's.

    Raises:
        ConfigError: the shards do not share the groups among them, or see `open_mysql_hot`.
        TierUnavailable: one cannot be reached.

    """
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(open_mysql_hot(server_of(one), groups=groups, shard=groups_of(one, groups))))
            for one in shards
        ]
        parts = zip(shards, opened, strict=True)
        store = ShardedHotStore(
            [Shard(one.name, groups_of(one, groups), hot.store) for one, hot in parts], groups=groups
        )
        stack.pop_all()
    late = [(groups_of(one, groups), hot.late) for one, hot in zip(shards, opened, strict=True)]
    deadlines = [
        DeadlineShard(one.name, groups_of(one, groups), hot.deadlines) for one, hot in zip(shards, opened, strict=True)
    ]
    return MysqlHot(
        store,
        opened[0].registry,
        late=ShardedLateStore(late, groups=groups),
        deadlines=ShardedDeadlineStore(deadlines, groups=groups) if len(deadlines) > 1 else opened[0].deadlines,
        shards=tuple(
            HotShard(one.name, groups_of(one, groups), hot.store, hot.registry)
            for one, hot in zip(shards, opened, strict=True)
        ),
    )


def open_mysql_hot(server: MysqlServer, *, groups: int, shard: range | None = None) -> MysqlHot:
    """Open a shard that `migrate_shard` has made; `shard` is its groups, None for all of the deployment's.

    Raises:
        ConfigError: its schema is not this program's, or it was founded with other constants.
        TierUnavailable: it cannot be reached.

    """
    database = MysqlDatabase(server)
    try:
        require_schema(database)
        check_deployment(database, groups, shard)
    except BaseException:
        database.close()
        raise
    return MysqlHot(
        MysqlHotStore(database),
        MysqlRegistry(database),
        late=MysqlLateStore(database),
        deadlines=MysqlDeadlineStore(database),
    )


def migrate_shard(
    server: MysqlServer, *, groups: int, shard: range | None = None, dry_run: bool = False
) -> tuple[Migration, ...]:
    """Bring a shard to the newest schema and found the deployment in it; returns the migrations that were missing.

    It needs the rights of an owner, which daemons do not have. With `dry_run` nothing is written.

    Raises:
        ConfigError: the schema is newer than this program's or was edited, or the constants are not those it was founded with.
        TierUnavailable: it cannot be reached, or another process is migrating it.

    """
    database = MysqlDatabase(structs.replace(server, answer_s=MIGRATION_S))
    try:
        if dry_run:
            return missing_migrations(database)
        missing = migrate(database)
        found_deployment(database, groups, shard)
        return missing
    finally:
        database.close()
