"""The question before something large is done."""

from __future__ import annotations

import sys

import typer

from orderctl.errors import UsageRefused


def require_yes(question: str, *, yes: bool) -> None:
    """Ask, unless `yes` has answered.

    Raises:
        UsageRefused: the answer is no, or there is no terminal to ask at.

    """
    if yes:
        return
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageRefused("there is no terminal to ask at", hint="--yes says yes")
    if not typer.confirm(question, err=True):
        raise UsageRefused("nothing was done")
