"""Several processes behind one port: the supervisor listens and serves the admin port, its workers do the rest.

It opens no store. A worker that ends is started again while the others go on; one that outlives the supervisor drains at once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import Any

from msgspec import structs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

import orderctl
from orderctl.clock import SystemClock
from orderctl.daemons.assignment import Assignment
from orderctl.daemons.backoff import Backoff
from orderctl.daemons.host import ADMIN, Reporter
from orderctl.daemons.notify import without_systemd
from orderctl.daemons.servers import HARD_STOP_MARGIN_S, make_server
from orderctl.daemons.signals import Signals
from orderctl.daemons.stop import Stop, raise_first
from orderctl.daemons.worker_link import Orders, encode_orders
from orderctl.daemons.worker_process import Launch, WorkerProcess
from orderctl.errors import OrderctlError
from orderctl.web.admin_app import admin_app

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PROGRAM = (sys.executable, "-P", "-m", "orderctl.daemons.worker")
CODE = str(Path(orderctl.__file__).parents[1])
"""With -P and this in PYTHONPATH workers run the very code that runs here, whatever the working directory holds."""


def supervise(
    assignment: Assignment,
    count: int,
    sockets: Mapping[str, socket],
    reporter: Reporter,
    signals: Signals,
    *,
    environ: Mapping[str, str],
) -> None:
    """Run `count` workers until a signal.

    Raises:
        UsageRefused: a worker said that no start can help.
        OrderctlError: a worker did not stop in time, and was killed.

    """
    with tempfile.TemporaryDirectory(prefix="orderctl-metrics-") as metrics_dir:

        async def serve() -> None:
            stop = Stop()
            supervisor = Supervisor(assignment, count, sockets, metrics_dir=Path(metrics_dir), environ=environ)
            signals.before_exit = supervisor.abandon
            signals.on_drain(stop.ask)
            await supervisor.serve(stop, reporter)

        asyncio.run(serve())


class WorkersProbe:
    """`Probe` over workers, by what they reported last."""

    def __init__(self, workers: Sequence[WorkerProcess], *, is_draining: Callable[[], bool]) -> None:
        self._workers = workers
        self._is_draining = is_draining

    def not_alive(self) -> list[str]:
        """Nothing: a worker that hangs is replaced, which is no reason to restart the others."""
        return []

    def not_ready(self) -> list[str]:
        if self._is_draining():
            return ["draining"]
        return [reason for worker in self._workers for reason in worker.not_ready()]

    def degraded(self) -> list[str]:
        return [reason for worker in self._workers for reason in worker.degraded()]

    def status(self) -> dict[str, Any]:
        workers = [worker.status() for worker in self._workers]
        return {
            "pid": os.getpid(),
            "version": orderctl.__version__,
            "not_ready": self.not_ready(),
            "daemons": [daemon for worker in workers for daemon in worker.pop("daemons", [])],
            "workers": workers,
        }


class Supervisor:
    """The workers and the admin server. It is made inside the event loop."""

    def __init__(
        self,
        assignment: Assignment,
        count: int,
        sockets: Mapping[str, socket],
        *,
        metrics_dir: Path,
        environ: Mapping[str, str],
    ) -> None:
        """`sockets` become the supervisor's; all but ADMIN's are handed on to each worker."""
        self._daemon = assignment.config.daemon
        self._metrics_dir = metrics_dir
        self._shared = [sock for name, sock in sockets.items() if name != ADMIN]
        self._changed = asyncio.Event()
        self._is_draining = False
        descriptors = {name: sock.fileno() for name, sock in sockets.items() if name != ADMIN}
        child_environ = without_systemd(environ) | {METRICS_VARIABLE: str(metrics_dir), "PYTHONPATH": CODE}
        self._workers = [
            WorkerProcess(
                index,
                Launch(
                    PROGRAM, self._orders(assignment, index, descriptors), tuple(descriptors.values()), child_environ
                ),
                backoff=Backoff(os.urandom),
                clock=SystemClock(),
                on_change=self._changed.set,
                on_end=self._forget,
            )
            for index in range(count)
        ]
        self._probe = WorkersProbe(self._workers, is_draining=lambda: self._is_draining)
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, path=str(metrics_dir))  # type: ignore[no-untyped-call]
        self._admin = make_server(
            assignment.config.http,
            admin_app(self._probe, lambda: generate_latest(self._registry)),
            sockets[ADMIN],
            stop_timeout_s=self._daemon.stop_timeout,
        )

    async def serve(self, stop: Stop, reporter: Reporter) -> None:
        """Run until `stop` asks, then let the workers drain.

        Raises:
            UsageRefused: a worker said that no start can help.
            OrderctlError: a worker did not stop in time, and was killed.

        """
        admin = asyncio.create_task(self._admin.serve())
        keeping = [asyncio.create_task(worker.keep()) for worker in self._workers]
        watching = asyncio.create_task(self._watch(reporter))
        asked = asyncio.create_task(stop.asked())
        await asyncio.wait({asked, watching, admin, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        self._is_draining = True
        self._changed.set()
        reporter.stopping()
        for worker in self._workers:
            worker.leave(hurry=not asked.done())
        if asked.done():
            await stop.linger(self._daemon.drain_delay)
        for sock in self._shared:
            sock.close()  # the workers close theirs at the same time: from now on nobody accepts
        late = await self._wait_or_kill(keeping)
        self._admin.stop()
        await asyncio.wait({admin})
        asked.cancel()
        watching.cancel()
        await asyncio.wait({asked, watching})
        raise_first([watching, admin, *keeping])
        if late:
            raise OrderctlError(f"{late} workers did not stop in time, and were killed")

    def abandon(self) -> None:
        """End the workers as they are. Called in a signal handler, right before the process ends."""
        for worker in self._workers:
            worker.kill()
        shutil.rmtree(self._metrics_dir, ignore_errors=True)

    def _orders(self, assignment: Assignment, index: int, descriptors: dict[str, int]) -> bytes:
        own = structs.replace(assignment, instance=f"{assignment.instance}#{index}")
        return encode_orders(Orders(assignment=own, descriptors=descriptors, metrics_dir=self._metrics_dir))

    def _forget(self, pid: int) -> None:
        """Drop the gauges of a process that is no more; its counters stay in the sums."""
        mark_process_dead(pid, path=str(self._metrics_dir))  # type: ignore[no-untyped-call]

    async def _wait_or_kill(self, keeping: Sequence[asyncio.Task[None]]) -> int:
        """Wait for the workers as long as each may need; returns how many had to be killed."""
        patience_s = self._daemon.drain_delay + 3 * self._daemon.stop_timeout + 2 * HARD_STOP_MARGIN_S
        _, late = await asyncio.wait(keeping, timeout=patience_s)
        if late:
            for worker in self._workers:
                worker.kill()
            await asyncio.wait(late)
        return len(late)

    async def _watch(self, reporter: Reporter) -> None:
        """Tell the reporter how things are, again and again."""
        while True:
            self._changed.clear()
            reporter.report(self._probe)
            with suppress(TimeoutError):
                async with asyncio.timeout(reporter.interval_s):
                    await self._changed.wait()
