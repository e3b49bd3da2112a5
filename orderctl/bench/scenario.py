"""What a scenario is: the real thing and its ceiling, each a run that can be repeated on the same prepared ground."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum

from msgspec import Struct

from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure

Run = Callable[[], Measure]


class Where(StrEnum):
    """On which stores a scenario can run."""

    ANY = "any"
    REAL = "real"
    """Its ceiling is a server's own driver, so it needs the servers."""


class Runs(Struct, frozen=True):
    """A scenario, prepared: what a round repeats. The units of both are the same."""

    real: Run
    ceiling: Run


class Scenario(Struct, frozen=True, kw_only=True):
    """One thing that is measured. `full` and `smoke` are the units of one run, in earnest and to see that it works.

    `goal` is the ratio to be reached, None where none is set. `prepare` makes what the runs need and takes it away.
    With `if_named` it runs only where it is asked for by name: its peer is no ceiling, but another way or another program.
    """

    name: str
    idea: str
    unit: str
    ceiling: str
    goal: float | None
    where: Where
    full: int
    smoke: int
    prepare: Callable[[Ground, int], AbstractContextManager[Runs]]
    if_named: bool = False


def idea_of(docstring: str | None) -> str:
    """A module's first line, which is the scenario's idea, too."""
    return (docstring or "").partition("\n")[0]
