"""`orderctl reconcile`: the cache against the databases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.confirming import require_yes
from orderctl.cli.deadline import TimedOut
from orderctl.cli.deployment import audit_path, opened_tiers
from orderctl.cli.options import Invocation, command, duration, examples
from orderctl.cli.output import columns, emit, note, pairs
from orderctl.cli.progress import Progress
from orderctl.duration import Duration

if TYPE_CHECKING:
    from orderctl.admin.reconcile import Audit, Reconcile, Reconciliation
    from orderctl.clock import Clock
    from orderctl.services.reconciling import ReconcileSettings
    from orderctl.services.reconciling_scope import Place, Scope

LAG = Duration(2)
COUNTS = ("compared", "equal", "diverged", "absent", "unknown", "repaired")
ARCHIVE_COUNTS = ("compared", "diverged", "unknown")
SHOWN_MAX = 50
"""Differences that the table shows; JSON has 10 000."""
UNTOLD_SHOWN_MAX = 5


Since = Annotated[
    Duration | None,
    typer.Option("--since", metavar="DURATION", parser=duration, help="Only orders that are not older: 1h."),
]
Groups = Annotated[str | None, typer.Option("--groups", metavar="LIST", help="Only orders of these groups: 0-15,17.")]
Sample = Annotated[
    float, typer.Option("--sample", metavar="SHARE", min=0, max=1, help="Only this share, always the same orders.")
]
Lag = Annotated[
    Duration,
    typer.Option("--lag", metavar="DURATION", parser=duration, help="A difference counts if it lasts so long."),
]
Rps = Annotated[
    float | None, typer.Option("--rps", metavar="NUMBER", min=0.1, help="Look at so many orders a second at most.")
]
Archive = Annotated[
    bool, typer.Option("--archive", help="Compare the hot store with the archive, too; nothing there is repaired.")
]
Resume = Annotated[
    str | None, typer.Option("--resume", metavar="PLACE", help="Go on from where an interrupted one was.")
]
Execute = Annotated[bool, typer.Option("--execute", help="Repair the cache; else nothing is written.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; goes into the audit log.")]


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    shown = examples(
        "orderctl reconcile",
        "orderctl reconcile --since 1h --groups 0-15 --sample 0.1",
        "orderctl reconcile --archive -o json",
        "orderctl reconcile --execute --yes --reason 'after the fail-over'",
    )
    command(group, "reconcile", examples_shown=shown, timeout=None)(reconcile)


def reconcile(
    invocation: Invocation,
    since: Since = None,
    groups: Groups = None,
    sample: Sample = 1.0,
    lag: Lag = LAG,
    rps: Rps = None,
    archive: Archive = False,
    resume: Resume = None,
    execute: Execute = False,
    yes: Yes = False,
    reason: Reason = None,
) -> None:
    """Compare every record of the cache with its source, and every open order with the cache.

    A difference is looked at again after --lag, and counts if it is still there. --execute brings records to their
    sources' versions, and drops those that are newer. An order that only the cache has is told of, and kept.

    Exit 0: nothing is left; 1: something is; 4: a tier failed, so not all is known.
    """
    from orderctl.admin.reconcile import Reconcile, exit_code
    from orderctl.clock import SystemClock
    from orderctl.services.reconciling_scope import Place

    clock = SystemClock()
    start = Place.parse(resume) if resume is not None else Place()
    scope = _scope(invocation, clock, groups, since, sample)
    settings = _settings(invocation, lag=lag, rps=rps, execute=execute)
    if execute:
        require_yes("Repair what differs in the cache?", yes=yes)
    with opened_tiers(invocation, whole=True, apart=True) as tiers, ExitStack() as stack:
        audit = _audit(invocation, stack, clock, scope, start, reason) if execute else None
        progress = Progress("orders compared", 0, clock)
        settle_s = invocation.config.archiver.settle_s
        run = Reconcile(tiers, clock, settings, settle_s=settle_s, progress=progress.note)
        found = _run(run, scope, start, archive=archive, audit=audit)
    emit(found, invocation.output, table=table(found))
    _say(run, found, execute=execute)
    if code := exit_code(found, failed=bool(run.errors)):
        raise typer.Exit(code)


def _scope(invocation: Invocation, clock: Clock, groups: str | None, since: Duration | None, sample: float) -> Scope:
    from orderctl.admin.groups import parse_groups
    from orderctl.services.reconciling_scope import Scope

    return Scope(
        parse_groups(groups, invocation.config.deployment.groups) if groups is not None else None,
        since_ms=clock.now_us() // 1000 - since.ms if since is not None else 0,
        sample=sample,
    )


def _settings(invocation: Invocation, *, lag: Duration, rps: float | None, execute: bool) -> ReconcileSettings:
    from orderctl.services.reconciling import ReconcileSettings

    config = invocation.config
    return ReconcileSettings(
        groups=config.deployment.groups,
        record_ttl_ms=config.cache.record_ttl.ms,
        hot_first_s=config.query.mysql_first_s,
        lag_s=lag,
        rps=rps,
        execute=execute,
    )


def _run(run: Reconcile, scope: Scope, start: Place, *, archive: bool, audit: Audit | None) -> Reconciliation:
    try:
        return run.run(scope, start, archive=archive, audit=audit)
    except (KeyboardInterrupt, TimedOut):
        note(f"{run.counts()['compared']:,} orders were compared; --resume {run.place} goes on")
        raise


def _audit(
    invocation: Invocation, stack: ExitStack, clock: Clock, scope: Scope, start: Place, reason: str | None
) -> Audit:
    from orderctl.admin.audit import audit_log
    from orderctl.admin.reconcile import Audit

    log = stack.enter_context(audit_log(audit_path(invocation), clock))
    groups = None if scope.groups is None else sorted(scope.groups)
    return Audit(log, reason=reason, groups=groups, since_ms=scope.since_ms, sample=scope.sample, resumed_at=str(start))


def _say(run: Reconcile, found: Reconciliation, *, execute: bool) -> None:
    """What the table has no place for."""
    for error in run.errors:
        note(str(error))
    if found.diverged > len(found.differences):
        note(f"{found.diverged:,} orders differ, of which {len(found.differences):,} are told of one by one")
    mendable = sum(one.repair is not None for one in found.differences)
    if mendable and not execute:
        note(f"nothing was changed: --execute repairs {mendable:,} of them")
    if run.untold:
        ids = " ".join(run.untold[:UNTOLD_SHOWN_MAX])
        note(
            f"{len(run.untold):,} orders were repaired in the cache, and the query servers could not be told."
            f" They forget them by: orderctl invalidate {ids}" + (" …" if len(run.untold) > UNTOLD_SHOWN_MAX else "")
        )


def table(found: Reconciliation) -> str:
    """A comparison as people read it."""
    from orderctl.services.reconciling_archive import ArchiveTally

    counts = {name: f"{getattr(found, name):,}" for name in COUNTS}
    rows = [(one.order_id, one.cache_version, one.source_version, one.source, one.repair) for one in found.differences]
    text = pairs(counts | {"seconds": f"{found.seconds:.1f}"})
    text += _listing(("order_id", "cache", "source", "in", "repair"), rows)
    if isinstance(found.archive, ArchiveTally):
        copies = [(one.order_id, one.hot_version, one.archive_version, one.why) for one in found.archive.differences]
        text += "\n" + pairs({f"archive {name}": f"{getattr(found.archive, name):,}" for name in ARCHIVE_COUNTS})
        text += _listing(("order_id", "hot", "archive", "why"), copies)
    return text


def _listing(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    more = f"and {len(rows) - SHOWN_MAX:,} more\n" if len(rows) > SHOWN_MAX else ""
    return "\n" + columns(titles, rows[:SHOWN_MAX]) + more
