"""`orderctl parked`: messages that a daemon could not process and put aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.confirming import require_yes
from orderctl.cli.deployment import audit_path, opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note, pairs, printable
from orderctl.errors import UsageRefused

if TYPE_CHECKING:
    from orderctl.admin.parked import Drop, ParkedView

app = typer.Typer(
    name="parked", help="Messages that a daemon could not process.", no_args_is_help=True, rich_markup_mode=None
)

Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; goes into the audit log.")]
_TITLES = ("id", "order_id", "topic", "daemon", "parked_at", "reason")


@command(app, "list", examples_shown=examples("orderctl parked list", "orderctl parked list -o json"))
def list_(invocation: Invocation) -> None:
    """List what daemons could not process and nobody has seen to yet.

    It keeps nothing back: the records of its orders are dropped, so that readers go to the databases.
    """
    from orderctl.admin.parked import parked_list

    with opened_tiers(invocation, whole=True) as tiers:
        found = parked_list(tiers.log)
    emit(found, invocation.output, table=table(found))


@command(app, "show", examples_shown=examples("orderctl parked show 17:4"))
def show(
    invocation: Invocation,
    parked_id: Annotated[str, typer.Argument(metavar="ID", help="As `orderctl parked list` shows it.")],
) -> None:
    """Show one parked message: what it said, and why it could not be processed."""
    from orderctl.admin.parked import parked_show

    with opened_tiers(invocation, whole=True) as tiers:
        found = parked_show(tiers.log, parked_id)
    shown = {name: getattr(found, name) for name in (*_TITLES[:-1], "partition", "offset", "bytes", "reason")}
    headers = {f"header {name}": value for name, value in found.headers.items()}
    emit(found, invocation.output, table=pairs({**shown, **headers}) + f"\n{printable(found.value)}\n")


@command(
    app,
    "retry",
    examples_shown=examples("orderctl parked retry 17:4", "orderctl parked retry 17:4 17:9 --reason 'after upgrade'"),
)
def retry(
    invocation: Invocation,
    parked_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="As `orderctl parked list` shows them.")],
    reason: Reason = None,
) -> None:
    """Publish parked messages once more to where they were, for their daemons to try again.

    One that still cannot be processed is parked anew. One that is older than what was done since changes nothing.
    """
    from orderctl.admin.audit import audit_log
    from orderctl.admin.parked import parked_retry
    from orderctl.clock import SystemClock

    clock = SystemClock()
    with opened_tiers(invocation, whole=True) as tiers, audit_log(audit_path(invocation), clock) as audit:
        done = parked_retry(tiers.log, audit, clock, parked_ids, reason=reason)
    emit(done, invocation.output, table=table(done))


@command(
    app,
    "drop",
    examples_shown=examples("orderctl parked drop --all", "orderctl parked drop 17:4 --execute --yes"),
)
def drop(
    invocation: Invocation,
    parked_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="As `orderctl parked list` shows them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is parked.")] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; else only the plan is shown.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Reason = None,
) -> None:
    """Drop parked messages: nobody is reminded of them any more.

    Orders lose nothing by it: what is true of them is in the databases.
    """
    from orderctl.admin.audit import audit_log
    from orderctl.admin.parked import parked_drop, plan_drop
    from orderctl.clock import SystemClock

    if bool(parked_ids) == everything:
        raise UsageRefused("name what to drop: its ids, or --all")
    clock = SystemClock()
    with opened_tiers(invocation, whole=True) as tiers:
        plan, found = plan_drop(tiers.log, parked_ids or None)
        if not execute:
            emit(plan, invocation.output, table=_plan_table(plan))
            note("nothing was done: --execute does it")
            return
        require_yes(f"Drop {plan.messages:,} parked messages?", yes=yes)
        with audit_log(audit_path(invocation), clock) as audit:
            done = parked_drop(tiers.log, audit, clock, plan, found, reason=reason)
    emit(done, invocation.output, table=_plan_table(done))


def table(found: list[ParkedView]) -> str:
    """Parked messages as people read them."""
    return columns(_TITLES, [[getattr(one, title) for title in _TITLES] for one in found])


def _plan_table(plan: Drop) -> str:
    by_daemon = ", ".join(f"{daemon} {count}" for daemon, count in plan.by_daemon.items())
    said = {"messages": plan.messages, "orders": plan.orders, "by daemon": by_daemon, "executed": plan.executed}
    return pairs(said) + (f"\n{table(plan.parked)}" if plan.parked else "")
