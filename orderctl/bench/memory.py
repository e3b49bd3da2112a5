"""The memory of each daemon: idle, and while orders go through all of them; and whether it grows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from orderctl.bench.daemons_apart import all_daemons, orders_flowing
from orderctl.bench.ground import ground_on
from orderctl.bench.measuring import memory_mib_of, resident_mib_of
from orderctl.bench.orders import MERCHANT
from orderctl.bench.report import Machine
from orderctl.bench.running import machine_now, versions_of
from orderctl.bench.serving import Target, key_on
from orderctl.bench.slope import Slope, slope_of
from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.config import Config

FORMAT: Final = 1
SAMPLE_S: Final = 1.0

Samples = dict[str, list[tuple[float, float]]]


class DaemonMemory(Struct, frozen=True, kw_only=True):
    """One daemon, in MiB resident: when it was ready, after standing idle, and under load; `peak` is the most that it ever had.

    `growth` is the slope under load, in MiB a minute, and `growth_late` that of the second half, when caches have begun to fill
    less. Samples of one process follow each other, so both intervals are narrower than the truth.
    """

    name: str
    started: float
    idle: float
    loaded: float
    peak: float
    growth: Slope
    growth_late: Slope
    samples: list[tuple[float, float]]


class MemoryReport(Struct, frozen=True, kw_only=True):
    """All of them. `orders` went through in `load_s`; every second of them timed out, the others succeeded."""

    format: int = FORMAT
    started_at: str
    stores: str
    machine: Machine
    versions: dict[str, str]
    idle_s: float
    load_s: float
    orders: int
    daemons: list[DaemonMemory]


def run_memory(
    config: Config, *, idle_s: float, load_s: float, clock: Clock, tell: Callable[[str], None]
) -> MemoryReport:
    """Start every daemon in a process of its own, and look at their memory every second, idle and under load.

    Raises:
        UsageRefused: daemons run on this deployment.
        OrderctlError: a daemon did not start, or a server did not answer as it should.

    """
    started_us, machine = clock.now_us(), machine_now()
    with ground_on(config) as ground:
        merchant_key, gateway_key = key_on(ground, MERCHANT), key_on(ground, None)
        tell("starting every daemon")
        with all_daemons(ground) as targets:
            tell(f"{len(targets)} daemons are ready; idle for {idle_s:g} s")
            idle = _sampled(targets, idle_s, clock)
            tell(f"orders for {load_s:g} s")
            with orders_flowing(targets, merchant_key, gateway_key) as done:
                loaded = _sampled(targets, load_s, clock)
                orders = done.value
            tell(f"{orders:,} orders went through")
            return MemoryReport(
                started_at=rfc3339(started_us),
                stores="real" if ground.is_real else "embedded",
                machine=machine,
                versions=versions_of(ground),
                idle_s=idle_s,
                load_s=load_s,
                orders=orders,
                daemons=[_memory_of(name, target, idle[name], loaded[name]) for name, target in targets.items()],
            )


def _sampled(targets: Mapping[str, Target], seconds: float, clock: Clock) -> Samples:
    """Seconds since the beginning and MiB, of each; at least enough for a slope of each half."""
    samples: Samples = {name: [] for name in targets}
    began_s, never, number = clock.monotonic_s(), threading.Event(), 0
    while number < 7 or clock.monotonic_s() < began_s + seconds:
        at_s = clock.monotonic_s() - began_s
        for name, target in targets.items():
            samples[name].append((round(at_s, 2), round(resident_mib_of(target.pid), 2)))
        number += 1
        clock.wait(never, max(0.0, began_s + number * SAMPLE_S - clock.monotonic_s()))
    return samples


def _memory_of(
    name: str, target: Target, idle: list[tuple[float, float]], loaded: list[tuple[float, float]]
) -> DaemonMemory:
    minutes = [(at_s / 60, mib) for at_s, mib in loaded]
    return DaemonMemory(
        name=name,
        started=idle[0][1],
        idle=idle[-1][1],
        loaded=loaded[-1][1],
        peak=round(memory_mib_of(target.pid), 2),
        growth=slope_of(minutes),
        growth_late=slope_of(minutes[len(minutes) // 2 :]),
        samples=loaded,
    )
