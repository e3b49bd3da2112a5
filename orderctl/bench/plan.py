"""How many machines a load needs, worked out from a bench's rates, with the arithmetic shown and what binds named."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import get_type_hints

from msgspec import Struct

from orderctl.bench.load_wanted import WantedLoad
from orderctl.bench.plan_parts import PARTS
from orderctl.bench.rates import Rates, rates_of
from orderctl.bench.report import Report
from orderctl.errors import UsageRefused
from orderctl.ids import PARTITIONS

PARTITIONS_WISHED_FOR_EACH = 4
"""Groups for each of those who share them, so that one that is lost, or added, does not upset the others."""


class Need(Struct, frozen=True):
    """What one resource asks for: so many of them, copies left aside, and how that comes."""

    resource: str
    number: int
    arithmetic: str


class Part(Struct, frozen=True, kw_only=True):
    """One kind of server. `binds` is the resource that asks for the most; `number` has every copy in it, on so many `machines`.

    Memory, disk and network are of all of them. `shares` is among how many the groups are divided, None where they are not.
    """

    name: str
    number: int
    copies: int
    machines: int
    binds: str
    cores: int
    memory_gib: int
    disk_gib: int
    network_gbit: float
    shares: int | None
    needs: list[Need]


class Capacity(Struct, frozen=True, kw_only=True):
    """The plan. `assumed` are the numbers that nobody measured, `measured` those that the bench did, `limits` what to look at."""

    parts: list[Part]
    groups: int
    servers: int
    limits: list[str]
    measured: list[str]
    assumed: dict[str, str]
    bench: dict[str, str]


def plan(report: Report, load: WantedLoad) -> Capacity:
    """Work it out.

    Raises:
        UsageRefused: the bench measured too little, or was a smoke run; or a number of the load makes no sense.

    """
    _require_sense(load)
    rates = rates_of(report)
    parts = [_part(name, load, rates) for name in PARTS]
    groups = _groups(parts)
    return Capacity(
        parts=parts,
        groups=min(groups, PARTITIONS),
        servers=sum(part.machines for part in parts),
        limits=list(_limits(parts, groups, load)),
        measured=rates.shown(),
        assumed=_assumed(load),
        bench={
            "started_at": report.started_at,
            "machine": f"{report.machine.processor}, {report.machine.cores} cores",
            "load_before": f"{report.machine.load_1m:g}",
        },
    )


def _part(name: str, load: WantedLoad, rates: Rates) -> Part:
    demand = PARTS[name](load, rates)
    in_one = load.cores if demand.is_one_core else 1
    per_machine = {
        "processor": load.cores if demand.unit == "cores" else 1,
        "memory": load.memory_gib * load.utilisation / in_one,
        "disk": load.disk_gib * load.utilisation / in_one,
        "network": load.network_gbit * load.utilisation / in_one,
    }
    units = {"processor": demand.unit, "memory": "GiB", "disk": "GiB", "network": "Gbit/s"}
    needs = [
        Need(
            resource,
            max(1, ceil(amount / per_machine[resource])),
            f"{how} = {amount:,.2f} {units[resource]}; {per_machine[resource]:g} each",
        )
        for resource, (amount, how) in demand.amounts.items()
    ]
    most = max(needs, key=lambda need: need.number)
    count = most.number * demand.copies
    amount = {resource: value for resource, (value, _) in demand.amounts.items()}
    return Part(
        name=name,
        number=count,
        machines=ceil(count / in_one),
        copies=demand.copies,
        binds=most.resource,
        cores=ceil(amount["processor"]) if demand.unit == "cores" else ceil(count * load.cores / in_one),
        memory_gib=ceil(amount.get("memory", 0) * demand.copies),
        disk_gib=ceil(amount.get("disk", 0) * demand.copies),
        network_gbit=round(amount.get("network", 0) * demand.copies, 2),
        shares=demand.shares(most.number) if demand.shares is not None else None,
        needs=needs,
    )


def _groups(parts: list[Part]) -> int:
    """A power of two with some groups for each of those who divide them."""
    wanted = max(part.shares or 1 for part in parts) * PARTITIONS_WISHED_FOR_EACH
    return max(64, 1 << (wanted - 1).bit_length())


def _limits(parts: list[Part], groups: int, load: WantedLoad) -> Iterator[str]:
    if groups > PARTITIONS:
        yield f"{groups:,} groups would be wanted, and there are at most {PARTITIONS:,}: some are shared by fewer than wished"
    for part in parts:
        if part.shares is not None and part.shares > PARTITIONS:
            yield f"{part.name}: {part.shares:,} would divide {PARTITIONS:,} groups: this load is beyond the design"
        yield f"{part.name}: {part.binds} binds"
    yield f"databases: {load.loads_per_s:,.0f} look-ups a second come to them; each must find its order by its key alone"


def _assumed(load: WantedLoad) -> dict[str, str]:
    meanings = get_type_hints(WantedLoad, include_extras=True)
    shown: dict[str, str] = {}
    for name in load.__struct_fields__:
        (meaning,) = meanings[name].__metadata__
        shown[name] = f"{getattr(load, name):,.10g}: {meaning.description}"
    return shown


def _require_sense(load: WantedLoad) -> None:
    for name in load.__struct_fields__:
        value = getattr(load, name)
        is_share = name in {"near_hit", "cache_hit", "utilisation", "average_share"}
        least = 0 if name in {"near_hit", "cache_hit", "changes_per_order", "lookups_per_s", "creates_per_s"} else 1e-9
        if not least <= value <= (1 if is_share else 1e15):
            raise UsageRefused(f"{name.replace('_', ' ')} cannot be {value:g}")
