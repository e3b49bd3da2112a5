"""`orderctl status`: the deployment at a glance."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.deadline import bounded
from orderctl.cli.deployment import has_data, opened_tiers
from orderctl.cli.live import show_live
from orderctl.cli.options import TIMEOUT_DEFAULT, Invocation, command, examples
from orderctl.cli.output import columns, emit, note, printable

if TYPE_CHECKING:
    from orderctl.admin.status import Status

UNREACHED = 4
EVERY_S = 2.0
WIDTH = 80


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    shown = examples("orderctl status", "orderctl status --watch", "orderctl status -o json")
    command(group, "status", examples_shown=shown, timeout=None, bound=False)(status)


def status(
    invocation: Invocation,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every 2 s, until Ctrl-C or --timeout.")] = False,
) -> None:
    """Show which daemons run, how far they are behind, and which tiers answer.

    Exit 4 when a tier is down or no daemon runs. A daemon in another process counts by its heartbeat. lag_events is what
    it has still to do, counted up to some 10000; lag_s is how long the first of it has been waiting. Without --watch it
    gives up after 30 s.
    """
    with bounded(invocation.timeout or (None if watch else TIMEOUT_DEFAULT)):
        if watch:
            show_live(_observations(invocation), invocation.output, table)
            return
        found = next(_observations(invocation))
    emit(found, invocation.output, table=table(found))
    if not found.is_good:
        raise typer.Exit(UNREACHED)


def table(found: Status) -> str:
    """A status as people read it: daemons, tiers, and what went wrong last."""
    daemons = columns(
        ("daemon", "state", "lag_events", "lag_s"),
        [(one.name, one.state, one.lag_events, one.lag_s) for one in found.daemons],
    )
    tiers = columns(
        ("tier", "kind", "state", "latency_ms"),
        [(one.name, one.kind, one.state, one.latency_ms) for one in found.tiers],
    )
    parked = "parked messages: " + ("not known" if found.parked is None else f"{found.parked:,}")
    errors = "".join(_wrapped(f"{one.name}: {one.last_error}") for one in found.daemons if one.last_error)
    return f"{daemons}\n{tiers}\n{parked}\n" + (f"\n{errors}" if errors else "")


def _observations(invocation: Invocation) -> Iterator[Status]:
    """The status now, and again every `EVERY_S`. Where a tier was away, all are opened anew: it may be back."""
    from orderctl.admin import status as verb
    from orderctl.clock import SystemClock
    from orderctl.config import is_embedded
    from orderctl.daemons.manifest import manifests

    groups = {manifest.name: manifest.group for manifest in manifests()}
    clock, never = SystemClock(), threading.Event()
    while True:
        if is_embedded(invocation.config) and not has_data(invocation.data_dir):
            note(f"nothing was started on {invocation.data_dir}")
            yield verb.nothing_started(list(groups))
            clock.wait(never, EVERY_S)
            continue
        with opened_tiers(invocation, whole=True, apart=True) as tiers:
            is_whole = True
            while is_whole:
                found = verb.status(groups, tiers, clock)
                yield found
                is_whole = all(tier.state == "up" for tier in found.tiers)
                clock.wait(never, EVERY_S)


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(printable(text), WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return "".join(f"{line}\n" for line in lines)
