"""`orderctl status`: the deployment at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from orderctl.cli.deployment import has_data, opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note

if TYPE_CHECKING:
    from orderctl.admin.status import Status

UNREACHED = 4


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    command(group, "status", examples_shown=examples("orderctl status", "orderctl status -o json"))(status)


def status(invocation: Invocation) -> None:
    """Show which daemons run, how far they are behind, and which tiers answer.

    Exit 4 when a tier is down or no daemon runs. A daemon in another process counts by its heartbeat. lag_events is what
    it has still to do, counted up to some 10000; lag_s is how long the first of it has been waiting.
    """
    found = _observe(invocation)
    daemons = columns(
        ("daemon", "state", "lag_events", "lag_s", "last_error"),
        [(one.name, one.state, one.lag_events, one.lag_s, one.last_error) for one in found.daemons],
    )
    tiers = columns(
        ("tier", "kind", "state", "latency_ms"),
        [(one.name, one.kind, one.state, one.latency_ms) for one in found.tiers],
    )
    emit(found, invocation.output, table=f"{daemons}\n{tiers}")
    if not found.is_good:
        raise typer.Exit(UNREACHED)


def _observe(invocation: Invocation) -> Status:
    from orderctl.admin import status as verb
    from orderctl.clock import SystemClock
    from orderctl.config import is_embedded
    from orderctl.daemons.manifest import manifests

    assert invocation.config is not None
    groups = {manifest.name: manifest.group for manifest in manifests()}
    if is_embedded(invocation.config) and not has_data(invocation.data_dir):
        note(f"nothing was started on {invocation.data_dir}")
        return verb.nothing_started(list(groups))
    with opened_tiers(invocation, whole=True) as tiers:
        return verb.status(groups, tiers, SystemClock())
