"""What one run comes to: work done, seconds, the CPU seconds and the memory of the process under test, latencies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct

T = TypeVar("T")

MIB: Final = 1 << 20


class Latency(Struct, frozen=True):
    """Milliseconds from a request's intended start to its answer's last byte, so that a server that stalls is not flattered."""

    p50: float
    p90: float
    p99: float
    most: float


class Measure(Struct, frozen=True, kw_only=True):
    """One run. `cpu_s` and `memory_mib` (the most that was resident) are those of the process under test, and of no other.

    `facts` holds what else was counted, such as transactions.
    """

    units: int
    seconds: float
    cpu_s: float
    memory_mib: float
    latency_ms: Latency | None = None
    facts: dict[str, float] = {}

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds

    @property
    def rate_per_core(self) -> float:
        """Units a CPU second: what a core of the process under test could do by itself."""
        return self.units / max(self.cpu_s, 1e-9)


def measured(work: Callable[[], int]) -> Measure:
    """Run `work`, which returns how many units it did, and measure this process."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    units = work()
    seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    # Not what getrusage says: a process that was started by a large one counts that one's memory for its own.
    return Measure(units=units, seconds=seconds, cpu_s=cpu_s, memory_mib=memory_mib_of(os.getpid()))


def apart(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function` in a new process, so that its CPU time and memory are its own. All of it must pickle."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def cpu_s_of(pid: int) -> float:
    """The CPU seconds that a running process has used so far, in the kernel's ticks (10 ms, as a rule)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def memory_mib_of(pid: int) -> float:
    """The most memory that a running process has had resident so far, in MiB."""
    return _status_mib(pid, "VmHWM")


def resident_mib_of(pid: int) -> float:
    """The memory that a running process has resident now, in MiB."""
    return _status_mib(pid, "VmRSS")


def _status_mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    sizes = {key: rest for key, _, rest in (line.partition(":") for line in lines)}
    return int(sizes[name].split()[0]) / 1024


def latency_of(milliseconds: Sequence[float]) -> Latency | None:
    """The quantiles of what was seen, None where nothing was."""
    if not milliseconds:
        return None
    ordered = sorted(milliseconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return Latency(at(0.5), at(0.9), at(0.99), round(ordered[-1], 3))
