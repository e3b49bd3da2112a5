"""`orderctl serve`: listens, runs daemons here or in workers until a signal, and takes leave in order."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from orderctl import log
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.daemons.announcer import Announcer
from orderctl.daemons.assignment import Assignment, TiersOf, carry_out
from orderctl.daemons.base import ServerDaemon
from orderctl.daemons.entry import load_entry
from orderctl.daemons.event_loops import require_installed
from orderctl.daemons.host import ADMIN
from orderctl.daemons.manifest import Manifest, select
from orderctl.daemons.notify import Notifier
from orderctl.daemons.ready import Ready, ReadyFile
from orderctl.daemons.signals import Signals
from orderctl.daemons.sockets import listen, url_of
from orderctl.daemons.supervisor import supervise
from orderctl.errors import UsageRefused
from orderctl.stores.tiers import open_tiers

_log = structlog.stdlib.get_logger(__name__)

ADMIN_HOST = "127.0.0.1"
ADMIN_PORT_OF_SEVERAL = 8700


def run(
    names: Sequence[str],
    *,
    config: Config,
    data_dir: Path | None,
    ready: Callable[[Ready], None],
    workers: int = 1,
    ready_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    tiers_of: TiersOf = open_tiers,
) -> None:
    """Run the daemons named (none: all) until SIGTERM or Ctrl-C, drain, and return.

    A second signal ends the process at once, with exit code 130. Call it in the main thread.

    Args:
        names: daemons, as in their manifests.
        config: the configuration.
        data_dir: where the embedded tiers keep their files, made and checked before; None where the tiers are real.
        ready: called once, when every daemon is ready.
        workers: processes that share the ports of the API servers.
        ready_file: a file to write once ready, and to remove at the end.
        environ: where systemd says how to reach it.
        tiers_of: what opens the tiers, where the daemons run in this process; workers open the configuration's.

    Raises:
        ConfigError: the HTTP server or the event loop that is configured is not installed.
        UsageRefused: a daemon that is not offered, an address where one cannot listen, tiers that cannot be used as they are.
        TierError: a tier cannot be opened.
        OrderctlError: something did not stop in time.

    """
    log.configure(config.log)
    require_installed(config.http)
    manifests = select(names)
    assignment = Assignment(
        names=tuple(manifest.name for manifest in manifests),
        config=config,
        data_dir=data_dir,
        instance=config.daemon.instance or f"{socket.gethostname()}:{os.getpid()}",
    )
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        sockets = _listen(manifests, config, stack, workers=workers)
        file = ReadyFile(ready_file) if ready_file is not None else None
        if file is not None:
            file.reserve()
            stack.callback(file.remove)
        notifier = Notifier.from_environ(environ)
        announcer = Announcer(
            _ready(sockets, data_dir), tell=ready, ready_file=file, notifier=notifier, clock=SystemClock()
        )
        _log.info("starting", daemons=list(assignment.names), workers=workers)
        if workers > 1:
            supervise(assignment, workers, sockets, announcer, signals, environ=environ)
        else:
            carry_out(
                assignment, sockets, announcer, offer_stop=lambda stop: signals.on_drain(stop.ask), tiers_of=tiers_of
            )
    _log.info("stopped")


def _listen(
    manifests: Sequence[Manifest], config: Config, stack: ExitStack, *, workers: int
) -> dict[str, socket.socket]:
    """A socket for each server and the admin's, by name. What nobody takes over is closed with `stack`."""
    sockets: dict[str, socket.socket] = {}

    def add(name: str, bind: str) -> None:
        sockets[name] = listen(bind, setting=f"[{name}] bind", backlog=config.http.backlog)
        stack.callback(sockets[name].close)

    for manifest in manifests:
        entry = load_entry(manifest)
        if issubclass(entry, ServerDaemon):
            add(manifest.name, entry.bind(config))
        elif workers > 1:
            raise UsageRefused(f"{manifest.name} has no port to share: it takes no workers", hint="start it alone")
    port = manifests[0].admin_port if len(manifests) == 1 else ADMIN_PORT_OF_SEVERAL
    add(ADMIN, config.admin.bind or f"{ADMIN_HOST}:{port}")
    return sockets


def _ready(sockets: Mapping[str, socket.socket], data_dir: Path | None) -> Ready:
    urls = {name: url_of(sock) for name, sock in sockets.items()}
    return Ready(
        pid=os.getpid(),
        command=urls.get("command"),
        query=urls.get("query"),
        admin=urls[ADMIN],
        data_dir=str(data_dir) if data_dir is not None else None,
    )
