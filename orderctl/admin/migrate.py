"""`migrate`: bring every tier to the newest schema, or say what is missing."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.stores.sqlite.datadir import DataDir


class Migration(Struct, frozen=True):
    """A database that is brought from one schema to another; `from_version` is None where it is made anew."""

    file: str
    from_version: int | None
    to_version: int


class Migrated(Struct, frozen=True):
    """What was missing, and whether it was done."""

    migrations: list[Migration]
    executed: bool


class MigratedServers(Struct, frozen=True):
    """What was missing in the tiers' servers, a line each, and whether it was made."""

    missing: list[str]
    executed: bool


def migrate_real(config: Config, *, dry_run: bool) -> MigratedServers:
    """Say what schemas, keyspace and topics lack, and unless `dry_run` make it.

    Raises:
        ConfigError: something is newer than this program, or was made for another deployment.
        TierError: a tier cannot be reached, or refuses.

    """
    from orderctl.stores.servers import migrate_servers

    missing = migrate_servers(config, SystemClock(), dry_run=dry_run)
    return MigratedServers(missing, executed=bool(missing) and not dry_run)


def migrate(data_dir: DataDir, apply: Callable[[], None], *, dry_run: bool) -> Migrated:
    """Say what is missing, and unless `dry_run` do it; `apply` opens the tiers, which brings them up to date.

    Raises:
        DataDirError: the data directory cannot be used as it is.

    """
    missing = [
        Migration(str(state.path), state.schema_version, state.target_version)
        for state in data_dir.check()
        if state.schema_version != state.target_version
    ]
    if missing and not dry_run:
        apply()
    return Migrated(missing, executed=bool(missing) and not dry_run)
