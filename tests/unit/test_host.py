"""A process's daemons together: what is ready when, what ends them all, and what does not stop."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from msgspec import structs

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.daemons.base import Context, Daemon
from orderctl.daemons.host import ADMIN, Host
from orderctl.daemons.manifest import Manifest
from orderctl.daemons.process import run
from orderctl.daemons.ready import Ready
from orderctl.daemons.sockets import listen
from orderctl.daemons.stop import Stop
from orderctl.duration import Duration
from orderctl.errors import ConfigError, OrderctlError, TierUnavailable, UsageRefused
from orderctl.sections import AdminSection, DaemonSection, DeploymentSection, QuerySection
from orderctl.stores.tiers import Tiers, open_tiers
from orderctl.web.edge import Probe
from tests.unit.daemon_kit import new_metrics

PATIENCE_S = 60.0
QUICK = Config(
    daemon=DaemonSection(stop_timeout=Duration(PATIENCE_S)),
    admin=AdminSection(bind="127.0.0.1:0"),
    query=QuerySection(bind="127.0.0.1:0"),
)
MANIFEST = Manifest(
    name="told",
    idea="Does as it is told.",
    entry="orderctl.daemons.told:ToldDaemon",
    reads=(),
    writes=(),
    admin_port=8799,
)


class ToldDaemon(Daemon):
    """A daemon whose step a test gives."""

    def __init__(self, context: Context, what: Callable[[], float]) -> None:
        super().__init__(MANIFEST, context)
        self._what = what
        self.drained = False

    def step(self) -> float:
        return self._what()

    def drain(self) -> None:
        self.drained = True


class Watcher:
    """A reporter that asks to stop once a test has seen what it wanted."""

    interval_s = 0.05

    def __init__(self, seen: Callable[[Probe], bool]) -> None:
        self._seen = seen
        self.stop: Stop | None = None
        self.reasons: list[list[str]] = []

    def report(self, probe: Probe) -> None:
        self.reasons.append(probe.not_ready())
        if self._seen(probe) and self.stop is not None:
            self.stop.ask()

    def stopping(self) -> None:
        self.reasons.append(["stopping"])


@pytest.fixture
def tiers() -> Iterator[Tiers]:
    opened = open_tiers(QUICK, None, SystemClock())
    yield opened
    opened.close()


def hosted(
    tiers: Tiers, what: Callable[[], float], watcher: Watcher, *, stop_timeout_s: float = PATIENCE_S
) -> ToldDaemon:
    """Run a daemon until the watcher has seen enough."""
    config = structs.replace(QUICK, daemon=DaemonSection(stop_timeout=Duration(stop_timeout_s)))
    context = Context(config=config, tiers=tiers, clock=SystemClock(), metrics=new_metrics(), random=os.urandom)
    daemon = ToldDaemon(context, what)

    async def scene() -> None:
        watcher.stop = Stop()
        admin = listen("127.0.0.1:0", setting="", backlog=16)
        host = Host([daemon], {ADMIN: admin}, context=context, instance="here")
        async with asyncio.timeout(2 * PATIENCE_S):
            await host.serve(watcher.stop, watcher)

    asyncio.run(scene())
    return daemon


def test_not_ready_until_a_step_succeeded_then_drained_in_order(tiers: Tiers) -> None:
    """A tier that is away at first is waited for."""
    watcher = Watcher(lambda probe: not probe.not_ready())

    def step() -> float:
        if not watcher.reasons:
            raise TierUnavailable("hot", "away")
        return 0.01

    daemon = hosted(tiers, step, watcher)
    assert daemon.drained
    assert watcher.reasons[0][0].startswith("told: ")
    assert [] in watcher.reasons
    assert ["draining"] in watcher.reasons
    assert tiers.registry.heartbeats() == []


def test_a_refusal_of_one_daemon_ends_the_process(tiers: Tiers) -> None:
    """After the others have drained; the error is the caller's to show."""

    def refuse() -> float:
        raise UsageRefused("other groups")

    with pytest.raises(UsageRefused, match="other groups"):
        hosted(tiers, refuse, Watcher(lambda _probe: False))


def test_a_step_that_does_not_end_is_not_waited_for(tiers: Tiers) -> None:
    """The process ends all the same, and says which daemon it was."""
    release, began = threading.Event(), threading.Event()

    def hang() -> float:
        began.set()
        release.wait(PATIENCE_S)
        return 0

    try:
        with pytest.raises(OrderctlError, match=r"did not stop within 0\.2 s: told"):
            hosted(tiers, hang, Watcher(lambda _probe: began.is_set()), stop_timeout_s=0.2)
    finally:
        release.set()


def test_what_a_worker_refuses_ends_all(tmp_path: Path) -> None:
    """Its reason comes through the supervisor, instead of restarts without end; nobody is told that all is ready."""
    told: list[Ready] = []
    (tmp_path / "data").mkdir()
    open_tiers(QUICK, tmp_path / "data", SystemClock()).close()
    config = Config(deployment=DeploymentSection(groups=128), admin=QUICK.admin, query=QUICK.query, daemon=QUICK.daemon)
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    try:
        with pytest.raises(UsageRefused, match="groups = 128"):
            run(["query"], config=config, data_dir=tmp_path / "data", ready=told.append, workers=2)
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
        structlog.reset_defaults()
    assert told == []


def test_what_one_process_refuses_is_the_same_error(tmp_path: Path) -> None:
    """Without workers it is raised as it is."""
    (tmp_path / "data").mkdir()
    open_tiers(QUICK, tmp_path / "data", SystemClock()).close()
    config = Config(deployment=DeploymentSection(groups=128), admin=QUICK.admin, query=QUICK.query)
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    try:
        with pytest.raises(ConfigError, match="groups = 128"):
            run(["query"], config=config, data_dir=tmp_path / "data", ready=lambda _ready: None)
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
        structlog.reset_defaults()
