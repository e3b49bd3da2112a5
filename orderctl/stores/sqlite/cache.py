"""The embedded cache: on SQLite the same entries, in the same bytes and by the same rules, as on Redis.

A database in WAL mode loses nothing when a process is killed, and with `synchronous` NORMAL, which spares the cache a sync at
every commit, it stays sound when the power fails. But the last commits may then be undone, and an entry that went back to an
older version would be served as if it were current. So the entries belong to one run of the machine, as those of a Redis
without persistence do: whoever opens the file in another run empties it, marks included.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orderctl.clock import US_PER_S, Clock
from orderctl.contracts import named_queries
from orderctl.stores.cache import (
    TENTATIVE_TTL_MAX_MS,
    Advance,
    Applied,
    Fill,
    Listed,
    LookupOutcome,
    Promotion,
    Put,
    Tentative,
)
from orderctl.stores.cache_checks import check_fills, check_groups, check_lookup, check_sync, check_tentatives
from orderctl.stores.record import Entry
from orderctl.stores.rows import id_bytes, id_text
from orderctl.stores.sqlite.cache_rules import (
    QUERIES,
    US_PER_MS,
    Shelf,
    apply,
    fill_in,
    found,
    grant,
    promote,
    sync,
    write_tentative,
)
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Transaction
from orderctl.stores.sqlite.expirations import SqliteExpirations
from orderctl.stores.sqlite.schema import CACHE

USED_BYTES_MAX: Final = 512 << 20
"""About a million orders; beyond it entries are evicted."""
SWEEP_COUNT: Final = 64
"""A write removes up to so many expired entries, and two more for each entry it may add: it never falls behind."""
WAITING_MAX: Final = 1_000
"""So many that went wait to be told of; where nobody follows, more are not kept."""
TIMER_KEPT_US: Final = 60 * US_PER_S
"""So long after its time a timer waits for somebody who follows."""
RESET_COUNT: Final = 500
"""So many entries are deleted in one transaction where a whole group is: others' writes get their turn in between."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id(path: Path = _BOOT_ID) -> str | None:
    """What tells this run of the machine from every other; None where nobody knows."""
    try:
        return path.read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def open_embedded_cache(
    path: Path | None, *, groups: int, clock: Clock, used_bytes_max: int = USED_BYTES_MAX
) -> SqliteCacheStore:
    """Open `cache.db` at `path`, made where there is none; None is in memory. `groups` is the deployment's.

    Raises:
        DataDirError: the file is of a newer schema.
        TierUnavailable: it cannot be opened.

    """
    database = Database(path, CACHE, synchronous="NORMAL")
    try:
        return SqliteCacheStore(database, groups=groups, clock=clock, boot=boot_id(), used_bytes_max=used_bytes_max)
    except BaseException:
        database.close()
        raise


class SqliteCacheStore:
    """`CacheStore` over a `Database`, which it shares and, as its last user, closes.

    `clock` is the node's own clock: all processes on one file are on one machine. `boot` is the machine's run; entries of
    another run, of a run that nobody knows (None), or of another number of `groups`, are dropped here.
    """

    def __init__(
        self, database: Database, *, groups: int, clock: Clock, boot: str | None, used_bytes_max: int = USED_BYTES_MAX
    ) -> None:
        self._database = database
        self._groups = groups
        self._clock = clock
        self._used_bytes_max = used_bytes_max
        self._sql = named_queries("sql", QUERIES)
        self._guard = threading.Lock()
        self._open = True
        self._forget_others(boot)
        database.share()

    def get(self, order_ids: Sequence[str]) -> list[Entry | None]:
        if not order_ids:
            return []
        with self._database.snapshot() as snapshot:
            shelf = self._shelf(snapshot)
            return [shelf.entry(order_id) for order_id in order_ids]

    def ttl_ms(self, order_ids: Sequence[str]) -> list[int | None]:
        if not order_ids:
            return []
        with self._database.snapshot() as snapshot:
            shelf = self._shelf(snapshot)
            return [shelf.ttl_ms(order_id) for order_id in order_ids]

    def timer_ttl_ms(self, order_ids: Sequence[str]) -> list[int | None]:
        if not order_ids:
            return []
        with self._database.snapshot() as snapshot:
            shelf = self._shelf(snapshot)
            return [shelf.timer_ttl_ms(order_id) for order_id in order_ids]

    def tentative(self, tentatives: Sequence[Tentative]) -> list[bool]:
        check_tentatives(tentatives)
        if not tentatives:
            return []
        with self._writing(len(tentatives)) as shelf:
            return [write_tentative(shelf, tentative) for tentative in tentatives]

    def promote(self, promotions: Sequence[Promotion]) -> list[bool]:
        if not promotions:
            return []
        with self._writing(len(promotions)) as shelf:
            return [promote(shelf, promotion) for promotion in promotions]

    def apply(self, puts: Sequence[Put]) -> list[Applied]:
        if not puts:
            return []
        with self._writing(len(puts)) as shelf:
            return [apply(shelf, put) for put in puts]

    def lookup(self, order_ids: Sequence[str], *, tokens: Sequence[bytes]) -> list[LookupOutcome]:
        check_lookup(order_ids, tokens)
        seen = self.get(order_ids)
        if None not in seen:
            return [found(entry) for entry in seen if entry is not None]
        # Readers do not stand in the writers' line for a hit; what was a miss may be none by the time their turn has come.
        with self._writing(len(seen)) as shelf:
            return [
                grant(shelf, order_id, token) if entry is None else found(entry)
                for entry, order_id, token in zip(seen, order_ids, tokens, strict=True)
            ]

    def fill(self, fills: Sequence[Fill]) -> list[bool]:
        check_fills(fills)
        if not fills:
            return []
        with self._writing(len(fills)) as shelf:
            return [fill_in(shelf, fill) for fill in fills]

    def invalidate(self, order_ids: Sequence[str]) -> int:
        if not order_ids:
            return 0
        with self._writing(len(order_ids)) as shelf:
            return sum(shelf.delete(order_id) for order_id in order_ids)

    def sync(self, advances: Sequence[Advance]) -> list[list[Applied] | None]:
        check_sync(advances, groups=self._groups)
        if not advances:
            return []
        with self._writing(sum(len(advance.puts) for advance in advances)) as shelf:
            return [sync(shelf, advance) for advance in advances]

    def marks(self, groups: Sequence[int]) -> list[int | None]:
        check_groups(groups, groups=self._groups)
        if not groups:
            return []
        with self._database.snapshot() as snapshot:
            shelf = self._shelf(snapshot)
            return [shelf.mark(group) for group in groups]

    def reset_group(self, group: int, *, mark: int) -> int:
        check_groups([group], groups=self._groups)
        dropped = 0
        while True:
            with self._database.transaction() as transaction:
                shelf = self._shelf(transaction)
                were_entries = shelf.delete_some(group, RESET_COUNT)
                dropped += sum(were_entries)
                if len(were_entries) < RESET_COUNT:
                    shelf.set_mark(group, mark)
                    return dropped

    def scan_group(self, group: int, *, cursor: str | None = None, limit: int = 1_000) -> Listed:
        check_groups([group], groups=self._groups)
        count = max(limit, 1)
        parameters = {"group_no": group, "after": b"" if cursor is None else id_bytes(cursor), "count": count}
        with self._database.snapshot() as snapshot:
            rows = snapshot.rows(self._sql["entries_of_group"], parameters | {"now_us": self._clock.now_us()})
        ids = [id_text(row[0]) for row in rows]
        return Listed(ids, ids[-1] if len(ids) == count else None)

    def ping(self) -> None:
        with self._database.snapshot() as snapshot:
            snapshot.rows(self._sql["node"])

    def expirations(self) -> SqliteExpirations:
        """What goes out of this cache, to be closed by the caller."""
        return SqliteExpirations(self._database, clock=self._clock)

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()

    @contextmanager
    def _writing(self, count: int) -> Iterator[Shelf]:
        """A transaction that writes up to `count` entries, and makes room for them."""
        with self._database.transaction() as transaction:
            shelf = self._shelf(transaction)
            yield shelf
            self._make_room(transaction, shelf.now_us, SWEEP_COUNT + 2 * count)

    def _shelf(self, transaction: Transaction) -> Shelf:
        # The time is read when the turn has come, which may be seconds after it was asked for.
        return Shelf(transaction, self._clock.now_us(), groups=self._groups)

    def _make_room(self, transaction: Transaction, now_us: int, count: int) -> None:
        bounds = {"now_us": now_us, "count": count, "waiting_max": WAITING_MAX}
        transaction.rows(self._sql["note_expired"], bounds)
        transaction.rows(self._sql["sweep"], bounds)
        transaction.rows(self._sql["forget_timers"], {"before_us": now_us - TIMER_KEPT_US, "count": count})
        used = transaction.row(self._sql["used_bytes"])
        if used is not None and used[0] > self._used_bytes_max:
            # Leases and tentatives go by themselves in seconds; were they evicted first, nothing could be filled in any more.
            bounds["after_us"] = now_us + TENTATIVE_TTL_MAX_MS * US_PER_MS
            for statement in ("note_evicted", "evict", "note_evicted_timers", "evict_timers"):
                transaction.rows(self._sql[statement], bounds)

    def _forget_others(self, boot: str | None) -> None:
        with self._database.transaction() as transaction:
            last = transaction.row(self._sql["node"])
            if boot is None or last != (boot, self._groups):
                transaction.rows(self._sql["delete_entries"])
                transaction.rows(self._sql["delete_marks"])
                transaction.rows(self._sql["delete_timers"])
                transaction.rows(self._sql["delete_gone"])
                transaction.rows(self._sql["set_node"], {"boot": boot or "", "groups": self._groups})
