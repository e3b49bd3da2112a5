"""`status`: which daemons run, by their heartbeats, how far they are behind, and which tiers answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from orderctl.admin.servers import is_fresh
from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.services.lag import Lag, archiver_lag, cdc_lag, follower_lag
from orderctl.services.parking import waiting
from orderctl.services.side_by_side import Question
from orderctl.stores.log import CHANGES, EXPIRED
from orderctl.stores.registry import Heartbeat, Registry
from orderctl.stores.tiers import EMBEDDED_KINDS, Tiers

FEED_WAIT_S = 0.25
LIMIT_S = 5.0
"""How long everything that is asked at once may take together; it is asked twice."""


class DaemonStatus(Struct, frozen=True):
    """A daemon, over all its instances. The lag is None for one that follows nothing, and where nobody can tell."""

    name: str
    state: Literal["running", "stopped", "failing", "unknown"]
    lag_events: int | None = None
    lag_s: float | None = None
    last_error: str | None = None


class TierStatus(Struct, frozen=True):
    """A tier, and how long it took to answer."""

    name: str
    kind: str
    state: Literal["up", "down"]
    latency_ms: float | None = None


class Status(Struct, frozen=True):
    """The deployment at a glance. `parked` is how many messages wait in orders.parked, None where nobody can tell."""

    daemons: list[DaemonStatus]
    tiers: list[TierStatus]
    parked: int | None = None

    @property
    def is_good(self) -> bool:
        """Whether every tier answers and a daemon runs."""
        return all(tier.state == "up" for tier in self.tiers) and any(
            daemon.state == "running" for daemon in self.daemons
        )


class Heard(Struct, frozen=True):
    """What was heard of the daemons by `now_us` of the database's clock."""

    heartbeats: list[Heartbeat]
    now_us: int


def status(groups: Mapping[str, str | None], tiers: Tiers, clock: Clock, *, limit_s: float = LIMIT_S) -> Status:
    """The daemons and the tiers as they are now; `groups` has each daemon's name and its group in the log.

    Nothing is waited for longer than `limit_s`, twice: what has not answered by then counts as failed.
    """
    heard = Question("hot", lambda: _heard(tiers.registry), within_s=limit_s)
    parked = Question("log", lambda: sum(1 for _ in waiting(tiers.log)), within_s=limit_s)
    found = tier_statuses(
        {
            "hot": lambda: [shard.registry.deployment() for shard in tiers.shards],
            "cache": tiers.cache.ping,
            "log": tiers.log.ping,
            "archive": tiers.archive.ping,
        },
        clock,
        kinds=tiers.kinds,
        limit_s=limit_s,
    )
    lags = _lags(groups, tiers, clock, limit_s)
    count = parked.answer()
    return Status(
        daemon_statuses(list(groups), heard.answer(), lags), found, None if isinstance(count, TierError) else count
    )


def nothing_started(daemons: Sequence[str]) -> Status:
    """The deployment before anything was started: there is nothing to ask."""
    return Status(
        [DaemonStatus(name, "stopped") for name in daemons],
        [TierStatus(name, kind, "down") for name, kind in EMBEDDED_KINDS.items()],
    )


def daemon_statuses(
    names: Sequence[str], heard: Heard | TierError, lags: Mapping[str, Lag] | None = None
) -> list[DaemonStatus]:
    """Each daemon by what was heard of it, and by its lag where that is known. Of none is anything known without the first."""
    return [_daemon(name, heard, (lags or {}).get(name)) for name in names]


def tier_statuses(
    pings: Mapping[str, Callable[[], object]],
    clock: Clock,
    *,
    kinds: Mapping[str, str] = EMBEDDED_KINDS,
    limit_s: float = LIMIT_S,
) -> list[TierStatus]:
    """Whether each tier answers when all are asked at once."""

    def timed(ping: Callable[[], object]) -> Callable[[], float]:
        def latency_ms() -> float:
            began_s = clock.monotonic_s()
            ping()
            return round((clock.monotonic_s() - began_s) * 1000, 3)

        return latency_ms

    asked = {name: Question(name, timed(ping), within_s=limit_s) for name, ping in pings.items()}
    return [_tier(name, kinds[name], question.answer()) for name, question in asked.items()]


def _heard(registry: Registry) -> Heard:
    return Heard(registry.heartbeats(), registry.deployment().now_us)


def _lags(groups: Mapping[str, str | None], tiers: Tiers, clock: Clock, limit_s: float) -> dict[str, Lag]:
    """The lag of each daemon that follows something, as far as it can be told."""
    is_embedded = tiers.kinds["hot"] == EMBEDDED_KINDS["hot"]
    followed: dict[str, Callable[[], Lag | None]] = {
        "cdc": lambda: cdc_lag(tiers.feeds, tiers.log, clock, wait_s=0.0 if is_embedded else FEED_WAIT_S),
        "cache-sync": lambda: follower_lag(tiers.log, str(groups["cache-sync"]), CHANGES, clock),
        "archiver": lambda: archiver_lag(tiers.hot, clock),
        "timeouts": lambda: follower_lag(tiers.log, str(groups["timeouts"]), EXPIRED, clock),
    }
    asked = {name: Question(name, ask, within_s=limit_s) for name, ask in followed.items() if name in groups}
    answers = {name: question.answer() for name, question in asked.items()}
    return {name: answer for name, answer in answers.items() if isinstance(answer, Lag)}


def _tier(name: str, kind: str, latency_ms: float | TierError) -> TierStatus:
    if isinstance(latency_ms, TierError):
        return TierStatus(name, kind, "down")
    return TierStatus(name, kind, "up", latency_ms)


def _daemon(name: str, heard: Heard | TierError, lag: Lag | None) -> DaemonStatus:
    events, age_s = (None, None) if lag is None else (lag.events, lag.age_s)
    if isinstance(heard, TierError):
        return DaemonStatus(name, "unknown", events, age_s)
    mine = [beat for beat in heard.heartbeats if beat.daemon == name]
    alive = [beat for beat in mine if beat.state != "stopped" and is_fresh(beat, now_us=heard.now_us)]
    if not alive:
        return DaemonStatus(name, "stopped", events, age_s)
    failing = [beat for beat in alive if beat.state == "failing"]
    newest = max(failing or alive, key=lambda beat: beat.beat_at)
    return DaemonStatus(name, "failing" if failing else "running", events, age_s, newest.last_error)
