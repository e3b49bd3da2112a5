"""`orderctl bench growth`: the cost of an order against how many are stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.bench_files import require_writable, save_json, terminated_as_interrupted
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note

if TYPE_CHECKING:
    from orderctl.bench.growth import Growing, GrowthPlan, GrowthReport
    from orderctl.bench.growth_tasks import Task
    from orderctl.config import Config

SIZES = "100000"
SIZES_SMOKE = "1000,2000"
SIZE_MIN, SIZE_MAX = 1_000, 100_000_000
ROUNDS, ROUNDS_SMOKE = 5, 2
CACHE_MAX = 1_000_000


def register(app: typer.Typer) -> None:
    """Offer it among the others of `bench`."""
    command(
        app,
        "growth",
        examples_shown=examples(
            "orderctl bench growth --smoke",
            "orderctl bench growth --sizes 100000,1000000 --save growth.json",
            "orderctl bench growth cache-sync-1 cache-sync-16 --sizes 100000 -o json",
        ),
        timeout=None,
    )(growth)


def growth(
    invocation: Invocation,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Paths; none named: all that can run.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option("--sizes", metavar="N,…", help=f"Orders stored in each tier. [default: {SIZES}]")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", metavar="N", min=2, max=100, help=f"Rounds at each size. [default: {ROUNDS}]"),
    ] = None,
    members: Annotated[
        str | None, typer.Option("--members", metavar="N,…", help="Processes of cache-sync. [default: 1,4,16]")
    ] = None,
    cache_max: Annotated[
        int, typer.Option("--cache-max", metavar="N", min=SIZE_MIN, help="Records in the cache at most.")
    ] = CACHE_MAX,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Seconds only: shows that it works, measures nothing.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the report there, as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw costs by sizes there, as SVG.")
    ] = None,
) -> None:
    """Measure what an order costs while so many are stored, and whether that has a trend.

    Each tier is filled to each size, the smallest first: the hot store with open orders, the archive with final ones, the cache
    with records of both, half and half. What is judged is CPU time of the processes under test: the slope for ten times the
    orders, by least squares over all rounds, with its 95 % interval. Servers, and what is kept of a run that ends early: as with
    `bench run`.
    """
    from orderctl.bench.growth import GrowthPlan

    counts = _numbers("--members", members, 1, 64) if members else None
    plan = GrowthPlan(
        tasks=_chosen(invocation.config, names or (), counts, smoke=smoke),
        sizes=_numbers("--sizes", sizes or (SIZES_SMOKE if smoke else SIZES), SIZE_MIN, SIZE_MAX),
        rounds=rounds or (ROUNDS_SMOKE if smoke else ROUNDS),
        cache_max=cache_max,
        smoke=smoke,
    )
    for file in (save, plot):
        require_writable(file)
    _run(invocation, plan, save, plot)


def _run(invocation: Invocation, plan: GrowthPlan, save: Path | None, plot: Path | None) -> None:
    """Measure, and show what was finished, however it ends."""
    from orderctl.bench.growth import run_growth
    from orderctl.clock import SystemClock

    kept: list[GrowthReport] = []

    def keep(report: GrowthReport) -> None:
        kept[:] = [report]
        _keep(report, save, plot)

    try:
        with terminated_as_interrupted():
            run_growth(invocation.config, plan, clock=SystemClock(), tell=note, keep=keep)
    finally:
        for report in kept:
            emit(report, invocation.output, table=table(report))
        if missing := kept[0].missing if kept else sorted(set(plan.sizes)):
            note(f"not measured: {', '.join(f'{size:,}' for size in missing)} orders stored")


def _chosen(config: Config, names: Sequence[str], members: Sequence[int] | None, *, smoke: bool) -> list[Task]:
    from orderctl.bench.growth_tasks import MEMBERS, MEMBERS_SMOKE, tasks
    from orderctl.config import is_embedded
    from orderctl.errors import NotFound

    counts = members or (MEMBERS_SMOKE if smoke else MEMBERS)
    known = {task.name: task for task in tasks(is_real=not is_embedded(config), members=counts)}
    for name in names:
        if name not in known:
            raise NotFound(f"no path {name} is measured here", hint=f"there are: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def table(report: GrowthReport) -> str:
    """A report as people read it."""
    sizes = [stored.size for stored in report.stored]
    titles = ("CPU us an order", *(f"{size:,}" for size in sizes), "for ten times", "95 % interval", "trend")
    text = columns(titles, [_row(task, sizes) for task in report.tasks])
    text += "\n" + columns(
        ("stored", "hot", "hot after", "cache", "archive", "filled in s", "load"),
        [
            [
                f"{one.size:,}",
                f"{one.hot:,}",
                f"{one.hot_after:,}",
                f"{one.cache:,}",
                f"{one.archive:,}",
                one.fill_s,
                one.load_1m,
            ]
            for one in report.stored
        ],
    )
    machine = report.machine
    what = "smoke run: these figures measure nothing\n" if report.smoke else f"{verdict(report)}\n"
    return f"{text}\n{machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB; {report.stores} stores\n{what}"


def verdict(report: GrowthReport) -> str:
    """Whether there is a trend beyond the spread, in a line."""
    judged = [task for task in report.tasks if task.trend is not None and task.name != "constant"]
    if not judged:
        return "one size: no trend can be told"
    with_trend = [
        f"{task.name} {task.trend.shares[0]:+.1%}" for task in judged if task.trend is not None and task.trend.is_trend
    ]
    if not with_trend:
        return f"no trend beyond the spread in any of {len(judged)} paths"
    return f"trend beyond the spread in {len(with_trend)} of {len(judged)} paths: {', '.join(with_trend)}"


def _row(task: Growing, sizes: list[int]) -> list[object]:
    medians = [None if (us := task.median_us(size)) is None else f"{us:,.1f}" for size in sizes]
    if task.trend is None:
        return [task.name, *medians, None, None, None]
    value, low, high = task.trend.shares
    said = "none beyond the spread" if not task.trend.is_trend else "rises" if value > 0 else "falls"
    return [task.name, *medians, f"{value:+.1%}", f"{low:+.1%} to {high:+.1%}", said]


def _numbers(option: str, text: str, least: int, most: int) -> list[int]:
    from orderctl.errors import UsageRefused

    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and least <= int(word) <= most for word in words):
        raise UsageRefused(f"{option} takes numbers from {least:,} to {most:,} with commas between them, not {text!r}")
    return [int(word) for word in words]


def _keep(report: GrowthReport, save: Path | None, plot: Path | None) -> None:
    from orderctl.bench.growth_chart import growth_chart

    save_json(report, save)
    if plot is not None:
        plot.write_text(growth_chart(report), "utf-8")
