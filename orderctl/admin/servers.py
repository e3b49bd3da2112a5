"""Finds the two servers: those that say so by their heartbeats, else where the configuration puts them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from orderctl.clock import US_PER_S
from orderctl.config import Config
from orderctl.stores.registry import Heartbeat

FRESH_S = 10
"""A daemon that has not been heard of for longer is not there."""


class Servers(Struct, frozen=True):
    """The URLs of each server, the one to try first in front."""

    command: tuple[str, ...]
    query: tuple[str, ...]


def find_servers(heartbeats: Sequence[Heartbeat], config: Config, *, now_us: int) -> Servers:
    """The servers by what was heard of them at `now_us`, by the database's clock."""
    return Servers(
        command=_addresses("command", heartbeats, now_us) or _configured(config.command.bind),
        query=_addresses("query", heartbeats, now_us) or _configured(config.query.bind),
    )


def is_fresh(heartbeat: Heartbeat, *, now_us: int) -> bool:
    """Whether the daemon has been heard of lately."""
    return now_us - heartbeat.beat_at <= FRESH_S * US_PER_S


def _addresses(daemon: str, heartbeats: Sequence[Heartbeat], now_us: int) -> tuple[str, ...]:
    alive = [beat for beat in heartbeats if beat.daemon == daemon and beat.address and is_fresh(beat, now_us=now_us)]
    alive.sort(key=lambda beat: beat.beat_at, reverse=True)
    return tuple(dict.fromkeys(str(beat.address) for beat in alive))


def _configured(bind: str) -> tuple[str, ...]:
    """A bound address as a URL. Port 0 is known to nobody but the server."""
    return () if bind.endswith(":0") else (f"http://{bind}",)
