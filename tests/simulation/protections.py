"""The protocol's protections, each of which can be taken out: a check that finds nothing then was no check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from msgspec import Struct, structs

from orderctl.contracts import Query
from orderctl.order import Order
from orderctl.stores.cache import Advance, Applied, Put
from orderctl.stores.record import Entry, Kind, decode, encode_record
from orderctl.stores.rows import id_bytes
from orderctl.stores.sqlite.cache import SqliteCacheStore
from orderctl.stores.sqlite.database import Database

T = TypeVar("T")

RECORD_TTL_US = 3_600_000_000
_SELECT = Query("SELECT value FROM entries WHERE order_id = :order_id", "")
_REWRITE = Query("UPDATE entries SET value = :value WHERE order_id = :order_id", "")
_PUT = Query("UPDATE entries SET value = :value, expires_at_us = :expires_at_us WHERE order_id = :order_id", "")


class Protections(Struct, frozen=True):
    """What is in place. Each is a rule that the design would be wrong without."""

    unique_token: bool = True
    """No two leases have the same token."""
    floor: bool = True
    """A change that finds a lease raises the version under which nothing may be filled in."""
    at_least: bool = True
    """A record is replaced by its own version too, so that wrong bytes can be mended."""
    kept_expiry: bool = True
    """A change that finds a tentative leaves it its expiry."""
    answered_before_commit: bool = True
    """A tentative is promoted only if the cache had answered before COMMIT was sent."""
    locking_load: bool = True
    """A load waits for whoever is changing the row."""
    mark: bool = True
    """cache-sync compares how far the log was applied to the group with what the cache says."""
    second_look: bool = True
    """An old order that neither database had is looked for in the archive once more."""


class LesserCache:
    """The embedded cache without some of its rules."""

    def __init__(
        self, cache: SqliteCacheStore, database: Database, protections: Protections, now_us: Callable[[], int]
    ) -> None:
        self._cache = cache
        self._database = database
        self._protections = protections
        self._now_us = now_us

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def apply(self, puts: Sequence[Put]) -> list[Applied]:
        return self._without_rules(puts, self._cache.apply)

    def sync(self, advances: Sequence[Advance]) -> list[list[Applied] | None]:
        return [self._sync_group(advance) for advance in advances]

    def _sync_group(self, advance: Advance) -> list[Applied] | None:
        if not self._protections.mark:
            [mark] = self._cache.marks([advance.group])
            if mark is None:
                return self.apply(advance.puts)
            advance = structs.replace(advance, expected=min(advance.expected, mark))
        [applied] = self._without_rules(
            advance.puts, lambda kept: self._cache.sync([structs.replace(advance, puts=kept)])
        )
        return applied

    def marks(self, groups: Sequence[int]) -> list[int | None]:
        return self._cache.marks(groups) if self._protections.mark else [1 << 40 for _ in groups]

    def _without_rules(self, puts: Sequence[Put], run: Callable[[Sequence[Put]], T]) -> T:
        before = {put.record.order_id: self._value(put.record.order_id) for put in puts}
        if not self._protections.at_least:
            # To apply version 0 is to be told that the entry is newer.
            puts = [_of_version_0(put) if _is_same(before[put.record.order_id], put) else put for put in puts]
        answer = run(puts)
        for put in puts:
            self._break(put, before[put.record.order_id])
        return answer

    def _break(self, put: Put, before: bytes | None) -> None:
        """Undo what a rule that is not there would not have done."""
        if before is None:
            return
        entry, order_id = decode(before), put.record.order_id
        if entry.kind is Kind.LEASE and not self._protections.floor:
            self._run(_REWRITE, order_id, value=before)
        if entry.kind is Kind.TENTATIVE and not self._protections.kept_expiry and put.record.version >= entry.version:
            expires_at_us = self._now_us() + RECORD_TTL_US
            self._run(_PUT, order_id, value=encode_record(put.record), expires_at_us=expires_at_us)

    def _value(self, order_id: str) -> bytes | None:
        with self._database.snapshot() as snapshot:
            row = snapshot.row(_SELECT, {"order_id": id_bytes(order_id)})
        return None if row is None else bytes(row[0])

    def _run(self, query: Query, order_id: str, **parameters: object) -> None:
        with self._database.transaction() as transaction:
            transaction.rows(query, {"order_id": id_bytes(order_id), **parameters})


def spoil(database: Database, order_id: str) -> None:
    """Wrong bytes under the right version: the record's reason says something that no database does."""
    with database.transaction() as transaction:
        row = transaction.row(_SELECT, {"order_id": id_bytes(order_id)})
        if row is not None and decode(bytes(row[0])).kind is Kind.RECORD:
            value = bytes(row[0]).replace(b'"metadata":{}', b'"metadata":{"a":"b"}')
            transaction.rows(_REWRITE, {"order_id": id_bytes(order_id), "value": value})


class Rash(Executor):
    """Says of each call at once that it was answered, and well."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self._executor.submit(fn, *args, **kwargs)
        said: Future[Any] = Future()
        said.set_result([True])
        return said


class LooksOnce:
    """An archive whose second answer about an order in a row is that it has none."""

    def __init__(self, archive: Any) -> None:
        self._archive = archive
        self._asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        again = [order_id for order_id in order_ids if order_id in self._asked]
        self._asked.symmetric_difference_update(order_ids)
        return [None] * len(order_ids) if again else self._archive.load(order_ids)


def _of_version_0(put: Put) -> Put:
    return structs.replace(put, record=structs.replace(put.record, version=0))


def _is_same(before: bytes | None, put: Put) -> bool:
    entry: Entry | None = None if before is None else decode(before)
    return entry is not None and entry.kind is Kind.RECORD and entry.version == put.record.version
