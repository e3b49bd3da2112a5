"""`orderctl bench`: how fast it is, beside the least that the same servers can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orderctl.cli import bench_growth, bench_memory
from orderctl.cli.bench_files import require_writable, save_json, terminated_as_interrupted
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note

if TYPE_CHECKING:
    from orderctl.bench.report import Report, Result
    from orderctl.config import Config

ROUNDS_DEFAULT = 5
ROUNDS_SMOKE = 1

app = typer.Typer(
    name="bench", help="Measure it, beside what is possible.", no_args_is_help=True, rich_markup_mode=None
)


@command(app, "list", examples_shown=examples("orderctl bench list", "orderctl bench list -o json"))
def list_(invocation: Invocation) -> None:
    """List the scenarios: what each measures, its ceiling, and the ratio to be reached."""
    from orderctl.bench.catalog import catalog

    shown = [
        {
            "name": one.name,
            "idea": one.idea,
            "unit": one.unit,
            "ceiling": one.ceiling,
            "goal": one.goal,
            "where": one.where,
            "size": one.full,
        }
        for one in catalog()
    ]
    rows = [[one["name"], one["where"], one["goal"], one["size"], one["idea"]] for one in shown]
    emit(shown, invocation.output, table=columns(("name", "stores", "goal", "size", "idea"), rows))


@command(
    app,
    "run",
    examples_shown=examples(
        "orderctl bench run --smoke",
        "orderctl bench run --config .stack/orderctl.toml --save bench.json",
        "orderctl bench run cdc-backlog --rounds 7 -o json",
        "orderctl bench run lookup-near --server granian --event-loop uvloop",
    ),
    timeout=None,
)
def run(
    invocation: Invocation,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Scenarios; none named: all but those `beside` another way."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", metavar="N", min=1, max=100, help="Rounds of each. [default: 5]")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", metavar="N", min=1, help="Units of one run, instead of each one's own.")
    ] = None,
    server: Annotated[
        Literal["hypercorn", "granian"] | None,
        typer.Option("--server", help="What serves HTTP, for the ceilings too. [default: as configured]"),
    ] = None,
    event_loop: Annotated[
        Literal["asyncio", "uvloop"] | None,
        typer.Option("--event-loop", help="What runs the servers. [default: as configured]"),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Seconds only: shows that it works, measures nothing.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the report there too, as JSON, for `plan`.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the ratios there, as SVG.")] = None,
) -> None:
    """Run scenarios: each round the real thing and its ceiling, both on the same servers.

    On the servers that the configuration names, in a database, a keyspace and topics of its own, or embedded in a folder;
    all is taken away afterwards. A deployment that is being served is refused: this is for servers that do nothing else.
    What was finished is saved and shown even where the run is interrupted, or a scenario fails.
    """
    from orderctl.bench.catalog import chosen
    from orderctl.bench.running import Plan, run_all
    from orderctl.clock import SystemClock
    from orderctl.config import is_embedded

    config = _with_http(invocation.config, server=server, event_loop=event_loop)
    scenarios = chosen(names or (), is_real=not is_embedded(config))
    plan = Plan(scenarios, rounds or (ROUNDS_SMOKE if smoke else ROUNDS_DEFAULT), smoke, size)
    for file in (save, plot):
        require_writable(file)
    kept: list[Report] = []

    def keep(report: Report) -> None:
        kept[:] = [report]
        _keep(report, save, plot)

    try:
        with terminated_as_interrupted():
            run_all(config, plan, clock=SystemClock(), tell=note, keep=keep)
    finally:
        for report in kept:
            emit(report, invocation.output, table=table(report))
        missing = kept[0].missing if kept else [scenario.name for scenario in scenarios]
        if missing:
            note(f"not measured: {', '.join(missing)}")


def _with_http(config: Config, **chosen: Any) -> Config:
    """The configuration with what was chosen for this run."""
    from msgspec import structs

    wanted = {key: value for key, value in chosen.items() if value is not None}
    return structs.replace(config, http=structs.replace(config.http, **wanted))


def table(report: Report) -> str:
    """A report as people read it."""
    titles = ("scenario", "unit/s", "a core", "ceiling/s", "ratio", "goal", "spread", "MiB", "p99 ms")
    shown = columns(titles, [_row(result) for result in report.scenarios])
    machine = report.machine
    what = "smoke run: these figures measure nothing" if report.smoke else f"load before: {machine.load_1m:g}"
    return (
        shown
        + f"\n{machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB; {report.stores} stores; "
        + f"{report.http}; {what}\n"
    )


def _row(result: Result) -> list[object]:
    real = result.real
    return [
        result.name,
        f"{real.rate:,.0f}",
        f"{real.rate_per_core:,.0f}",
        f"{result.ceiling.rate:,.0f}",
        f"{result.ratio:.2f} ({result.ratio_least:.2f}-{result.ratio_most:.2f})",
        result.goal,
        f"{real.spread:.0%}",
        f"{real.memory_mib:,.0f}",
        None if real.latency_ms is None else f"{real.latency_ms.p99:,.1f}",
    ]


def _keep(report: Report, save: Path | None, plot: Path | None) -> None:
    from orderctl.bench.chart import chart

    save_json(report, save)
    if plot is not None:
        plot.write_text(chart(report), "utf-8")


bench_growth.register(app)
bench_memory.register(app)
