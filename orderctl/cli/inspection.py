"""`orderctl inspect`: one order in every tier, side by side."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.deployment import opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, pairs, printable

if TYPE_CHECKING:
    from orderctl.admin.inspection import Inspection

TIERS = ("cache", "hot", "archive", "log")
SHOWN = ("present", "version", "status", "kind", "ttl_s", "timer_ttl_s", "op", "partition", "offset")
"""What the table shows of each tier; JSON has the rest."""
WIDTH = 80


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    order_id = "0197b0de-5c00-7abc-8000-0123456789ab"
    shown = examples(f"orderctl inspect {order_id}", f"orderctl inspect {order_id} -o json")
    command(group, "inspect", examples_shown=shown)(inspect)


def inspect(
    invocation: Invocation,
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID", help="A UUIDv7, as `order create` answers it.")],
) -> None:
    """Show one order in every tier, side by side, and what that means.

    Exit 0 where the tiers agree, 1 where they differ for good, 3 where none has the order, 4 when a tier fails. It needs
    no server, and changes nothing.
    """
    from orderctl.admin.inspection import InspectSettings
    from orderctl.admin.inspection import inspect as verb
    from orderctl.admin.verdict import Finding
    from orderctl.clock import SystemClock
    from orderctl.ids import parse_order_id

    clock = SystemClock()
    canonical = parse_order_id(order_id, now_ms=clock.now_us() // 1000)
    config = invocation.config
    settings = InspectSettings(groups=config.deployment.groups, settle_s=config.archiver.settle_s)
    with opened_tiers(invocation, whole=True) as tiers:
        inspection, finding = verb(tiers, clock, canonical, settings)
    emit(inspection, invocation.output, table=table(inspection))
    codes = {Finding.DIFFERENT: 1, Finding.NOWHERE: 3, Finding.UNKNOWN: 4}
    if finding in codes:
        raise typer.Exit(codes[finding])


def table(inspection: Inspection) -> str:
    """An inspection as people read it: a column a tier, and the verdict below."""
    import msgspec

    head = pairs({"order": inspection.order_id, "group": inspection.group, "created": inspection.created_at})
    tiers: dict[str, dict[str, object]] = msgspec.to_builtins(inspection.tiers)
    rows = [(name, *(_shown(tiers[tier], name) for tier in TIERS)) for name in SHOWN]
    body = columns(("", *TIERS), [row for row in rows if any(value is not None for value in row[1:])])
    late = _late(msgspec.to_builtins(inspection.late_results))
    return f"{head}\n{body}\n{late}{_wrapped(inspection.verdict)}"


def _late(results: list[dict[str, object]] | dict[str, object]) -> str:
    """A line for each outcome that came too late."""
    if isinstance(results, dict):
        return _wrapped(f"late results: {results['error']}")
    return "".join(
        _wrapped(f"late: {r['status']} at {r['received_at']}, {r['status_reason'] or 'no reason'}") for r in results
    )


def _wrapped(text: str) -> str:
    return "".join(f"{line}\n" for line in textwrap.wrap(printable(text), WIDTH, break_on_hyphens=False))


def _shown(tier: dict[str, object], name: str) -> object:
    return "failed" if name == "present" and "error" in tier else tier.get(name)
