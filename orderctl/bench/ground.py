"""What scenarios run on: stores of the bench's own, beside a deployment's on the same servers or in a folder, and gone after.

In MySQL it is a database and in Cassandra a keyspace. Redis Cluster and Kafka have nothing like it: the topics that a scenario
fills are its own, and in Redis are only orders of its own, which expire; but the groups' marks are the deployment's, and
raised. So a deployment that is being served is refused.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from msgspec import Struct, structs

from orderctl.clock import SystemClock
from orderctl.config import Config, is_embedded, load
from orderctl.errors import ConfigError, UsageRefused
from orderctl.secret import read_secret
from orderctl.sections import CassandraSection, ShardSection
from orderctl.stores.cassandra_driver import CassandraAccess
from orderctl.stores.cassandra_driver import connect as connect_cassandra
from orderctl.stores.mysql_driver import MysqlServer, connect, drop, send
from orderctl.stores.mysql_hot import server_of
from orderctl.stores.servers import migrate_servers
from orderctl.stores.sqlite.datadir import DataDir
from orderctl.stores.tiers import Tiers, open_tiers

ALIVE_S: Final = 15
"""A daemon that said something since is taken for one that runs."""
RECORD_TTL: Final = "10m"
"""How long what is left in Redis stays there."""
SCHEMA_S: Final = 60.0


class Ground(Struct, frozen=True):
    """Where scenarios run. `name` is what their topics begin with; `config_file` and `data_dir` are for processes."""

    name: str
    config: Config
    config_file: Path
    data_dir: Path
    folder: Path

    @property
    def is_real(self) -> bool:
        """Whether it is on servers."""
        return not is_embedded(self.config)

    @property
    def groups(self) -> int:
        """The slices of the keyspace."""
        return self.config.deployment.groups

    @contextmanager
    def opened(self) -> Iterator[Tiers]:
        """The stores, of the calling process."""
        tiers = open_tiers(self.config, None if self.is_real else self.data_dir, SystemClock())
        with closing(tiers):
            yield tiers


@contextmanager
def ground_on(config: Config) -> Iterator[Ground]:
    """Make the stores, and take them away afterwards.

    Raises:
        UsageRefused: daemons run on this deployment.
        ConfigError: see `open_tiers`.
        TierError: a tier cannot be reached.

    """
    name = f"orderctl_bench_{uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="orderctl-bench-") as folder:
        file, data_dir = Path(folder) / "orderctl.toml", Path(folder) / "data"
        file.touch(0o600)
        if is_embedded(config):
            file.write_text(
                f"[deployment]\ngroups = {config.deployment.groups}\n" + _table("[http]", _http(config)), "utf-8"
            )
            DataDir(data_dir).check()
            yield Ground(name, load(file, {}), file, data_dir, Path(folder))
            return
        _refuse_if_served(config)
        file.write_text(_settings(config, name), "utf-8")
        ground = Ground(name, load(file, {}), file, data_dir, Path(folder))
        try:
            _make(ground.config)
            yield ground
        finally:
            _take_away(ground.config)


def _refuse_if_served(config: Config) -> None:
    """The bench takes the processor and the caches from whoever is served here, and raises the marks in Redis."""
    try:
        tiers = open_tiers(config, None, SystemClock())
    except ConfigError:
        return  # nothing was founded there yet, so nobody serves it
    with closing(tiers):
        now_us = tiers.registry.deployment().now_us
        alive = sorted(
            beat.daemon for beat in tiers.registry.heartbeats() if now_us - beat.beat_at < ALIVE_S * 1_000_000
        )
    if alive:
        raise UsageRefused(
            f"this deployment is being served: {', '.join(dict.fromkeys(alive))}",
            hint="bench is for servers that do nothing else: `orderctl stack up` starts some",
        )


def _make(config: Config) -> None:
    (shard,) = config.mysql.shards
    _sql(server_of(shard), f"CREATE DATABASE {shard.database} CHARACTER SET utf8mb4")
    migrate_servers(config, SystemClock(), dry_run=False)


def _take_away(config: Config) -> None:
    (shard,) = config.mysql.shards
    try:
        _sql(server_of(shard), f"DROP DATABASE IF EXISTS {shard.database}")
    finally:
        section = config.cassandra
        with closing(connect_cassandra(cassandra_access(section), {}, agreement_s=SCHEMA_S)) as connection:
            connection.change_schema(f"DROP KEYSPACE IF EXISTS {section.keyspace}")


def cassandra_access(section: CassandraSection) -> CassandraAccess:
    """How to come to the archive, patiently."""
    return CassandraAccess(
        hosts=section.hosts,
        port=section.port,
        keyspace=section.keyspace,
        datacenter=section.datacenter,
        user=section.user,
        password=read_secret(section.password, section.password_file) or "",
        answer_s=20.0,
    )


def _sql(server: MysqlServer, statement: str) -> None:
    connection = connect(structs.replace(server, database="information_schema", answer_s=SCHEMA_S))
    try:
        send(connection, statement)
    finally:
        drop(connection)


def _settings(config: Config, name: str) -> str:
    """The configuration of the bench's own stores, on the first shard's server and all the other tiers'."""
    shard = structs.replace(config.mysql.shards[0], database=name, groups=None)
    secrets = {
        "password": read_secret(shard.password, shard.password_file),
    }
    tables = [
        _table("[[mysql.shards]]", _plain(shard) | secrets),
        _table(
            "[redis]",
            _plain(config.redis) | {"password": read_secret(config.redis.password, config.redis.password_file)},
        ),
        _table("[kafka]", _plain(config.kafka)),
        _table(
            "[cassandra]",
            _plain(structs.replace(config.cassandra, keyspace=name))
            | {"password": read_secret(config.cassandra.password, config.cassandra.password_file)},
        ),
        _table("[deployment]", {"groups": config.deployment.groups}),
        _table("[cache]", {"record_ttl": RECORD_TTL}),
        _table("[http]", _http(config)),
    ]
    return "\n".join(tables)


def _http(config: Config) -> dict[str, object]:
    """What serves, of the configuration: all else of HTTP is as it comes."""
    return {"server": config.http.server, "event_loop": config.http.event_loop}


def _plain(section: ShardSection | Struct) -> dict[str, object]:
    """A section's values, without its secrets and the files that hold them."""
    return {key: value for key, value in structs.asdict(section).items() if not key.startswith("password")}


def _table(header: str, values: dict[str, object]) -> str:
    """A table of TOML; JSON's texts, numbers and lists are TOML's as well."""
    return "".join(
        [f"{header}\n", *(f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value is not None)]
    )
