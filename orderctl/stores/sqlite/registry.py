"""The embedded registry: keys, the deployment's constants and heartbeats, in the hot store's file."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from orderctl.clock import US_PER_S, Clock
from orderctl.contracts import named_queries
from orderctl.errors import ConfigError
from orderctl.ids import is_valid_group_count
from orderctl.order import Role
from orderctl.stores.registry import SILENCE_MAX_S, ApiKey, Deployment, Heartbeat
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.driver import Row
from orderctl.stores.sqlite.hot import QUERIES


class SqliteRegistry:
    """`Registry` over a `Database`, which it shares and, as its last user, closes. `clock` is the database's clock."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._sql = named_queries("sql", QUERIES)
        self._guard = threading.Lock()
        self._open = True
        database.share()

    def deployment(self) -> Deployment:
        with self._database.snapshot() as snapshot:
            row = snapshot.row(self._sql["deployment"])
        if row is None:
            raise ConfigError("the database belongs to no deployment yet", hint="run orderctl migrate")
        groups, schema_version, epoch, epoch_settled = row
        return Deployment(groups, schema_version, epoch, self._clock.now_us(), epoch_settled)

    def raise_epoch(self, *, above: int) -> bool:
        with self._database.transaction() as transaction:
            return transaction.row(self._sql["raise_epoch"], {"above": above}) is not None

    def note_settled(self, *, epoch: int) -> bool:
        with self._database.transaction() as transaction:
            return transaction.row(self._sql["note_settled"], {"epoch": epoch}) is not None

    def api_keys(self) -> list[ApiKey]:
        with self._database.snapshot() as snapshot:
            return [_key_of(row) for row in snapshot.rows(self._sql["api_keys"])]

    def add_key(self, key: ApiKey) -> bool:
        with self._database.transaction() as transaction:
            return transaction.row(self._sql["add_key"], msgspec.structs.asdict(key)) is not None

    def revoke_key(self, key_id: str, *, now_us: int) -> ApiKey | None:
        with self._database.transaction() as transaction:
            row = transaction.row(self._sql["revoke_key"], {"key_id": key_id, "now_us": now_us})
        return None if row is None else _key_of(row)

    def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        if not heartbeats:
            return
        now_us = self._clock.now_us()
        with self._database.transaction() as transaction:
            for heartbeat in heartbeats:
                transaction.rows(self._sql["beat"], msgspec.structs.asdict(heartbeat) | {"beat_at": now_us})
            transaction.rows(self._sql["forget_silent"], {"before_us": now_us - SILENCE_MAX_S * US_PER_S})

    def retire(self, instances: Sequence[str]) -> None:
        if not instances:
            return
        with self._database.transaction() as transaction:
            for instance in instances:
                transaction.rows(self._sql["retire"], {"instance": instance})

    def heartbeats(self) -> list[Heartbeat]:
        with self._database.snapshot() as snapshot:
            return [Heartbeat(*row) for row in snapshot.rows(self._sql["heartbeats"])]

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()


def found_deployment(database: Database, groups: int) -> None:
    """Write the deployment's constants, the first time; every later time compare.

    Raises:
        ConfigError: `groups` is no number of groups, or not the one that this deployment was founded with.

    """
    if not is_valid_group_count(groups):
        raise ConfigError(f"groups = {groups}: it must be a power of two from 1 to 4096")
    sql = named_queries("sql", QUERIES)
    with database.snapshot() as snapshot:
        row = snapshot.row(sql["deployment"])
    if row is None:
        with database.transaction() as transaction:
            transaction.rows(sql["found_deployment"], {"groups": groups})
            row = transaction.row(sql["deployment"])
    assert row is not None
    if row[0] != groups:
        raise ConfigError(
            f"groups = {groups}, but this deployment was founded with {row[0]}, and every order's place depends on it",
            hint=f"set groups = {row[0]}, or use another data directory",
        )


def _key_of(row: Row) -> ApiKey:
    key_id, digest, role, merchant_id, created_at, revoked_at = row
    return ApiKey(key_id, digest, Role(role), merchant_id, created_at, revoked_at)
