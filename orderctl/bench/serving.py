"""Servers to measure: `orderctl serve` as systemd would start it, and the same HTTP server with nothing behind it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, structs
from starlette.types import Receive, Scope, Send

from orderctl.bench.ground import Ground
from orderctl.bench.load import Load, Loaded, run_load
from orderctl.bench.measuring import Measure, apart, cpu_s_of, memory_mib_of
from orderctl.clock import SystemClock
from orderctl.daemons.event_loops import run_in_loop
from orderctl.daemons.servers import make_server
from orderctl.daemons.sockets import listen, url_of
from orderctl.errors import OrderctlError, TierUnavailable
from orderctl.order import Role
from orderctl.sections import HttpSection
from orderctl.services.keys import mint

START_S: Final = 60.0
STOP_S: Final = 30.0
POLL_S: Final = 0.05
PACE: Final = 0.5
"""Latencies are those at this share of the rate that was measured."""


class Target(Struct, frozen=True):
    """A daemon by its process and its address, empty where it has no API; `admin` is where its metrics are."""

    pid: int
    url: str
    admin: str | None = None

    def metric(self, name: str) -> float:
        """The value of a metric, by its name and labels as `/metrics` shows them; without labels the sum over them."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=10) as answer:  # noqa: S310  our own server
            shown = answer.read().decode()
        return sum(
            float(one.rpartition(" ")[2]) for one in shown.splitlines() if one.startswith((f"{name} ", f"{name}{{"))
        )


@contextmanager
def served(ground: Ground, daemon: str, settings: Mapping[str, str] | None = None) -> Iterator[Target]:
    """`orderctl serve DAEMON`, ready, on the ground; `settings` are environment variables that configure it.

    Raises:
        OrderctlError: it did not become ready.

    """
    ready, log = ground.folder / f"{daemon}.ready", ground.folder / f"{daemon}.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "orderctl", "serve", daemon, "--config", str(ground.config_file)]
    command += ["--data-dir", str(ground.data_dir), "--ready-file", str(ready)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERCTL_")}
    binds = {f"ORDERCTL_{name}__BIND": "127.0.0.1:0" for name in ("COMMAND", "QUERY", "ADMIN")}
    package = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=kept | binds | package | dict(settings or {}), cwd=ground.folder, stdout=output, stderr=output
        )
    try:
        addresses = _wait_ready(process, ready, log)
        yield Target(process.pid, str(addresses.get(daemon, "")), str(addresses["admin"]))
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def key_on(ground: Ground, merchant: str | None) -> str:
    """A merchant's API key, or the gateway's, made on the ground. A server that runs already hears of it within two seconds."""
    role = Role.GATEWAY if merchant is None else Role.MERCHANT
    with ground.opened() as tiers:
        new = mint(role, merchant, now_us=SystemClock().now_us())
        tiers.registry.add_key(new.key)
    return new.secret


@contextmanager
def constant(body: bytes, *, status: int = 200, http: HttpSection | None = None) -> Iterator[Target]:
    """The HTTP server that `http` says, which reads each request whole and answers `body`: the least that any of ours can do."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_constant, args=(theirs, http or HttpSection(), body, status), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_S):
            raise OrderctlError("the server that answers a constant did not start")
        assert process.pid is not None
        yield Target(process.pid, ours.recv())
    finally:
        ours.close()
        process.terminate()
        process.join()


def measure_http(target: Target, load: Load, *, units: int = 1, expected: int = 200) -> Measure:
    """Send `load` from a process of its own, and measure the server's. `units` is what one request counts for.

    Raises:
        OrderctlError: an answer was not `expected`: what was measured is something else.

    """
    began_cpu_s = cpu_s_of(target.pid)
    loaded = _sent(load, expected)
    cpu_s = cpu_s_of(target.pid) - began_cpu_s
    return Measure(
        units=load.total * units,
        seconds=loaded.seconds,
        cpu_s=cpu_s,
        memory_mib=memory_mib_of(target.pid),
        facts={"client_cpu_s": round(loaded.cpu_s, 2)},
    )


def paced(measure: Measure, load: Load, *, units: int = 1, expected: int = 200) -> Measure:
    """`measure` with the latencies of `load`, sent at fixed times and half as fast as what was measured was answered.

    As fast as it is answered, a load waits for a server that stalls, and hears of one long answer only.

    Raises:
        OrderctlError: an answer was not `expected`.

    """
    rate_per_s = PACE * measure.rate / units
    loaded = _sent(structs.replace(load, rate_per_s=rate_per_s), expected)
    facts = {"paced_requests": load.total, "paced_per_s": round(rate_per_s, 1)}
    return structs.replace(measure, latency_ms=loaded.latency_ms, facts=measure.facts | facts)


def _sent(load: Load, expected: int) -> Loaded:
    loaded = apart(run_load, load)
    if set(loaded.statuses) != {expected}:
        raise OrderctlError(f"{load.url} answered {loaded.statuses} where only {expected} was expected")
    return loaded


def _wait_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, Any]:
    clock, never = SystemClock(), threading.Event()
    deadline_s = clock.monotonic_s() + START_S
    while not ready.exists():
        if process.poll() is not None or clock.monotonic_s() > deadline_s:
            raise TierUnavailable("http", f"a server did not become ready; it wrote: {log.read_text('utf-8')[-1000:]}")
        clock.wait(never, POLL_S)
    found: dict[str, Any] = msgspec.json.decode(ready.read_bytes())
    return found


def _serve_constant(connection: Connection, http: HttpSection, body: bytes, status: int) -> None:
    """The child's whole life: it ends when its parent ends it."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def serve() -> None:
        sock = listen("127.0.0.1:0", setting="bench", backlog=http.backlog)
        url = url_of(sock)
        server = make_server(http, app, sock, stop_timeout_s=1)
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0)
        connection.send(url)
        connection.close()
        await serving

    run_in_loop(http, serve())
