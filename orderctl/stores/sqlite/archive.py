"""The embedded archive: final orders in one SQLite file, the larger version wins, as on Cassandra."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from orderctl.clock import Clock
from orderctl.contracts import named_queries
from orderctl.errors import TierUnavailable
from orderctl.order import Order
from orderctl.stores.hot import Ref
from orderctl.stores.rows import id_bytes, id_text, order_of, row_of
from orderctl.stores.sqlite.archive_power import QUERIES, Unsynced, everything
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.late_archive import SqliteLateArchive
from orderctl.stores.sqlite.schema import ARCHIVE


def open_embedded_archive(path: Path | None, *, clock: Clock, sync_period_s: float = 0.0) -> SqliteArchiveStore:
    """Open `archive.db` at `path`, made and brought to the newest schema where needed; None is in memory.

    A data directory is to be checked first, see `DataDir.check`.

    Raises:
        DataDirError: the file is of a newer schema.
        TierUnavailable: it cannot be opened.

    """
    return SqliteArchiveStore(Database(path, ARCHIVE, synchronous="FULL"), clock=clock, sync_period_s=sync_period_s)


class SqliteArchiveStore:
    """`ArchiveStore` over a `Database`, which it shares and, as its last user, closes.

    With a `sync_period_s` of 0 what was acknowledged is on the disk. With more it plays an archive that acknowledges first and
    syncs that much later, by `clock`, so that `lose_power` has something to undo.

    Of two contents under one version the first stays here. Cassandra keeps the larger value of each column; neither is right,
    and neither is ever needed, since one version has one content.
    """

    def __init__(self, database: Database, *, clock: Clock, sync_period_s: float = 0.0) -> None:
        self._database = database
        self._sql = named_queries("sql", QUERIES)
        self._unsynced = Unsynced(clock, sync_period_s) if sync_period_s > 0 else None
        self._guard = threading.Lock()
        self._open = True
        database.share()

    def late(self) -> SqliteLateArchive:
        """The late results of the same orders, in the same database."""
        return SqliteLateArchive(self._database)

    def write(self, orders: Sequence[Order]) -> None:
        if not orders:
            return
        rows = [row_of(order) for order in orders]
        with self._opened().transaction() as transaction:
            if self._unsynced is not None:
                self._unsynced.note(transaction, rows)
            for row in rows:
                transaction.rows(self._sql["archive_order"], row)
                transaction.rows(self._sql["archive_reference"], row)

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        if not order_ids:
            return []
        query = self._sql["archived_order"]
        with self._opened().snapshot() as snapshot:
            rows = [snapshot.row(query, {"order_id": id_bytes(order_id)}) for order_id in order_ids]
        return [None if row is None else order_of(row) for row in rows]

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        if not refs:
            return []
        query = self._sql["newest_of_reference"]
        with self._opened().snapshot() as snapshot:
            rows = [snapshot.row(query, msgspec.structs.asdict(ref)) for ref in refs]
        return [None if row is None else id_text(row[0]) for row in rows]

    def ping(self) -> None:
        with self._opened().snapshot() as snapshot:
            snapshot.rows(self._sql["sign_of_life"])

    def lose_power(self, lost: Callable[[str, str], bool] = everything) -> int:
        """Undo every write that was not synced, by whichever store object, and come up again; for tests.

        Each row goes back to what it held before; `lost`, given its table's name and its order's id, may say that it was lucky.
        Returns how many rows went back.
        """
        if self._unsynced is None:
            return 0
        with self._opened().transaction() as transaction:
            return self._unsynced.undo(transaction, lost)

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()

    def _opened(self) -> Database:
        if not self._open:
            raise TierUnavailable(self._database.tier, "the store is closed")
        return self._database
