"""`orderctl bench memory`: what each daemon keeps resident, idle and under load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.bench_files import require_writable, save_json, terminated_as_interrupted
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note

if TYPE_CHECKING:
    from orderctl.bench.memory import MemoryReport
    from orderctl.bench.slope import Slope

SECONDS = 60.0
SECONDS_SMOKE = 8.0


def register(app: typer.Typer) -> None:
    """Offer it among the others of `bench`."""
    shown = examples(
        "orderctl bench memory --smoke",
        "orderctl bench memory --seconds 600 --save memory.json",
    )
    command(app, "memory", examples_shown=shown, timeout=None)(memory)


def memory(
    invocation: Invocation,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="S", min=8, max=86_400, help="Seconds under load. [default: 60]"),
    ] = None,
    idle_seconds: Annotated[
        float | None,
        typer.Option("--idle-seconds", metavar="S", min=8, max=86_400, help="Seconds before. [default: 60]"),
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds only: shows that it works.")] = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the report there, as JSON.")
    ] = None,
) -> None:
    """Measure what each daemon keeps resident: once ready, after standing idle, and while orders go through all of them.

    Each daemon runs in a process of its own, on stores and topics that are taken away afterwards. Its memory is looked at every
    second; growth is a slope by least squares, in MiB a minute, with its 95 % interval.
    """
    from orderctl.bench.memory import run_memory
    from orderctl.clock import SystemClock

    default_s = SECONDS_SMOKE if smoke else SECONDS
    require_writable(save)
    with terminated_as_interrupted():
        report = run_memory(
            invocation.config,
            idle_s=idle_seconds or default_s,
            load_s=seconds or default_s,
            clock=SystemClock(),
            tell=note,
        )
    save_json(report, save)
    emit(report, invocation.output, table=table(report))


def table(report: MemoryReport) -> str:
    """A report as people read it."""
    titles = ("MiB resident", "ready", "idle", "loaded", "peak", "MiB a minute", "in the second half")
    rows: list[list[object]] = [
        [
            one.name,
            *(f"{mib:,.1f}" for mib in (one.started, one.idle, one.loaded, one.peak)),
            _spelt(one.growth),
            _spelt(one.growth_late),
        ]
        for one in report.daemons
    ]
    machine = report.machine
    return (
        columns(titles, rows)
        + f"\n{report.orders:,} orders in {report.load_s:g} s, after {report.idle_s:g} s idle; {machine.processor}, "
        + f"{machine.cores} cores; {report.stores} stores; load before: {machine.load_1m:g}\n"
    )


def _spelt(slope: Slope) -> str:
    return f"{slope.value:+.2f} ({slope.low:+.2f} to {slope.high:+.2f})"
