"""`orderctl shard`: the epochs of the MySQL shards, and their promotion after a fail-over or a restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.confirming import require_yes
from orderctl.cli.deployment import audit_path, opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note, pairs
from orderctl.cli.progress import Progress

if TYPE_CHECKING:
    from orderctl.admin.shard_promote import Promotion

app = typer.Typer(
    name="shard", help="Shards: their epochs, and their promotion.", no_args_is_help=True, rich_markup_mode=None
)


@command(app, "list", examples_shown=examples("orderctl shard list", "orderctl shard list -o json"))
def list_(invocation: Invocation) -> None:
    """List the shards: their epochs, and which server answers for each.

    Where a server's epoch was raised on another one, no order is written until the shard is promoted. Exit 4 when a shard
    does not answer.
    """
    from orderctl.admin.shard_list import ShardState, shard_list

    with opened_tiers(invocation) as tiers:
        shards = shard_list(tiers.shards)
    titles = ("name", "groups", "state", "epoch", "server", "epoch_server", "open_orders")
    emit(
        shards, invocation.output, table=columns(titles, [[getattr(one, title) for title in titles] for one in shards])
    )
    for shard in shards:
        if shard.error is not None:
            note(shard.error)
    if any(shard.state is ShardState.AWAY for shard in shards):
        raise typer.Exit(4)


@command(
    app,
    "promote",
    examples_shown=examples(
        "orderctl shard promote main",
        "orderctl shard promote main --execute --yes --reason 'db1 is lost'",
    ),
    timed_out="the same command goes on from where it was",
)
def promote(
    invocation: Invocation,
    shard: Annotated[str, typer.Argument(metavar="SHARD", help="As `orderctl shard list` shows it.")],
    execute: Annotated[bool, typer.Option("--execute", help="Do it; else only the plan is shown.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; goes into the audit log.")
    ] = None,
) -> None:
    """Raise a shard's epoch after a fail-over or a restore, so that no version is ever given out twice.

    First fence the old server: nobody may write to it any more. Then every open order is compared with the archive: what is
    final there stands, everything else goes on in the new epoch. Caches are told. Killed in the middle, the same command
    goes on; done twice, it does no harm.
    """
    from prometheus_client import CollectorRegistry

    from orderctl.admin.audit import audit_log
    from orderctl.admin.shard_promote import Promoter, plan_promotion
    from orderctl.clock import SystemClock
    from orderctl.metrics import Metrics

    clock = SystemClock()
    with opened_tiers(invocation, whole=True) as tiers:
        planned = plan_promotion(tiers, shard)
        if not execute:
            emit(planned, invocation.output, table=table(planned))
            note("nothing was done: --execute does it, once the old server is fenced")
            return
        require_yes(f"{_says(planned)} Is the old server fenced?", yes=yes)
        with audit_log(audit_path(invocation), clock) as audit:
            metrics, ttl_ms = Metrics(CollectorRegistry()), invocation.config.cache.record_ttl.ms
            promoter = Promoter(tiers, audit, clock, metrics=metrics, record_ttl_ms=ttl_ms)
            progress = Progress("orders settled", planned.open_orders, clock)
            done = promoter.promote(planned, reason=reason, progress=progress.note)
    emit(done, invocation.output, table=table(done))


def table(promotion: Promotion) -> str:
    """A promotion, planned or done, as people read it."""
    shown: dict[str, object] = {
        "shard": promotion.shard,
        "groups": promotion.groups,
        "epoch": f"{promotion.epoch_from} -> {promotion.epoch_to}" + (" (goes on)" if promotion.goes_on else ""),
        "server": promotion.server,
        "epoch's server": promotion.epoch_server,
        "open orders": promotion.open_orders,
        "change feed": promotion.feed,
        "executed": promotion.executed,
    }
    if promotion.executed:
        shown |= {"touched": promotion.touched, "discarded": promotion.discarded}
    return pairs(shown)


def _says(planned: Promotion) -> str:
    if planned.goes_on:
        return f"{planned.shard}: go on with the promotion to epoch {planned.epoch_to}."
    return f"{planned.shard}: raise the epoch from {planned.epoch_from} to {planned.epoch_to}."
