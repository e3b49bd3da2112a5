"""A worker as its supervisor sees it: started, listened to, started again when it ends or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.daemons.backoff import Backoff
from orderctl.daemons.worker_link import DRAIN, HURRY, Report, decode_report
from orderctl.errors import UsageRefused

_log = structlog.stdlib.get_logger(__name__)

SILENCE_S_MAX = 60.0
"""A worker reports every second once it has started; one that has said nothing for so long hangs."""
EXIT_S_MAX = 10.0
"""How long a worker may take to end after it closed its stdout."""
STABLE_S = 30.0
"""A worker that lived for so long did not die of its start: the next pause is short again."""
_LINE_BYTES_MAX = 1 << 20


class Launch(Struct, frozen=True):
    """How to start a worker: its program, the line for its stdin, the descriptors that it inherits, its environment."""

    program: tuple[str, ...]
    orders: bytes
    descriptors: tuple[int, ...]
    environ: dict[str, str]


class WorkerProcess:
    """Worker number `index`, whichever process that is at the moment."""

    def __init__(
        self,
        index: int,
        launch: Launch,
        *,
        backoff: Backoff,
        clock: Clock,
        on_change: Callable[[], None],
        on_end: Callable[[int], None],
        silence_s_max: float = SILENCE_S_MAX,
    ) -> None:
        """`on_change` is called at every report and end, `on_end` with the pid of the process that ended."""
        self._index = index
        self._launch = launch
        self._backoff = backoff
        self._clock = clock
        self._on_change = on_change
        self._on_end = on_end
        self._silence_s_max = silence_s_max
        self._process: Process | None = None
        self._report: Report | None = None
        self._restarts = 0
        self._last_word = b""
        self._is_leaving = asyncio.Event()

    async def keep(self) -> None:
        """See to it that the worker runs, until `leave`.

        Raises:
            UsageRefused: the worker said that no start of it can help.

        """
        while not self._is_leaving.is_set():
            began_s = self._clock.monotonic_s()
            process = await self._start()
            exit_code = await self._follow(process)
            last, self._report = self._report, None
            self._on_end(process.pid)
            self._on_change()
            if last is not None and last.refusal is not None:
                raise UsageRefused(last.refusal, hint=last.hint)
            if self._is_leaving.is_set():
                return
            if self._clock.monotonic_s() - began_s > STABLE_S:
                self._backoff.reset()
            pause_s = self._backoff.next_s()
            self._restarts += 1
            _log.warning(
                "worker ended", worker=self._index, pid=process.pid, exit_code=exit_code, pause_s=round(pause_s, 3)
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._is_leaving.wait()

    def leave(self, *, hurry: bool) -> None:
        """Let the worker drain, and start it no more. With `hurry` there is nobody to wait for."""
        self._last_word = HURRY if hurry else DRAIN
        self._is_leaving.set()
        self._say(self._last_word)

    def kill(self) -> None:
        """End the worker as it is. What it had acknowledged is durable. Also called in a signal handler."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                # Not `Process.kill`: it reaps the child if it can, and asyncio would never learn the exit code.
                os.kill(self._process.pid, signal.SIGKILL)

    def not_ready(self) -> list[str]:
        """Why the worker is of no use just now."""
        if self._report is None:
            reasons = ["not started yet"]
        else:
            reasons = [self._report.refusal] if self._report.refusal is not None else self._report.not_ready
        return [f"worker {self._index}: {reason}" for reason in reasons]

    def degraded(self) -> list[str]:
        """What does not work though it is of use."""
        reasons = self._report.degraded if self._report is not None else []
        return [f"worker {self._index}: {reason}" for reason in reasons]

    def status(self) -> dict[str, Any]:
        """What /status shows of it."""
        about = self._report.status if self._report is not None else {}
        return {"worker": self._index, "restarts": self._restarts, **about}

    async def _start(self) -> Process:
        # Its own process group, for Ctrl-C is the supervisor's to hear.
        self._process = process = await asyncio.create_subprocess_exec(
            *self._launch.program,
            stdin=PIPE,
            stdout=PIPE,
            limit=_LINE_BYTES_MAX,
            pass_fds=self._launch.descriptors,
            process_group=0,
            env=self._launch.environ,
        )
        self._say(self._launch.orders + self._last_word)
        return process

    def _say(self, line: bytes) -> None:
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.write(line)

    async def _follow(self, process: Process) -> int:
        """Read reports until the worker ends; returns its exit code."""
        assert process.stdout is not None
        while line := await self._next_line(process.stdout):
            with suppress(msgspec.DecodeError):
                self._report = decode_report(line)
                self._on_change()
            if self._report is not None and self._report.not_alive:
                _log.error("worker is not alive", worker=self._index, pid=process.pid, reasons=self._report.not_alive)
                self.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_S_MAX):
                return await process.wait()
        self.kill()
        return await process.wait()

    async def _next_line(self, stdout: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._silence_s_max):
                return await stdout.readline()
        except TimeoutError:
            _log.error("worker is silent", worker=self._index, seconds=self._silence_s_max)
            self.kill()
            return b""
