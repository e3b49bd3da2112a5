"""What a process is to run, and the running of it: tiers opened, daemons made, served until they are to stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from socket import socket

from msgspec import Struct
from prometheus_client import CollectorRegistry

from orderctl.clock import Clock, SystemClock
from orderctl.config import Config
from orderctl.daemons.base import Context
from orderctl.daemons.entry import load_entry
from orderctl.daemons.event_loops import run_in_loop
from orderctl.daemons.garbage import collecting_rarely
from orderctl.daemons.host import Host, Reporter
from orderctl.daemons.manifest import select
from orderctl.daemons.stop import Stop
from orderctl.metrics import Metrics
from orderctl.stores.tiers import Tiers, open_tiers


class Assignment(Struct, frozen=True, kw_only=True):
    """The daemons by name, and where the embedded tiers keep their files. `instance` tells the process apart from others."""

    names: tuple[str, ...]
    config: Config
    data_dir: Path | None
    instance: str


TiersOf = Callable[[Config, Path | None, Clock], Tiers]
"""What opens a process's tiers, as `open_tiers` does."""


def carry_out(
    assignment: Assignment,
    sockets: Mapping[str, socket],
    reporter: Reporter,
    *,
    offer_stop: Callable[[Stop], None],
    tiers_of: TiersOf = open_tiers,
) -> None:
    """Run until somebody uses the `Stop` that `offer_stop` is given.

    Raises:
        UsageRefused: a daemon refused to go on, or the tiers cannot be used as they are.
        TierError: a tier cannot be opened.
        OrderctlError: something did not stop in time.

    """
    clock = SystemClock()
    with closing(tiers_of(assignment.config, assignment.data_dir, clock)) as tiers, collecting_rarely():
        context = Context(
            config=assignment.config, tiers=tiers, clock=clock, metrics=Metrics(CollectorRegistry()), random=os.urandom
        )

        async def serve() -> None:
            daemons = [load_entry(manifest)(manifest, context) for manifest in select(assignment.names)]
            stop = Stop()
            offer_stop(stop)
            await Host(daemons, sockets, context=context, instance=assignment.instance).serve(stop, reporter)

        run_in_loop(assignment.config.http, serve())
