"""What a daemon is: one bounded step, repeated for ever. All else that daemons share is around it, in `loop` and `process`.

A daemon's file shows only its own idea:

    class ArchiverDaemon(Daemon):
        def step(self) -> float:
            moved = self._service.move_some()
            return 0 if moved else 5.0

An error that a step raises makes the daemon *failing*: logged, counted, and tried again after a pause that grows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from msgspec import Struct
from starlette.types import ASGIApp

from orderctl.clock import Clock
from orderctl.config import Config
from orderctl.daemons.manifest import Manifest
from orderctl.ids import RandomBytes
from orderctl.metrics import Metrics
from orderctl.stores.tiers import Tiers
from orderctl.web.edge import EdgeSettings, Probe


class Context(Struct, frozen=True, kw_only=True):
    """What a process gives to its daemons. `tiers` stays the process's, which closes it."""

    config: Config
    tiers: Tiers
    clock: Clock
    metrics: Metrics
    random: RandomBytes


class Daemon(ABC):
    """Work without an end. Its methods run in one thread, except where they say otherwise."""

    pause_s_max: ClassVar[float] = 10.0
    """The longest pause after a step that failed, in seconds."""

    def __init__(self, manifest: Manifest, context: Context) -> None:
        self.manifest = manifest
        self.context = context

    @property
    def name(self) -> str:
        """What the daemon is called on the command line, in logs and in heartbeats."""
        return self.manifest.name

    @abstractmethod
    def step(self) -> float:
        """Do one unit of work; returns how many seconds to wait before the next, 0 where there is more to do.

        It is bounded in time (`limits.step_s_max`), and safe to repeat and to kill at any instruction.

        Raises:
            TierError: a tier failed; the step is repeated later.
            UsageRefused: no repetition can help; the whole process ends with this error.

        """
        ...

    def drain(self) -> None:
        """Finish what is under way. Runs once, after the last step and, for a server, after the last request."""
        return

    def not_ready(self) -> list[str]:
        """Why this daemon is of no use just now, beside its steps never having succeeded. Any thread may ask."""
        return []


class ServerDaemon(Daemon, ABC):
    """A daemon that also answers HTTP; its steps keep house."""

    @classmethod
    @abstractmethod
    def bind(cls, config: Config) -> str:
        """Where it is to listen: HOST:PORT, the `bind` of the section that is called like the daemon."""
        ...

    @abstractmethod
    def app(self, probe: Probe) -> ASGIApp:
        """The application to serve. Called once, in the event loop's thread; `probe` tells of this daemon alone."""
        ...


def edge_settings(config: Config) -> EdgeSettings:
    """The limits of the HTTP edge, as configured."""
    return EdgeSettings(
        body_timeout_s=config.http.body_timeout,
        queue_max=config.http.queue_max,
        linger_s=config.http.linger,
        wait_max_s=config.query.wait_max,
    )
