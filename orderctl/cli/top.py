"""`orderctl top`: the live picture of all daemons, drawn anew every second or two."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.deployment import opened_tiers
from orderctl.cli.live import show_live
from orderctl.cli.options import Invocation, command, duration, examples
from orderctl.duration import Duration
from orderctl.errors import TierUnavailable

if TYPE_CHECKING:
    from orderctl.admin.scrape import Sample
    from orderctl.admin.top import Picture, Rate

INTERVAL = Duration(1)
HISTORY = 36
BARS = "▁▂▃▄▅▆▇█"
KINDS_SHOWN = 3
LAGS = (
    ("cdc lag", "cdc_lag_s"),
    ("cache lag", "cache_lag_s"),
    ("archive lag", "archive_lag_s"),
    ("overdue", "overdue_s"),
)


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    shown = examples("orderctl top", "orderctl top --interval 5s", "orderctl top -o json | jq .lookups")
    command(group, "top", examples_shown=shown, timeout=None)(top)


def top(
    invocation: Invocation,
    interval: Annotated[
        Duration,
        typer.Option("--interval", metavar="DURATION", parser=duration, help="How long to look between two pictures."),
    ] = INTERVAL,
) -> None:
    """Show live what the daemons do: rates, which tiers answer look-ups, leases, time-outs and lags. Ctrl-C ends it.

    The numbers come from the daemons' /metrics, over all processes that say by their heartbeats where they are. Without a
    terminal, one picture is shown. Exit 4 where no daemon answers.
    """
    history = History()
    show_live(_pictures(invocation, interval), invocation.output, history.table, once=True)


class History:
    """Remembers the last pictures, for the curves."""

    def __init__(self) -> None:
        self._lookups: deque[float | None] = deque(maxlen=HISTORY)
        self._lags: dict[str, deque[float | None]] = {name: deque(maxlen=HISTORY) for name, _ in LAGS}

    def table(self, found: Picture) -> str:
        """A picture as people read it, in 80 columns, with the curves of those before it."""
        self._lookups.append(found.lookups.per_s)
        requests = "-" if found.request_ms is None else f"{found.request_ms:,.1f} ms"
        processes = f"{found.processes} process{'es' if found.processes != 1 else ''}"
        lines = [
            f"{processes}, over {found.seconds:.1f} s; requests take {requests} in the mean",
            "",
            f"{'':<12}{'A SECOND':>10}  OF WHICH",
            _rate("look-ups", found.lookups),
            _rate("creates", found.creates),
            _rate("changes", found.changes),
            _rate("time-outs", found.timeouts),
            _rate("leases", found.leases),
            _rate("loads", found.loads),
            f"{'archived':<12}{found.archived_per_s:>10,.1f}",
            f"{'tier errors':<12}{found.tier_errors_per_s:>10,.1f}",
            "",
            f"{'':<12}{'SECONDS':>10}  LATELY",
        ]
        for name, field in LAGS:
            value: float | None = getattr(found, field)
            self._lags[name].append(value)
            shown = "-" if value is None else f"{value:,.2f}"
            lines.append(f"{name:<12}{shown:>10}  {spark(self._lags[name])}".rstrip())
        lines += [
            f"{'look-ups':<12}{'':>10}  {spark(self._lookups)}".rstrip(),
            "",
            f"process memory: {found.near_orders:,} orders, {found.near_bytes / (1 << 20):,.1f} MiB",
            f"loads in flight: {found.loads_in_flight:,}",
            f"parked since the start: {found.parked:,}; faults since the start: {found.faults:,}",
        ]
        return "".join(f"{line}\n" for line in lines)


def spark(values: deque[float | None]) -> str:
    """A curve of block characters, from 0 to the largest; a gap where nothing is known."""
    largest = max((value for value in values if value is not None), default=0.0)
    last = len(BARS) - 1
    return "".join(
        " " if value is None else BARS[round(value / largest * last) if largest > 0 else 0] for value in values
    )


def _rate(name: str, rate: Rate) -> str:
    shares = sorted(rate.shares.items(), key=lambda share: -share[1])
    shown = [f"{kind} {share:.1%}" for kind, share in shares[:KINDS_SHOWN]]
    if rest := sum(share for _, share in shares[KINDS_SHOWN:]):
        shown.append(f"others {rest:.1%}")
    return f"{name:<12}{_number(rate.per_s):>10}  {'  '.join(shown)}".rstrip()


def _number(value: float) -> str:
    """In ten places."""
    return f"{value:,.1f}" if value < 1e6 else f"{value / 1e6:,.2f} M"


def _pictures(invocation: Invocation, interval: Duration) -> Iterator[Picture]:
    from orderctl.admin.scrape import admin_urls, scrape
    from orderctl.admin.top import pictures
    from orderctl.clock import SystemClock
    from orderctl.daemons.manifest import manifests

    clock, never = SystemClock(), threading.Event()
    ports = {manifest.name: manifest.admin_port for manifest in manifests()}
    bind = invocation.config.admin.bind
    with opened_tiers(invocation, apart=True, check=False) as tiers:

        def look() -> Sample:
            # Daemons come and go, so who is there is asked anew.
            now_us = tiers.registry.deployment().now_us
            urls = admin_urls(tiers.registry.heartbeats(), ports, bind=bind, now_us=now_us)
            found = scrape(urls, clock.monotonic_s())
            if not found.processes:
                raise TierUnavailable(
                    "daemons", "none answers /metrics", hint="`orderctl status` says which daemons run"
                )
            return found

        def pause() -> None:
            clock.wait(never, interval)

        yield from pictures(look, pause)
