"""`orderctl replay`: a range of the log once more through a daemon's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.confirming import require_yes
from orderctl.cli.deployment import audit_path, opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note, pairs
from orderctl.cli.progress import Progress
from orderctl.errors import UsageRefused

if TYPE_CHECKING:
    from orderctl.admin.replay import Replayer, ReplayView
    from orderctl.clock import Clock


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    command(
        app,
        "replay",
        examples_shown=examples(
            "orderctl replay cache-sync --from 15m",
            "orderctl replay cache-sync --from 2026-11-22T18:00:00Z --execute",
            "orderctl replay timeouts --from 17:4200 --to 17:4300 --execute --yes",
            "orderctl replay archiver --from 1h --seek --execute --yes",
        ),
        timeout=None,
    )(replay)


def replay(
    invocation: Invocation,
    daemon: Annotated[str, typer.Argument(metavar="DAEMON", help="cache-sync, archiver or timeouts.")],
    begin: Annotated[
        str, typer.Option("--from", metavar="POINT", help="A time, how long ago (15m), or PARTITION:OFFSET.")
    ],
    end: Annotated[
        str | None, typer.Option("--to", metavar="POINT", help="The same, not included; else what is there now.")
    ] = None,
    seek: Annotated[
        bool, typer.Option("--seek", help="Move the group's offsets, for the daemon to read it all again.")
    ] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; else only the plan is shown.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; goes into the audit log.")
    ] = None,
) -> None:
    """Put a range of the log once more through a daemon's own code, knowing beforehand what that would change.

    First a dry run of the same code says how many orders would change, and how. --execute runs it; the group's offsets
    stay. With --seek the group is moved back instead, while none of its daemons runs. What the group has not read yet is
    left to it. Stopped in the middle, it says where to go on; twice the same does no harm.
    """
    from orderctl.admin.replay import Replayer, parse_point
    from orderctl.clock import SystemClock

    if seek and end is not None:
        raise UsageRefused("with --seek the daemon reads on to the end: leave --to out")
    clock = SystemClock()
    now_us = clock.now_us()
    points = (parse_point(begin, now_us=now_us), None if end is None else parse_point(end, now_us=now_us))
    with opened_tiers(invocation, whole=True) as tiers:
        replayer = Replayer(tiers, invocation.config, clock, daemon=daemon, begin=points[0], end=points[1])
        plan = replayer.plan(progress=Progress("events looked at", replayer.events, clock).note)
        if plan.left:
            note(f"{plan.left:,} events more are not read by {daemon} yet, and left to it")
        if not execute:
            emit(plan, invocation.output, table=table(plan))
            note("nothing was done: --execute does it")
            return
        require_yes(_question(plan, seek=seek), yes=yes)
        done = _carry_out(invocation, replayer, plan, seek=seek, reason=reason, clock=clock)
    emit(done, invocation.output, table=table(done))


def table(view: ReplayView) -> str:
    """A replay, planned or done, as people read it."""
    shown: dict[str, object] = {
        "daemon": view.daemon,
        "from": view.from_,
        "to": view.to,
        "events": view.events,
        "orders": view.orders,
        "would change": view.would_change,
        "applied": view.applied,
    }
    if view.sought:
        shown["moved"] = "the group goes on from there"
    if not view.examples:
        return pairs(shown)
    found = columns(("order_id", "change"), [(each.order_id, each.change) for each in view.examples])
    return f"{pairs(shown)}\n{found}"


def _question(plan: ReplayView, *, seek: bool) -> str:
    if seek:
        return f"Let {plan.daemon} read {plan.events:,} events again?"
    return f"Put {plan.events:,} events through {plan.daemon} again, which changes {plan.would_change:,} orders?"


def _carry_out(
    invocation: Invocation, replayer: Replayer, plan: ReplayView, *, seek: bool, reason: str | None, clock: Clock
) -> ReplayView:
    from orderctl.admin.audit import audit_log

    with audit_log(audit_path(invocation), clock) as audit:
        if seek:
            return replayer.seek(plan, audit, reason=reason)
        try:
            progress = Progress("events replayed", plan.events, clock).note
            return replayer.execute(plan, audit, reason=reason, progress=progress)
        finally:
            if replayer.stopped_at is not None:
                note(f"it was stopped: --from {replayer.stopped_at} goes on")
