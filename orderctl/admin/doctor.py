"""`doctor`: looks at every tier's settings at once, and judges what the design relies on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from orderctl.admin import checks_archive, checks_cache, checks_host, checks_hot, checks_log
from orderctl.admin.checks import Checked, State, run
from orderctl.admin.checks_archive import ArchiveChecked
from orderctl.admin.checks_hot import HotFacts
from orderctl.admin.checks_log import FollowerLag, LogChecked
from orderctl.admin.facts_host import embedded_facts, host_facts
from orderctl.clock import Clock
from orderctl.config import Config, is_embedded
from orderctl.errors import TierError
from orderctl.services.lag import Lag, cdc_lag, follower_lag
from orderctl.services.side_by_side import Question
from orderctl.stores.log import CHANGES, CHECKPOINTS, EXPIRED, topics

T = TypeVar("T")

LIMIT_S = 15.0
"""How long a tier may take to be looked at; all are at once."""
FEED_WAIT_S = 0.25
FOLLOWED = {"cache-sync": CHANGES, "archiver": CHANGES, "timeouts": EXPIRED}


class TierSeen(Struct, frozen=True):
    """A tier, and why it could not be looked at, None where it could."""

    name: str
    kind: str
    error: str | None = None


class Diagnosis(Struct, frozen=True):
    """Every check, by tier, and which tiers were away. `state` is the worst of all."""

    state: State
    tiers: list[TierSeen]
    checks: list[Checked]

    @property
    def is_whole(self) -> bool:
        """Whether every tier was looked at."""
        return all(tier.error is None for tier in self.tiers)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is to be mended, and everything could be looked at."""
        return self.state in {State.OK, State.NOTE}


def doctor(
    config: Config,
    data_dir: Path,
    clock: Clock,
    *,
    config_file: Path | None,
    groups: Mapping[str, str | None],
    limit_s: float = LIMIT_S,
) -> Diagnosis:
    """Look and judge; nothing is changed. `groups` has each daemon's name and its group in the log.

    Raises:
        DataDirError: an embedded database is damaged, or of a newer schema.

    """
    host = run("host", checks_host.CHECKS, host_facts(config, config_file))
    if is_embedded(config):
        found = run("embedded", checks_host.EMBEDDED_CHECKS, embedded_facts(data_dir))
        return diagnosis([TierSeen("embedded", "sqlite")], [*host, *found])
    return _of_servers(config, clock, groups, limit_s, host)


def diagnosis(tiers: list[TierSeen], checks: list[Checked]) -> Diagnosis:
    """A diagnosis of these checks."""
    worst = max((check.state for check in checks), key=list(State).index, default=State.OK)
    return Diagnosis(worst, tiers, checks)


def _of_servers(
    config: Config, clock: Clock, groups: Mapping[str, str | None], limit_s: float, host: list[Checked]
) -> Diagnosis:
    from orderctl.stores.facts_redis import cluster_facts
    from orderctl.stores.servers import KINDS, redis_access

    def ask(tier: str, look: Callable[[], T]) -> Question[T]:
        return Question(tier, look, within_s=limit_s)

    hot = ask("hot", lambda: _hot(config, clock))
    cache = ask("cache", lambda: cluster_facts(config.redis.nodes, redis_access(config), clock))
    log = ask("log", lambda: _log(config, clock, groups))
    archive = ask("archive", lambda: _archive(config))
    answers = {"hot": hot.answer(), "cache": cache.answer(), "log": log.answer(), "archive": archive.answer()}
    tiers = [TierSeen(name, KINDS[name], _why_away(answer)) for name, answer in answers.items()]
    checks = [
        *run("hot", checks_hot.CHECKS, _known(hot.answer())),
        *run("cache", checks_cache.CHECKS, _known(cache.answer())),
        *run("log", checks_log.CHECKS, _known(log.answer())),
        *run("archive", checks_archive.CHECKS, _known(archive.answer())),
    ]
    return diagnosis(tiers, [*host, *checks])


def _why_away(answer: object) -> str | None:
    """Why a tier, or a shard of it, could not be looked at."""
    if isinstance(answer, TierError):
        return str(answer)
    return "; ".join(answer.away) or None if isinstance(answer, HotFacts) else None


def _known(answer: T | TierError) -> T | None:
    return None if isinstance(answer, TierError) else answer


def _hot(config: Config, clock: Clock) -> HotFacts:
    """The shards that answer.

    Raises:
        TierError: none does.

    """
    from orderctl.stores.facts_mysql import ShardFacts, shard_facts

    found: list[ShardFacts] = []
    away: list[TierError] = []
    for shard in config.mysql.shards:
        try:
            found.append(shard_facts(shard, clock))
        except TierError as error:
            away.append(error)
    if not found:
        raise away[0]
    return HotFacts(
        shards=tuple(found),
        away=tuple(map(str, away)),
        groups=config.deployment.groups,
        clock_skew_max_s=config.command.clock_skew_max,
        cdc_lag=_cdc_lag(config, clock),
    )


def _cdc_lag(config: Config, clock: Clock) -> Lag | None:
    """None where the log is away, or the binlog cannot be read from where the pump is."""
    from orderctl.stores.binlog import BinlogFeed
    from orderctl.stores.kafka import KafkaLogStore
    from orderctl.stores.mysql_hot import server_of
    from orderctl.stores.servers import kafka_cluster

    feeds = [BinlogFeed(server_of(shard), shard=shard.name, clock=clock) for shard in config.mysql.shards]
    try:
        with closing(KafkaLogStore(kafka_cluster(config), clock=clock)) as log, suppress(TierError):
            # Where a shard has no partition yet, as the check of the partitions will say, nothing of it was published.
            if len(log.ends(CHECKPOINTS)) >= len(feeds):
                return cdc_lag(feeds, log, clock, wait_s=FEED_WAIT_S)
    finally:
        for feed in feeds:
            feed.close()
    return None


def _log(config: Config, clock: Clock, groups: Mapping[str, str | None]) -> LogChecked:
    from orderctl.stores.facts_kafka import log_facts
    from orderctl.stores.kafka import KafkaLogStore
    from orderctl.stores.servers import kafka_cluster

    wanted = topics(groups=config.deployment.groups, shards=len(config.mysql.shards))
    cluster = kafka_cluster(config)
    found = log_facts(cluster, [topic.name for topic in wanted], clock)
    lags = []
    with closing(KafkaLogStore(cluster, clock=clock)) as log:
        for daemon, topic in FOLLOWED.items():
            if (group := groups.get(daemon)) is not None and topic in found.topics:
                lags.append(FollowerLag(daemon, topic, follower_lag(log, group, topic, clock)))
    return LogChecked(log=found, topics=wanted, replication=config.kafka.replication, lags=tuple(lags))


def _archive(config: Config) -> ArchiveChecked:
    from orderctl.stores.cassandra_schema import Layout
    from orderctl.stores.facts_cassandra import archive_facts
    from orderctl.stores.servers import cassandra_access

    section = config.cassandra
    return ArchiveChecked(
        archive=archive_facts(cassandra_access(config), Layout(config.deployment.groups)),
        datacenter=section.datacenter,
        replication=section.replication,
        settle_s=config.archiver.settle_s,
        has_user=section.user is not None,
    )
