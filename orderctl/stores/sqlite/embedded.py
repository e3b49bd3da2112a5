"""Opens the embedded hot tier: the store and the registry over one database."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.deadlines import SqliteDeadlineStore
from orderctl.stores.sqlite.feed import SqliteChangeFeed
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.late import SqliteLateStore
from orderctl.stores.sqlite.registry import SqliteRegistry, found_deployment
from orderctl.stores.sqlite.schema import HOT


class EmbeddedHot(Struct, frozen=True):
    """The hot tier of one process; each of the two is to be closed, and so is every feed."""

    store: SqliteHotStore
    registry: SqliteRegistry
    database: Database

    def open_feed(self, *, shard: str, clock: Clock) -> SqliteChangeFeed:
        """The change feed of these orders."""
        return SqliteChangeFeed(self.database, clock=clock, shard=shard)

    def open_deadlines(self, clock: Clock) -> SqliteDeadlineStore:
        """The deadlines of these orders, by this machine's clock; closed with the store."""
        return SqliteDeadlineStore(self.database, clock)

    @property
    def late(self) -> SqliteLateStore:
        """The late results of these orders; closed with the store."""
        return SqliteLateStore(self.database)

    def close(self) -> None:
        """Close both."""
        self.store.close()
        self.registry.close()


def open_embedded_hot(path: Path | None, *, groups: int, clock: Clock) -> EmbeddedHot:
    """Open `hot.db` at `path`, made and brought to the newest schema where needed; None is in memory.

    A data directory is to be checked first, see `DataDir.check`.

    Raises:
        ConfigError: the deployment was founded with another number of groups.
        DataDirError: the file is of a newer schema.
        TierUnavailable: it cannot be opened.

    """
    database = Database(path, HOT, synchronous="FULL")
    try:
        found_deployment(database, groups)
    except BaseException:
        database.close()
        raise
    return EmbeddedHot(SqliteHotStore(database), SqliteRegistry(database, clock), database)
