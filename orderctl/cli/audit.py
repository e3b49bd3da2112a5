"""`orderctl audit`: what operators changed, and whether the log of it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orderctl.cli.deployment import audit_path, require_data_dir
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note, pairs

app = typer.Typer(
    name="audit", help="The audit log: what operators changed.", no_args_is_help=True, rich_markup_mode=None
)

_SHOWN: Final = ("at", "by", "host", "action", "reason")
_OF_THE_CHAIN: Final = {"prev", "digest"}


@command(
    app,
    "list",
    examples_shown=examples("orderctl audit list --last 20", "orderctl audit list -o jsonl"),
)
def list_(
    invocation: Invocation,
    last: Annotated[int | None, typer.Option("--last", metavar="N", min=1, help="Only the last N lines.")] = None,
) -> None:
    """List what operators changed, oldest first: when, who, where, what, why, and what came of it."""
    from orderctl.admin.audit_read import audit_list

    lines = audit_list(_path(invocation), last=last)
    rows = [[*(line.get(name) for name in _SHOWN), _facts(line)] for line in lines]
    emit(lines, invocation.output, table=columns((*_SHOWN, "facts"), rows))


@command(
    app,
    "verify",
    examples_shown=examples("orderctl audit verify", "orderctl audit verify --expect DIGEST"),
)
def verify(
    invocation: Invocation,
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="DIGEST", help="A digest that was the head before.")
    ] = None,
) -> None:
    """Look whether a line of the audit log was changed, removed, moved or cut short. Exit 1 where one was.

    Each line has the digest of the one before it. Lines removed at the very end leave no trace in the log itself: keep
    the head's digest elsewhere, and give it with --expect later. Lines of a version that wrote no digests may come
    first; from the first digest on they are covered as well.
    """
    from orderctl.admin.audit_read import audit_verify

    found = audit_verify(_path(invocation), expected=expect)
    shown = {name: getattr(found, name) for name in ("lines", "chained", "unchained", "cut_short", "head", "intact")}
    emit(found, invocation.output, table=pairs(shown))
    for problem in found.problems:
        note(f"line {problem.line}: {problem.problem}")
    if not found.intact:
        raise typer.Exit(1)


def _path(invocation: Invocation) -> Path:
    """Where the log is. A data directory on which nothing was ever started is more likely one that was misspelt."""
    from orderctl.config import is_embedded

    if invocation.config.audit.path is None and is_embedded(invocation.config):
        require_data_dir(invocation.data_dir)
    return audit_path(invocation)


def _facts(line: dict[str, Any]) -> str:
    facts = {name: value for name, value in line.items() if name not in {*_SHOWN, *_OF_THE_CHAIN}}
    return " ".join(f"{name}={value}" for name, value in facts.items())
