"""`status`: which daemons run, by their heartbeats, and which tiers answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from orderctl.admin.servers import is_fresh
from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.stores.base import CacheStore, Heartbeat, Registry

EMBEDDED = "sqlite"


class DaemonStatus(Struct, frozen=True):
    """A daemon, over all its instances. The lag is None for one that follows no log."""

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
    """The deployment at a glance."""

    daemons: list[DaemonStatus]
    tiers: list[TierStatus]

    @property
    def is_good(self) -> bool:
        """Whether every tier answers and a daemon runs."""
        return all(tier.state == "up" for tier in self.tiers) and any(
            daemon.state == "running" for daemon in self.daemons
        )


def status(daemons: Sequence[str], registry: Registry, cache: CacheStore, clock: Clock) -> Status:
    """The daemons of these names, and the embedded tiers, as they are now."""
    heartbeats: list[Heartbeat] | None = None
    now_us = 0
    with suppress(TierError):
        now_us = registry.deployment().now_us
        heartbeats = registry.heartbeats()
    return Status(
        daemon_statuses(daemons, heartbeats, now_us=now_us),
        [
            tier_status("hot", EMBEDDED, registry.deployment, clock),
            tier_status("cache", EMBEDDED, cache.ping, clock),
        ],
    )


def nothing_started(daemons: Sequence[str]) -> Status:
    """The deployment before anything was started: there is nothing to ask."""
    return Status(
        [DaemonStatus(name, "stopped") for name in daemons],
        [TierStatus("hot", EMBEDDED, "down"), TierStatus("cache", EMBEDDED, "down")],
    )


def daemon_statuses(names: Sequence[str], heartbeats: Sequence[Heartbeat] | None, *, now_us: int) -> list[DaemonStatus]:
    """Each daemon by what was heard of it at `now_us` (the database's clock); None: nothing can be heard."""
    if heartbeats is None:
        return [DaemonStatus(name, "unknown") for name in names]
    return [_daemon(name, [beat for beat in heartbeats if beat.daemon == name], now_us) for name in names]


def tier_status(name: str, kind: str, ask: Callable[[], object], clock: Clock) -> TierStatus:
    """Whether the tier answers when it is asked."""
    began = clock.monotonic_s()
    try:
        ask()
    except TierError:
        return TierStatus(name, kind, "down")
    return TierStatus(name, kind, "up", round((clock.monotonic_s() - began) * 1000, 3))


def _daemon(name: str, heartbeats: Sequence[Heartbeat], now_us: int) -> DaemonStatus:
    alive = [beat for beat in heartbeats if beat.state != "stopped" and is_fresh(beat, now_us=now_us)]
    if not alive:
        return DaemonStatus(name, "stopped")
    failing = [beat for beat in alive if beat.state == "failing"]
    newest = max(failing or alive, key=lambda beat: beat.beat_at)
    return DaemonStatus(name, "failing" if failing else "running", last_error=newest.last_error)
