"""Heartbeats: every two seconds the process says, in the registry, that its daemons are there, how, and at which address."""

from __future__ import annotations

from collections.abc import Sequence

from orderctl.daemons.probe import Member
from orderctl.stores.registry import Registry

INTERVAL_S = 2.0


class Pulse:
    """The work of one more loop in the process. A daemon whose step hangs or fails is thus still seen, as what it is."""

    name = "heartbeat"

    def __init__(self, registry: Registry, members: Sequence[Member]) -> None:
        self._registry = registry
        self._members = members

    def step(self) -> float:
        """Beat once for all."""
        self._registry.beat([member.heartbeat() for member in self._members])
        return INTERVAL_S

    def drain(self) -> None:
        """Let nobody look for them any more: they ended in good order."""
        self._registry.retire([member.instance for member in self._members])
