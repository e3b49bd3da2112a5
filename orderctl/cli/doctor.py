"""`orderctl doctor`: what is wrong with the servers' settings, why it matters, and how to mend it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.deployment import require_data_dir
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import emit, printable

if TYPE_CHECKING:
    from orderctl.admin.checks import Checked
    from orderctl.admin.doctor import Diagnosis

WIDTH = 80
MARKS = {"ok": "ok", "note": "note", "unknown": "?", "finding": "WRONG"}


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    shown = examples("orderctl doctor", "orderctl doctor --all", "orderctl doctor --config prod.toml -o json")
    command(group, "doctor", examples_shown=shown)(doctor)


def doctor(
    invocation: Invocation,
    all_: Annotated[bool, typer.Option("--all", help="Show the checks that are well too.")] = False,
) -> None:
    """Check the servers' settings that no order is lost by, and this machine's.

    Exit 0 where nothing is to be mended, 1 where something is or could not be looked at, 4 when a tier is away. A note is
    allowed, and says what follows from it. Nothing is changed; the configured user needs to see the servers' settings.
    """
    from orderctl.admin.doctor import doctor as verb
    from orderctl.clock import SystemClock
    from orderctl.config import is_embedded
    from orderctl.daemons.manifest import manifests

    if is_embedded(invocation.config):
        require_data_dir(invocation.data_dir)
    groups = {manifest.name: manifest.group for manifest in manifests()}
    found = verb(
        invocation.config, invocation.data_dir, SystemClock(), config_file=invocation.config_file, groups=groups
    )
    emit(found, invocation.output, table=table(found, all_=all_))
    if not found.is_whole:
        raise typer.Exit(4)
    if not found.is_sound:
        raise typer.Exit(1)


def table(found: Diagnosis, *, all_: bool = False) -> str:
    """A diagnosis as people read it: what is to be mended first, and how many checks there were."""
    shown = sorted(found.checks, key=lambda check: -list(MARKS).index(check.state))
    parts = [_check(check) for check in shown if check.seen and (all_ or check.state != "ok")]
    away = [_wrapped(f"{tier.kind} is away: {tier.error}", "") for tier in found.tiers if tier.error]
    counts = {state: sum(check.state == state for check in found.checks) for state in MARKS}
    summary = (
        f"{len(found.checks)} checks: {counts['finding']} to mend, {counts['note']} to note, {counts['ok']} well"
        + (f", {counts['unknown']} not known" if counts["unknown"] else "")
    )
    return "".join([*parts, *away, summary, "\n"])


def _check(check: Checked) -> str:
    head = f"{MARKS[check.state]:<5}  {check.tier} {check.name}"
    if check.state == "ok":
        values = list(dict.fromkeys(one.found for one in check.seen))
        more = f" (and {len(values) - 1} others)" if len(values) > 1 else ""
        line = printable(f"{head}: {values[0]}{more}")
        return f"{line if len(line) <= WIDTH else line[: WIDTH - 2] + ' …'}\n"
    bad = [one for one in check.seen if one.state == check.state]
    places = "".join(_wrapped(f"{one.where}: {one.found}; wanted: {one.wanted}", "       ") for one in bad[:3])
    if len(bad) > 3:
        places += f"       … and {len(bad) - 3} more, see -o json\n"
    return f"{head}\n{places}{_wrapped(check.why, '       ')}{_wrapped(f'-> {check.mend}', '       ')}\n"


def _wrapped(text: str, indent: str) -> str:
    lines = textwrap.wrap(
        printable(text), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return "".join(f"{line}\n" for line in lines)
