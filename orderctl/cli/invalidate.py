"""`orderctl invalidate`: the cache and every process's memory forget orders."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orderctl.cli.confirming import require_yes
from orderctl.cli.deployment import audit_path, opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note, pairs
from orderctl.cli.progress import Progress
from orderctl.errors import UsageRefused

if TYPE_CHECKING:
    from orderctl.admin.invalidate import Invalidation
    from orderctl.clock import Clock
    from orderctl.stores.tiers import Tiers

NAMED_MAX: Final = 500
"""Orders that may be named on the command line, and are seen to at once."""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    command(
        app,
        "invalidate",
        examples_shown=examples(
            "orderctl invalidate 018bcfe5-687b-7c00-8000-000000000001",
            "orderctl invalidate --groups 0-15,17",
            "orderctl invalidate --groups 0-15 --execute --yes",
            "orderctl invalidate --from-file ids.txt --execute --yes",
        ),
        timed_out="what was not forgotten yet is when it is done again",
    )(invalidate)


def invalidate(
    invocation: Invocation,
    order_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ORDER_ID…", help="Orders to forget at once, 500 at most.")
    ] = None,
    groups: Annotated[
        str | None, typer.Option("--groups", metavar="LIST", help="All orders of groups, such as 0-15,17.")
    ] = None,
    merchant: Annotated[
        str | None, typer.Option("--merchant", metavar="ID", help="All orders of a merchant that the cache has.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", metavar="FILE", help="Order ids, one a line; - is stdin.")
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; else only the plan is shown.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; goes into the audit log.")
    ] = None,
) -> None:
    """Let the cache and every process's memory forget orders: who asks next reads the databases.

    A few orders that are named are forgotten at once. Many, by --groups, --merchant or --from-file, are planned first.
    Of a merchant only orders that the cache has are found; --groups reaches those in processes' memories, too. Nothing
    is lost by it; the databases are asked more until the cache is warm again.
    """
    if sum(map(bool, (order_ids, groups, merchant, from_file))) != 1:
        raise UsageRefused("say what to forget: order ids, or one of --groups, --merchant and --from-file")
    if order_ids and len(order_ids) > NAMED_MAX:
        raise UsageRefused(f"{len(order_ids)} order ids, at most {NAMED_MAX}", hint="--from-file takes any number")
    named = _read_ids(order_ids or _lines(from_file)) if order_ids or from_file else None
    from orderctl.clock import SystemClock

    clock = SystemClock()
    with opened_tiers(invocation, whole=True) as tiers:
        chosen = _groups(groups, invocation.config.deployment.groups) if groups else None
        if named is None and chosen is None:
            named = _of_merchant(invocation, tiers, str(merchant), clock)
        plan = _plan(invocation, tiers, named, chosen, clock)
        if not (execute or order_ids):
            _show(plan, invocation)
            note("nothing was done: --execute does it")
            return
        if not order_ids:
            require_yes(f"Let the cache forget {plan.orders:,} orders?", yes=yes)
        done = _carry_out(invocation, tiers, plan, named, chosen, reason=reason, clock=clock)
    _show(done, invocation)


def _plan(
    invocation: Invocation, tiers: Tiers, named: list[str] | None, chosen: frozenset[int] | None, clock: Clock
) -> Invalidation:
    from orderctl.admin.invalidate import plan_groups, plan_orders

    if chosen is None:
        return plan_orders(named or [], invocation.config.deployment.groups)
    return plan_groups(tiers.cache, chosen, progress=Progress("orders found", 0, clock).note)


def _carry_out(
    invocation: Invocation,
    tiers: Tiers,
    plan: Invalidation,
    named: list[str] | None,
    chosen: frozenset[int] | None,
    *,
    reason: str | None,
    clock: Clock,
) -> Invalidation:
    from orderctl.admin.audit import audit_log
    from orderctl.admin.invalidate import Invalidator

    progress = Progress("orders forgotten", plan.orders, clock).note
    with audit_log(audit_path(invocation), clock) as audit:
        invalidator = Invalidator(tiers.cache, tiers.log, audit, groups=invocation.config.deployment.groups)
        if chosen is None:
            return invalidator.orders(named or [], reason=reason, progress=progress)
        return invalidator.groups(plan, chosen, reason=reason, progress=progress)


def _of_merchant(invocation: Invocation, tiers: Tiers, merchant: str, clock: Clock) -> list[str]:
    from orderctl.admin.invalidate import orders_of_merchant

    progress = Progress("orders looked at", 0, clock).note
    return orders_of_merchant(tiers.cache, merchant, groups=invocation.config.deployment.groups, progress=progress)


def _groups(text: str, groups: int) -> frozenset[int]:
    from orderctl.admin.groups import parse_groups

    return parse_groups(text, groups)


def _read_ids(texts: Sequence[str]) -> list[str]:
    from orderctl.clock import SystemClock
    from orderctl.ids import parse_order_id

    now_ms = SystemClock().now_us() // 1000
    return [parse_order_id(text, now_ms=now_ms) for text in texts]


def _lines(path: Path | None) -> list[str]:
    """A file's lines, without empty ones and those that begin with #."""
    try:
        text = sys.stdin.read() if str(path) == "-" else Path(str(path)).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageRefused(f"{path} cannot be read: {error}") from error
    return [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")]


def _show(invalidation: Invalidation, invocation: Invocation) -> None:
    shown = pairs({"orders": invalidation.orders, "executed": invalidation.executed})
    by_group = columns(("group", "orders"), invalidation.by_group.items()) if invalidation.by_group else ""
    emit(invalidation, invocation.output, table=f"{shown}\n{by_group}" if by_group else shown)
