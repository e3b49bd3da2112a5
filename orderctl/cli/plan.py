"""`orderctl plan`: how many machines a load needs, from what `orderctl bench` measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, pairs

if TYPE_CHECKING:
    from orderctl.bench.load_wanted import WantedLoad
    from orderctl.bench.plan import Capacity


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    shown = examples(
        "orderctl plan --bench bench.json --lookups-per-s 20000000 \\",
        "    --creates-per-s 50000 --lookup-batch 100",
        "orderctl plan --bench bench.json --lookups-per-s 1000 \\",
        "    --creates-per-s 10 --assume retention_days=90 -o json",
    )
    command(group, "plan", examples_shown=shown)(plan)


def plan(
    invocation: Invocation,
    bench: Annotated[
        Path, typer.Option("--bench", metavar="FILE", help="What `orderctl bench run --save FILE` measured.")
    ],
    lookups_per_s: Annotated[
        float, typer.Option("--lookups-per-s", metavar="N", help="Orders looked up a second, at the peak.")
    ],
    creates_per_s: Annotated[
        float, typer.Option("--creates-per-s", metavar="N", help="Orders created a second, at the peak.")
    ],
    changes_per_order: Annotated[
        float | None, typer.Option("--changes-per-order", metavar="N", help="Changes in an order's life. [default: 2]")
    ] = None,
    lookup_batch: Annotated[
        float | None, typer.Option("--lookup-batch", metavar="N", help="Orders in a look-up request. [default: 1]")
    ] = None,
    near_hit: Annotated[
        float | None,
        typer.Option("--near-hit", metavar="SHARE", help="Of look-ups, from process memory. [default: 0.5]"),
    ] = None,
    cache_hit: Annotated[
        float | None, typer.Option("--cache-hit", metavar="SHARE", help="Of the others, from Redis. [default: 0.999]")
    ] = None,
    retention_days: Annotated[
        float | None,
        typer.Option("--retention-days", metavar="N", help="How long the archive keeps orders. [default: 365]"),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option("--assume", metavar="NAME=VALUE", help="Another number that is shown as assumed, repeatedly."),
    ] = None,
) -> None:
    """Work out servers, cores, memory, disk and network for a load, tier by tier.

    Each figure comes with its arithmetic, what binds is named, and what nobody measured is listed as assumed. Without a
    bench's report nothing is worked out: a plan is as good as what was measured.
    """
    from orderctl.bench.plan import plan as work_out
    from orderctl.bench.report import read_report

    said = {
        "lookups_per_s": lookups_per_s,
        "creates_per_s": creates_per_s,
        "changes_per_order": changes_per_order,
        "lookup_batch": lookup_batch,
        "near_hit": near_hit,
        "cache_hit": cache_hit,
        "retention_days": retention_days,
    }
    load = _wanted(_assumptions(assume or ()) | {name: value for name, value in said.items() if value is not None})
    found = work_out(read_report(bench), load)
    emit(found, invocation.output, table=table(found))


def table(found: Capacity) -> str:
    """A plan as people read it: the bill first, then how it comes."""
    titles = ("what", "number", "copies", "machines", "binds", "cores", "memory GiB", "disk GiB", "Gbit/s")
    rows = [
        [
            p.name,
            f"{p.number:,}",
            p.copies,
            f"{p.machines:,}",
            p.binds,
            f"{p.cores:,}",
            f"{p.memory_gib:,}",
            f"{p.disk_gib:,}",
            p.network_gbit,
        ]
        for p in found.parts
    ]
    text = columns(titles, rows) + f"\n{found.servers:,} machines in all; {found.groups:,} groups (Kafka partitions)\n"
    for part in found.parts:
        text += f"\n{part.name}\n" + "".join(f"  {need.resource}: {need.arithmetic}\n" for need in part.needs)
    text += _listed("limits", found.limits) + _listed("measured", found.measured)
    return text + "\nassumed\n" + pairs(found.assumed) + "\nbench\n" + pairs(found.bench)


def _listed(title: str, lines: Iterable[str]) -> str:
    return f"\n{title}\n" + "".join(f"  {line}\n" for line in lines)


def _assumptions(said: Iterable[str]) -> dict[str, float]:
    from orderctl.bench.load_wanted import WantedLoad
    from orderctl.errors import UsageRefused

    found: dict[str, float] = {}
    for one in said:
        name, _, value = one.partition("=")
        if name not in WantedLoad.__struct_fields__:
            known = ", ".join(WantedLoad.__struct_fields__)
            raise UsageRefused(f"nothing called {name!r} is assumed", hint=f"there are: {known}")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise UsageRefused(f"{one!r} is not NAME=NUMBER") from error
    return found


def _wanted(said: dict[str, float]) -> WantedLoad:
    from orderctl.bench.load_wanted import WantedLoad

    return WantedLoad(**said)
