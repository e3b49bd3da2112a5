"""A deployment of two MySQL shards: two databases of the stack's server, beside a log and a cache of their own.

Of its own, because the topics belong to the deployment, and one of them has a partition a shard.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orderctl.config import Config, load
from orderctl.ids import partition_of
from orderctl.stores.mysql_hot import server_of
from tests.acceptance.deployment import Deployment
from tests.contract.hot_mysql_harness import TemporaryDatabase

GROUPS = 64
SHARDS = {"west": range(32), "east": range(32, 64)}
MERCHANT = "demo"

_SHARD = """\
[[mysql.shards]]
name = {name}
host = "127.0.0.1"
port = {port}
user = {user}
password = {password}
database = {database}
groups = {groups}

"""
_OTHERS = """\
[redis]
nodes = {nodes}

[kafka]
brokers = {brokers}
replication = 1

[cassandra]
hosts = {hosts}
port = {port}
keyspace = "orderctl"
datacenter = "datacenter1"
replication = 1

[archiver]
settle_s = "1s"
"""


class TwoShards:
    """The databases, and the configuration that names them. `data_dir` is where the tests' servers look for keys."""

    def __init__(self, servers: Config, log_and_cache: Config, folder: Path) -> None:
        self._servers = servers
        self._log_and_cache = log_and_cache
        self._file = folder / "orderctl.toml"
        self._sql = server_of(servers.mysql.shards[0])
        self._made = [TemporaryDatabase(self._sql) for _ in SHARDS]
        self.databases = dict(zip(SHARDS, self._made, strict=True))
        self._write()
        self.deployment = Deployment(self._file, folder / "data")

    @property
    def config(self) -> Config:
        """As it is now."""
        return load(self._file, {})

    def replace(self, shard: str) -> TemporaryDatabase:
        """Point the configuration at an empty database in the place of a shard's; returns that."""
        self.databases[shard] = TemporaryDatabase(self._sql)
        self._made.append(self.databases[shard])
        self._write()
        return self.databases[shard]

    def drop(self) -> None:
        """Let all databases go."""
        for database in self._made:
            database.drop()

    def _write(self) -> None:
        shards = [
            _SHARD.format(
                name=json.dumps(name),
                port=self._sql.port,
                user=json.dumps(self._sql.user),
                password=json.dumps(self._sql.password.reveal()),
                database=json.dumps(self.databases[name].server.database),
                groups=json.dumps(f"{groups.start}-{groups.stop - 1}"),
            )
            for name, groups in SHARDS.items()
        ]
        others = _OTHERS.format(
            nodes=json.dumps(self._log_and_cache.redis.nodes),
            brokers=json.dumps(self._log_and_cache.kafka.brokers),
            hosts=json.dumps(self._servers.cassandra.hosts),
            port=self._servers.cassandra.port,
        )
        self._file.write_text("".join([*shards, others]))
        self._file.chmod(0o600)


def shard_of(ref: str) -> str:
    """The shard that an order under this reference belongs to."""
    group = partition_of(MERCHANT, ref) & (GROUPS - 1)
    [name] = [name for name, groups in SHARDS.items() if group in groups]
    return name


def body_of(ref: str) -> dict[str, Any]:
    """A creation."""
    return {"merchant_ref": ref, "amount": 5, "currency": "EUR", "payment_method": "card"}
