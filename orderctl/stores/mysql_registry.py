"""The registry on MySQL: keys, the deployment's constants and heartbeats, beside the orders of one shard."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from orderctl.clock import US_PER_S
from orderctl.contracts import Query, named_queries
from orderctl.errors import ConfigError
from orderctl.ids import is_valid_group_count
from orderctl.order import Role
from orderctl.stores.mysql import QUERIES
from orderctl.stores.mysql_database import MysqlDatabase, Session
from orderctl.stores.mysql_driver import Parameters, Row, key_bytes, text_of
from orderctl.stores.registry import SILENCE_MAX_S, ApiKey, Deployment, Heartbeat


class MysqlRegistry:
    """`Registry` over a `MysqlDatabase`, which it shares and, as its last user, closes. Of several shards the first has it."""

    def __init__(self, database: MysqlDatabase) -> None:
        self._database = database
        self._sql = named_queries("sql", QUERIES)
        self._guard = threading.Lock()
        self._open = True
        database.share()

    def deployment(self) -> Deployment:
        groups, schema_version, epoch, now_us, settled, server, epoch_server, _, _ = _constants(self._database)
        return Deployment(groups, schema_version, epoch, now_us, settled, text_of(server), text_of(epoch_server))

    def raise_epoch(self, *, above: int) -> bool:
        return self._note(self._sql["raise_epoch"], {"above": above})

    def note_settled(self, *, epoch: int) -> bool:
        return self._note(self._sql["note_settled"], {"epoch": epoch})

    def _note(self, query: Query, parameters: Parameters) -> bool:
        changed, _ = self._database.write(lambda session: session.changed(query, parameters))
        return changed == 1

    def api_keys(self) -> list[ApiKey]:
        return [_key_of(row) for row in self._database.read(lambda session: session.rows(self._sql["api_keys"]))]

    def add_key(self, key: ApiKey) -> bool:
        parameters = msgspec.structs.asdict(key) | {
            "key_id": key_bytes(key.key_id),
            "merchant_id": None if key.merchant_id is None else key_bytes(key.merchant_id),
        }
        added, _ = self._database.write(lambda session: session.changed(self._sql["add_key"], parameters))
        return added == 1

    def revoke_key(self, key_id: str, *, now_us: int) -> ApiKey | None:
        parameters = {"key_id": key_bytes(key_id), "now_us": now_us}

        def work(session: Session) -> Row | None:
            session.changed(self._sql["revoke_key"], parameters)
            return session.row(self._sql["api_key"], parameters)

        row, _ = self._database.write(work)
        return None if row is None else _key_of(row)

    def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        if not heartbeats:
            return
        alive = [
            msgspec.structs.asdict(heartbeat)
            | {"instance": key_bytes(heartbeat.instance), "daemon": key_bytes(heartbeat.daemon)}
            for heartbeat in sorted(heartbeats, key=lambda heartbeat: heartbeat.instance)
        ]

        def work(session: Session) -> None:
            session.changed(self._sql["beat"], each=alive)
            session.changed(self._sql["forget_silent"], {"silence_us": SILENCE_MAX_S * US_PER_S})

        self._database.write(work)

    def retire(self, instances: Sequence[str]) -> None:
        gone: list[Parameters] = [{"instance": key_bytes(instance)} for instance in sorted(instances)]
        if gone:
            self._database.write(lambda session: session.changed(self._sql["retire"], each=gone))

    def heartbeats(self) -> list[Heartbeat]:
        rows = self._database.read(lambda session: session.rows(self._sql["heartbeats"]))
        return [Heartbeat(instance.decode(), daemon.decode(), *rest) for instance, daemon, *rest in rows]

    def close(self) -> None:
        with self._guard:
            was_open, self._open = self._open, False
        if was_open:
            self._database.release()


def found_deployment(database: MysqlDatabase, groups: int, shard: range | None = None) -> None:
    """Write the deployment's constants, the first time; every later time compare. `shard`: this database's groups, None for all.

    Raises:
        ConfigError: `groups` is no number of groups, or these are not the constants that this database was founded with.

    """
    shard = range(groups) if shard is None else shard
    if not is_valid_group_count(groups):
        raise ConfigError(f"groups = {groups}: it must be a power of two from 1 to 4096")
    if not (len(shard) > 0 and shard.step == 1 and shard.start >= 0 and shard.stop <= groups):
        raise ConfigError(f"a shard has one or more of the groups 0-{groups - 1}, without gaps, and not {shard}")
    query = named_queries("sql", QUERIES)["found_deployment"]
    parameters = {"groups": groups, "first_group": shard.start, "last_group": shard.stop - 1}
    database.write(lambda session: session.changed(query, parameters))
    check_deployment(database, groups, shard)


def check_deployment(database: MysqlDatabase, groups: int, shard: range | None = None) -> None:
    """Compare the deployment's constants with what this process believes, as every daemon does when it starts.

    Raises:
        ConfigError: they differ, or the database belongs to no deployment.

    """
    if not is_valid_group_count(groups):
        raise ConfigError(f"groups = {groups}: it must be a power of two from 1 to 4096")
    founded, *_, first_group, last_group = _constants(database)
    if founded != groups:
        raise ConfigError(
            f"groups = {groups}, but this deployment was founded with {founded}, and every order's place depends on it",
            hint=f"set groups = {founded}, or use another database",
        )
    shard = range(groups) if shard is None else shard
    if (shard.start, shard.stop - 1) != (first_group, last_group):
        raise ConfigError(
            f"{database.server.address} is configured for the groups {shard.start}-{shard.stop - 1}, but was founded for "
            f"{first_group}-{last_group}",
            hint="a shard's orders do not move by configuration: see which database belongs to which shard",
        )


def _constants(database: MysqlDatabase) -> Row:
    query = named_queries("sql", QUERIES)["deployment"]
    row = database.read(lambda session: session.row(query))
    if row is None:
        raise ConfigError("the database belongs to no deployment yet", hint="run orderctl migrate")
    return row


def _key_of(row: Row) -> ApiKey:
    key_id, digest, role, merchant_id, created_at, revoked_at = row
    merchant = None if merchant_id is None else merchant_id.decode()
    return ApiKey(key_id.decode(), digest, Role(role), merchant, created_at, revoked_at)
