"""The daemons of one process: their loops in threads, their servers in one event loop, and in which order they take leave.

/readyz says 503, drain_delay passes, servers accept no more and finish what they took, loops stop and drain, heartbeats retire,
and the admin server, by which one can watch all this, goes last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from socket import socket
from typing import Protocol

import structlog
from prometheus_client import generate_latest
from starlette.types import ASGIApp

from orderctl.daemons.base import Context, Daemon, ServerDaemon
from orderctl.daemons.heartbeat import Pulse
from orderctl.daemons.loop import Loop, Work
from orderctl.daemons.loop_thread import LoopThread
from orderctl.daemons.probe import Member, MembersProbe
from orderctl.daemons.servers import Server, make_server
from orderctl.daemons.sockets import url_of
from orderctl.daemons.stop import Stop, raise_first
from orderctl.daemons.transactions import TransactionCount
from orderctl.errors import OrderctlError, TierError
from orderctl.web.admin_app import admin_app
from orderctl.web.edge import Probe

_log = structlog.stdlib.get_logger(__name__)

ADMIN = "admin"
"""The admin server's name among the sockets."""


class Reporter(Protocol):
    """Who wants to know how the process is. Called in the event loop's thread."""

    @property
    def interval_s(self) -> float:
        """How often to tell where nothing changes."""
        ...

    def report(self, probe: Probe) -> None:
        """Take note: something changed, or `interval_s` have passed."""
        ...

    def stopping(self) -> None:
        """Take note: the process has begun to stop."""
        ...


class Host:
    """Runs daemons until it is asked to stop. It is made inside the event loop."""

    def __init__(
        self, daemons: Sequence[Daemon], sockets: Mapping[str, socket], *, context: Context, instance: str
    ) -> None:
        """`sockets` become the host's: each server daemon's by its name, and ADMIN's if this process has one.

        `instance` tells this process apart from others that run the same daemons.
        """
        self._context = context
        self._event_loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._is_draining = False
        self._stop_timeout_s = float(context.config.daemon.stop_timeout)
        # A daemon without an API can be found, and its metrics read, by the admin server's address.
        admin = sockets.get(ADMIN)
        self._members = [self._member(daemon, instance, sockets.get(daemon.name, admin)) for daemon in daemons]
        self._probe = self._probe_of(self._members)
        self._pulse = Pulse(context.tiers.registry, self._members)
        self._pulse_loop = self._loop(self._pulse)
        self._transactions = TransactionCount(context.tiers.hot, context.metrics)
        self._apis = [
            self._server(member.daemon.app(self._probe_of([member])), sockets[member.daemon.name])
            for member in self._members
            if isinstance(member.daemon, ServerDaemon)
        ]
        self._admins = [
            self._server(admin_app(self._probe, self._render_metrics), sock)
            for name, sock in sockets.items()
            if name == ADMIN
        ]

    async def serve(self, stop: Stop, reporter: Reporter) -> None:
        """Run until `stop` asks, then drain.

        Raises:
            UsageRefused: a daemon refused to go on.
            OrderctlError: a daemon did not stop in time. What it was doing is repeated by the next one.

        """
        threads = [LoopThread(member.loop) for member in self._members]
        pulse = LoopThread(self._pulse_loop)
        admins = [asyncio.create_task(server.serve()) for server in self._admins]
        apis = [asyncio.create_task(server.serve()) for server in self._apis]
        watching = asyncio.create_task(self._watch(reporter))
        asked = asyncio.create_task(stop.asked())
        await asyncio.wait({asked, watching, *admins, *apis}, return_when=asyncio.FIRST_COMPLETED)
        self._is_draining = True
        self._changed.set()
        reporter.stopping()
        for api in self._apis:
            api.say_last_words()
        if asked.done():
            await stop.linger(self._context.config.daemon.drain_delay)
        await _stop(self._apis, apis)
        stuck = [each.name for each in (*threads, pulse) if not await each.stop(within_s=self._stop_timeout_s)]
        await _stop(self._admins, admins)
        await _cancel(asked, watching)
        raise_first([watching, *apis, *admins])
        if stuck:
            raise OrderctlError(f"did not stop within {self._stop_timeout_s:g} s: {', '.join(stuck)}")

    async def _watch(self, reporter: Reporter) -> None:
        """Tell the reporter how things are, again and again, until a daemon refuses to go on."""
        has_beaten = False
        while True:
            self._changed.clear()
            self._transactions.update()
            for member in self._members:
                if member.loop.refusal is not None:
                    raise member.loop.refusal
            if not has_beaten and not self._probe.not_ready():
                # Whoever is told that we are ready may look for us in the registry at once.
                await asyncio.to_thread(self._beat)
                has_beaten = True
            reporter.report(self._probe)
            with suppress(TimeoutError):
                async with asyncio.timeout(reporter.interval_s):
                    await self._changed.wait()

    def _beat(self) -> None:
        try:
            self._pulse.step()
        except TierError as error:
            _log.warning("no heartbeat", error=str(error))

    def _render_metrics(self) -> bytes:
        self._transactions.update()
        return generate_latest(self._context.metrics.registry)

    def _note_change(self) -> None:
        """A loop's state changed; called in its thread."""
        with suppress(RuntimeError):  # a step that did not end in time ends now, and nobody listens any more
            self._event_loop.call_soon_threadsafe(self._changed.set)

    def _member(self, daemon: Daemon, instance: str, sock: socket | None) -> Member:
        loop = self._loop(daemon, step_s_max=daemon.manifest.limits.step_s_max, pause_s_max=daemon.pause_s_max)
        return Member(daemon, loop, f"{daemon.name}@{instance}", url_of(sock) if sock else None)

    def _loop(self, work: Work, *, step_s_max: float = 60.0, pause_s_max: float = 10.0) -> Loop:
        context = self._context
        return Loop(
            work,
            clock=context.clock,
            random=context.random,
            metrics=context.metrics,
            step_s_max=step_s_max,
            pause_s_max=pause_s_max,
            on_change=self._note_change,
        )

    def _probe_of(self, members: Sequence[Member]) -> MembersProbe:
        return MembersProbe(members, is_draining=lambda: self._is_draining)

    def _server(self, app: ASGIApp, sock: socket) -> Server:
        return make_server(self._context.config.http, app, sock, stop_timeout_s=self._stop_timeout_s)


async def _stop(servers: Sequence[Server], serving: Sequence[asyncio.Task[None]]) -> None:
    for server in servers:
        server.stop()
    if serving:
        await asyncio.wait(serving)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
