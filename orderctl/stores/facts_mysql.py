"""What a MySQL shard says of itself, for `doctor`: read by the configured user, and nothing is written."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from msgspec import Struct

from orderctl.clock import US_PER_S, Clock
from orderctl.contracts import named_queries
from orderctl.errors import ConfigError, TierRejected
from orderctl.sections import ShardSection
from orderctl.stores.mysql_database import MysqlDatabase, Session
from orderctl.stores.mysql_hot import server_of
from orderctl.stores.mysql_registry import MysqlRegistry
from orderctl.stores.mysql_schema import require_schema
from orderctl.stores.registry import Deployment

QUERIES: Final = "mysql/doctor_queries.sql"


class ShardFacts(Struct, frozen=True, kw_only=True):
    """One shard. A value that the user may not see is None.

    `variables` and `counters` are by name, in lower case. `skew_s` is how far the server's clock is ahead of this machine's,
    at the least. `schema_fault` is what the schema lacks, and then there is no `deployment`.
    """

    name: str
    host: str
    tls: bool
    is_mariadb: bool
    variables: dict[str, str]
    counters: dict[str, str]
    replicates: bool | None
    isolation: str
    skew_s: float
    engines: dict[str, str]
    grants: tuple[str, ...]
    schema_fault: str | None = None
    deployment: Deployment | None = None


def shard_facts(shard: ShardSection, clock: Clock) -> ShardFacts:
    """Look at one shard.

    Raises:
        TierError: it cannot be reached, or does not let us in.

    """
    with closing(MysqlDatabase(server_of(shard))) as database:
        fault = _schema_fault(database)
        return database.read(lambda session: _facts(session, shard, clock, fault, _deployment(database, fault)))


def _facts(
    session: Session, shard: ShardSection, clock: Clock, fault: str | None, deployment: Deployment | None
) -> ShardFacts:
    sql = named_queries("sql", QUERIES)
    variables = {str(name).lower(): str(value) for name, value in session.rows(sql["variables"])}
    counters = {str(name).lower(): str(value) for name, value in session.rows(sql["counters"])}
    is_mariadb = "mariadb" in variables.get("version", "").lower()
    asked_us = clock.now_us()
    [(isolation, there_us)] = session.rows(sql["session" if is_mariadb else "mysql_session"])
    answered_us = clock.now_us()
    # What the answer's way may explain is left out.
    skew_us = max(0, there_us - answered_us) - max(0, asked_us - there_us)
    return ShardFacts(
        name=shard.name,
        host=shard.host,
        tls=shard.tls_ca is not None,
        is_mariadb=is_mariadb,
        variables=variables,
        counters=counters,
        replicates=_replicates(session, counters) if not is_mariadb else counters.get("slaves_running", "0") != "0",
        isolation=str(isolation),
        skew_s=skew_us / US_PER_S,
        engines={str(name): str(engine) for name, engine in session.rows(sql["engines"])},
        grants=tuple(str(row[0]).partition(" IDENTIFIED ")[0] for row in session.rows(sql["grants"])),
        schema_fault=fault,
        deployment=deployment,
    )


def _replicates(session: Session, counters: dict[str, str]) -> bool | None:
    if "slaves_running" in counters:
        return counters["slaves_running"] != "0"
    try:
        return bool(session.rows(named_queries("sql", QUERIES)["sources"]))
    except TierRejected:
        return None


def _schema_fault(database: MysqlDatabase) -> str | None:
    try:
        require_schema(database)
    except ConfigError as error:
        return error.message
    return None


def _deployment(database: MysqlDatabase, fault: str | None) -> Deployment | None:
    return None if fault else MysqlRegistry(database).deployment()
