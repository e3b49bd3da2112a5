"""How the daemons of a process are: each one's health, and what follows for /livez, /readyz and /status."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs

import orderctl
from orderctl.daemons.base import Daemon, ServerDaemon
from orderctl.daemons.loop import Loop, State
from orderctl.stores.registry import Heartbeat


class Member(Struct, frozen=True, eq=False):
    """A daemon, the loop that runs it, what tells it apart from others of its kind, and its API's URL if it has one."""

    daemon: Daemon
    loop: Loop
    instance: str
    address: str | None

    def not_ready(self) -> list[str]:
        """Why it is of no use just now. A server whose step fails still answers what it can."""
        failing = [] if isinstance(self.daemon, ServerDaemon) else self.loop.failing()
        own = [f"{self.daemon.name}: {reason}" for reason in self.daemon.not_ready()]
        return self.loop.not_ready() or [*failing, *own]

    def degraded(self) -> list[str]:
        """What does not work though it is of use."""
        return [] if self.not_ready() else self.loop.failing()

    def heartbeat(self) -> Heartbeat:
        """What it says of itself to everybody."""
        health = self.loop.health
        last_error = health.last_error if health.state is State.FAILING else None
        return Heartbeat(self.instance, self.daemon.name, health.state.value, self.address, last_error)

    def status(self) -> dict[str, Any]:
        """What /status shows of it."""
        return {"name": self.daemon.name, "instance": self.instance, "address": self.address} | structs.asdict(
            self.loop.health
        )


class MembersProbe:
    """`Probe` over daemons of this process: all of them for the admin server, a single one for its own API."""

    def __init__(self, members: Sequence[Member], *, is_draining: Callable[[], bool]) -> None:
        self._members = members
        self._is_draining = is_draining

    def not_alive(self) -> list[str]:
        return [reason for member in self._members for reason in member.loop.not_alive()]

    def not_ready(self) -> list[str]:
        if self._is_draining():
            return ["draining"]
        return [reason for member in self._members for reason in member.not_ready()]

    def degraded(self) -> list[str]:
        return [reason for member in self._members for reason in member.degraded()]

    def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": orderctl.__version__,
            "state": summary_of(self),
            "daemons": [member.status() for member in self._members],
        }


def summary_of(probe: MembersProbe) -> str:
    """One line on how the process is."""
    reasons = probe.not_ready()
    return "not ready: " + "; ".join(reasons) if reasons else "ready"
