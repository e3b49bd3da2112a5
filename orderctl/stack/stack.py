"""The stack as a whole: started side by side, looked at, stopped, taken away."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import NotFound, OrderctlError, TierUnavailable
from orderctl.stack.cassandra_nodes import cassandra_part
from orderctl.stack.configuration import FILE, configuration
from orderctl.stack.folder import alone, make_password, password_file
from orderctl.stack.jars import Jars
from orderctl.stack.kafka_server import kafka_part
from orderctl.stack.layout import NOTE, PARTS, Layout, Wish, decide, note, noted
from orderctl.stack.process import Process, running, start, stop
from orderctl.stack.redis_cluster import redis_part
from orderctl.stack.requirements import require_ports, require_programs
from orderctl.stack.server import Part, Server
from orderctl.stack.sql_server import sql_part
from orderctl.stack.waiting import Wait

STOP_GRACE_S: Final = 20.0
"""How long a server may take to end by itself."""
TURN_S: Final = 600.0
"""How long to wait for another command on the same folder."""


class Started(Struct, frozen=True):
    """A server that is healthy; `seconds` from the beginning of `up`, 0 where it ran already."""

    name: str
    address: str
    seconds: float
    was_running: bool


class Stopped(Struct, frozen=True):
    """A server that does not run any more."""

    name: str
    how: Literal["stopped", "killed", "did not run"]


class Seen(Struct, frozen=True):
    """A server at a glance. `unhealthy` runs, and does not do its work (yet)."""

    name: str
    address: str
    state: Literal["up", "unhealthy", "down"]
    pid: int | None
    log: str


class Stack:
    """The servers whose folder this is. `cache` is where archives are kept."""

    def __init__(self, folder: Path, *, cache: Path, clock: Clock) -> None:
        self.folder = folder.absolute()
        self._jars = Jars(cache)
        self._clock = clock

    def check(self, wish: Wish) -> list[Part]:
        """The parts that `up` would start, once all is there that they need.

        Raises:
            UsageRefused: as `up` does.

        """
        wanted = PARTS if wish.parts is None else wish.parts
        parts = [part for part in self._parts(decide(wish, noted(self.folder))) if part.name in wanted]
        require_programs(parts)
        require_ports(parts)
        return parts

    def up(self, wish: Wish, report: Callable[[Started], None]) -> list[Started]:
        """Start what is asked for and does not run; returns when all of it is healthy. Repeating it is harmless.

        Args:
            wish: which parts, and how they are made where there are none yet.
            report: is told of each server as it becomes healthy.

        Raises:
            UsageRefused: something is not installed, a port is taken, or the stack here was made otherwise. Nothing was started.
            TierUnavailable: a server failed, or took too long. The others run.

        """
        with alone(self.folder, self._wait("stack", TURN_S)):
            parts = self.check(wish)
            layout = decide(wish, noted(self.folder))
            make_password(self.folder)
            note(self.folder, layout)
            (self.folder / FILE).write_text(configuration(layout, password_file(self.folder)), "utf-8")
            return self._start(parts, report)

    def down(self, *, purge: bool) -> list[Stopped]:
        """Stop every server, by force where it does not end by itself; with `purge`, take their data away as well.

        Raises:
            UsageRefused: the folder cannot be used.

        """
        if not self.folder.exists():
            return []
        with alone(self.folder, self._wait("stack", TURN_S)):
            servers = self._servers()
            with ThreadPoolExecutor(max(1, len(servers))) as pool:
                stopped = list(pool.map(_stop, servers))
            if purge and servers:
                self._purge(servers)
        return stopped

    def status(self) -> list[Seen]:
        """Every server of the stack, asked in its own protocol.

        Raises:
            NotFound: there is no stack here.

        """
        servers = self._require_servers()
        with ThreadPoolExecutor(len(servers)) as pool:
            return list(pool.map(_look, servers))

    def logs(self, name: str | None) -> dict[str, Path]:
        """The log of a server, or of all servers of a part, or of all.

        Raises:
            NotFound: there is no stack here, or nothing of that name in it.

        """
        self._require_servers()
        parts = self._parts(noted(self.folder) or Layout())
        found = {
            server.name: server.log
            for part in parts
            for server in part.servers
            if name in {None, part.name, server.name}
        }
        if not found:
            names = ", ".join(server.name for part in parts for server in part.servers)
            raise NotFound(f"there is no server {name} in {self.folder}; there is {names}")
        return found

    def _start(self, parts: list[Part], report: Callable[[Started], None]) -> list[Started]:
        given_up = threading.Event()
        started: list[Started] = []
        errors: list[OrderctlError] = []
        with ThreadPoolExecutor(len(parts)) as pool:
            try:
                work = [pool.submit(self._start_part, part, given_up) for part in parts]
                for done in as_completed(work):
                    for server in _result(done, errors):
                        started.append(server)
                        report(server)
            finally:
                given_up.set()  # when we are interrupted, the threads are to end as well
        if errors:
            raise _together(errors)
        return started

    def _start_part(self, part: Part, given_up: threading.Event) -> list[Started]:
        wait = Wait(part.name, limit_s=part.limit_s, clock=self._clock, given_up=given_up)
        before = {server.name: running(server.pid_file) for server in part.servers}
        try:
            for server in part.servers:
                if before[server.name] is None:
                    server.write_files()
            part.make(wait)
            processes = {server.name: before[server.name] or _spawn(server) for server in part.servers}
            for server in part.servers:
                _until(server, server.answers, processes[server.name], wait)
            part.join(wait)
            for server in part.servers:
                _until(server, server.healthy, processes[server.name], wait)
        except (OSError, ValueError) as error:
            raise TierUnavailable(part.name, str(error)) from error
        return [
            Started(
                server.name,
                server.address,
                0.0 if before[server.name] else wait.elapsed_s(),
                before[server.name] is not None,
            )
            for server in part.servers
        ]

    def _parts(self, layout: Layout) -> list[Part]:
        makers: dict[str, Callable[[], Part]] = {
            "sql": lambda: sql_part(layout, self.folder, self._jars),
            "redis": lambda: redis_part(layout, self.folder),
            "kafka": lambda: kafka_part(layout, self.folder, self._jars),
            "cassandra": lambda: cassandra_part(layout, self.folder, self._jars),
        }
        return [makers[name]() for name in layout.parts]

    def _servers(self) -> list[Server]:
        layout = noted(self.folder)
        return [server for part in self._parts(layout) for server in part.servers] if layout else []

    def _require_servers(self) -> list[Server]:
        servers = self._servers()
        if not servers:
            raise NotFound(
                f"there is no stack in {self.folder}", hint="`orderctl stack up` starts one; --dir names another place"
            )
        return servers

    def _purge(self, servers: Iterable[Server]) -> None:
        """Take away what the stack made, and nothing else: the folder may be somebody's home."""
        for server in servers:
            shutil.rmtree(server.folder, ignore_errors=True)
        for path in (password_file(self.folder), self.folder / FILE, self.folder / NOTE):
            path.unlink(missing_ok=True)

    def _wait(self, name: str, limit_s: float) -> Wait:
        return Wait(name, limit_s=limit_s, clock=self._clock, given_up=threading.Event())


def _spawn(server: Server) -> Process:
    return start(server.command, pid_file=server.pid_file, log=server.log)


def _until(server: Server, condition: Callable[[tuple[str, int]], bool], process: Process, wait: Wait) -> None:
    """Wait until the server does as it should; if it ends instead, there is nothing to wait for."""

    def holds() -> bool:
        if not process.is_running():
            raise wait.failed(f"{server.name} ended at once", server.log)
        return condition(server.addresses[0])

    wait.until(holds, what="healthy", log=server.log)


def _stop(server: Server) -> Stopped:
    process = running(server.pid_file)
    if process is None:
        return Stopped(server.name, "did not run")
    graceful = stop(process, grace_s=STOP_GRACE_S)
    server.pid_file.unlink(missing_ok=True)
    return Stopped(server.name, "stopped" if graceful else "killed")


def _look(server: Server) -> Seen:
    process = running(server.pid_file)
    if process is None:
        return Seen(server.name, server.address, "down", None, str(server.log))
    try:
        healthy = server.healthy(server.addresses[0])
    except (OSError, ValueError):
        healthy = False
    return Seen(server.name, server.address, "up" if healthy else "unhealthy", process.pid, str(server.log))


def _result(done: Future[list[Started]], errors: list[OrderctlError]) -> list[Started]:
    try:
        return done.result()
    except OrderctlError as error:
        errors.append(error)
        return []


def _together(errors: list[OrderctlError]) -> OrderctlError:
    """One error that says them all; each server fails for its own reason."""
    if len(errors) == 1:
        return errors[0]
    return TierUnavailable("stack", "; ".join(map(str, errors)), hint=errors[0].hint)
