"""`orderctl inspect`: one order in every tier, side by side."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.deadline import bounded
from orderctl.cli.deployment import opened_tiers
from orderctl.cli.live import is_drawn, show_live
from orderctl.cli.options import TIMEOUT_DEFAULT, Invocation, command, examples
from orderctl.cli.output import Format, columns, emit, pairs, printable

if TYPE_CHECKING:
    from orderctl.admin.inspection import Inspection
    from orderctl.admin.verdict import Finding

TIERS = ("cache", "hot", "archive", "log")
SHOWN = ("present", "version", "status", "kind", "ttl_s", "timer_ttl_s", "op", "partition", "offset")
"""What the table shows of each tier; JSON has the rest."""
WIDTH = 80
EVERY_S = 1.0


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    order_id = "0197b0de-5c00-7abc-8000-0123456789ab"
    shown = examples(
        f"orderctl inspect {order_id}",
        f"orderctl inspect {order_id} --explain",
        f"orderctl inspect {order_id} -o json",
    )
    command(group, "inspect", examples_shown=shown, timeout=None, bound=False)(inspect)


def inspect(
    invocation: Invocation,
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID", help="A UUIDv7, as `order create` answers it.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell its time line too, with the lags, and which rule decided what.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew when it has changed, until Ctrl-C or --timeout.")
    ] = False,
) -> None:
    """Show one order in every tier, side by side, and what that means.

    Exit 0 where the tiers agree, 1 where they differ for good, 3 where none has the order, 4 when a tier fails. It needs
    no server, and changes nothing. Without --watch it gives up after 30 s.
    """
    from orderctl.admin.verdict import Finding
    from orderctl.clock import SystemClock
    from orderctl.ids import parse_order_id

    canonical = parse_order_id(order_id, now_ms=SystemClock().now_us() // 1000)
    with (
        bounded(invocation.timeout or (None if watch else TIMEOUT_DEFAULT)),
        closing(_looks(invocation, canonical, explain=explain)) as looks,
    ):
        if watch:
            show_live((seen for seen, _ in _changed(looks, invocation.output)), invocation.output, table)
            return
        inspection, finding = next(looks)
    emit(inspection, invocation.output, table=table(inspection))
    codes = {Finding.DIFFERENT: 1, Finding.NOWHERE: 3, Finding.UNKNOWN: 4}
    if finding in codes:
        raise typer.Exit(codes[finding])


def _looks(invocation: Invocation, order_id: str, *, explain: bool) -> Generator[tuple[Inspection, Finding]]:
    """The order now, and again every `EVERY_S`."""
    from msgspec import structs

    from orderctl.admin.explaining import explain as explained
    from orderctl.admin.inspection import InspectSettings
    from orderctl.admin.inspection import inspect as verb
    from orderctl.clock import SystemClock

    clock, never, config = SystemClock(), threading.Event(), invocation.config
    settings = InspectSettings(groups=config.deployment.groups, settle_s=config.archiver.settle_s)
    with opened_tiers(invocation, whole=True, apart=True) as tiers:
        while True:
            inspection, finding = verb(tiers, clock, order_id, settings)
            if explain:
                inspection = structs.replace(inspection, explanation=explained(tiers, clock, order_id, settings))
            yield inspection, finding
            clock.wait(never, EVERY_S)


def _changed(looks: Iterator[tuple[Inspection, Finding]], output: Format) -> Iterator[tuple[Inspection, Finding]]:
    """On a terminal every look; else those that show something new: that time goes by is nothing new."""
    last: object = None
    for inspection, finding in looks:
        tiers = inspection.tiers
        new = (finding, *((_of(tier, "version"), _of(tier, "status"), _of(tier, "kind"), _of(tier, "offset"))
            for tier in (tiers.cache, tiers.hot, tiers.archive, tiers.log)))  # fmt: skip
        if is_drawn(output) or new != last:
            yield inspection, finding
        last = new


def _of(tier: object, name: str) -> object:
    return getattr(tier, name, None)


def table(inspection: Inspection) -> str:
    """An inspection as people read it: a column a tier, and the verdict below."""
    import msgspec

    head = pairs({"order": inspection.order_id, "group": inspection.group, "created": inspection.created_at})
    tiers: dict[str, dict[str, object]] = msgspec.to_builtins(inspection.tiers)
    rows = [(name, *(_shown(tiers[tier], name) for tier in TIERS)) for name in SHOWN]
    body = columns(("", *TIERS), [row for row in rows if any(value is not None for value in row[1:])])
    late = _late(msgspec.to_builtins(inspection.late_results))
    return f"{head}\n{body}\n{late}{_wrapped(inspection.verdict)}{_explanation(inspection)}"


def _explanation(inspection: Inspection) -> str:
    """The time line, a step a paragraph, and the decisions; nothing where none was asked for."""
    from orderctl.admin.explanation import Explanation

    explanation = inspection.explanation
    if not isinstance(explanation, Explanation):
        return ""
    steps = "".join(
        f"{step.at}  {step.tier:<8} {_lag(step.lag_ms):>9}".rstrip()
        + "\n"
        + _wrapped(step.what, indent="    ")
        + (_wrapped(f"({step.rule})", indent="      ") if step.rule else "")
        for step in explanation.steps
    )
    decisions = "".join(_wrapped(f"- {decision}", indent="  ", first="") for decision in explanation.decisions)
    return f"\n{steps}\n{decisions}"


def _lag(lag_ms: float | None) -> str:
    return "" if lag_ms is None else f"+{lag_ms:.0f} ms" if abs(lag_ms) < 10_000 else f"+{lag_ms / 1000:.1f} s"


def _late(results: list[dict[str, object]] | dict[str, object]) -> str:
    """A line for each outcome that came too late."""
    if isinstance(results, dict):
        return _wrapped(f"late results: {results['error']}")
    return "".join(
        _wrapped(f"late: {r['status']} at {r['received_at']}, {r['status_reason'] or 'no reason'}") for r in results
    )


def _wrapped(text: str, *, indent: str = "", first: str | None = None) -> str:
    start = indent if first is None else first
    lines = textwrap.wrap(
        printable(text), WIDTH, break_on_hyphens=False, initial_indent=start, subsequent_indent=indent
    )
    return "".join(f"{line}\n" for line in lines)


def _shown(tier: dict[str, object], name: str) -> object:
    return "failed" if name == "present" and "error" in tier else tier.get(name)
