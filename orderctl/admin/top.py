"""`top`: what all daemons do just now: rates and shares between two looks at their metrics, and the lags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from orderctl.admin.scrape import Numbers, Sample, increases, of_name


class Rate(Struct, frozen=True):
    """How many a second, and which share each kind has of them."""

    per_s: float
    shares: dict[str, float]


class Picture(Struct, frozen=True, kw_only=True):
    """The live picture, over all processes that answered. Times are in seconds; None is not known.

    `lookups` are by the tier that answered. `cache_lag_s` is the mean of what was applied meanwhile, and `request_ms` that of
    the requests; the other lags are the largest of any process.
    """

    processes: int
    seconds: float
    lookups: Rate
    creates: Rate
    changes: Rate
    timeouts: Rate
    leases: Rate
    loads: Rate
    archived_per_s: float
    tier_errors_per_s: float
    parked: int
    faults: int
    request_ms: float | None
    cdc_lag_s: float | None
    cache_lag_s: float | None
    archive_lag_s: float | None
    overdue_s: float | None
    loads_in_flight: int
    near_orders: int
    near_bytes: int


def pictures(look: Callable[[], Sample], pause: Callable[[], None]) -> Iterator[Picture]:
    """A picture for every two looks that follow each other; `pause` is what lies between them."""
    before = look()
    while True:
        pause()
        after = look()
        yield picture(before, after)
        before = after


def picture(before: Sample, after: Sample) -> Picture:
    """What happened between two looks, and how it stands at the second."""
    rose, seconds = increases(before, after), max(after.at_s - before.at_s, 1e-9)
    now = list(after.processes.values())

    def rate(name: str, label: str) -> Rate:
        return _rate(of_name(rose, name), label, seconds)

    return Picture(
        processes=len(now),
        seconds=round(seconds, 3),
        lookups=rate("lookups_total", "tier"),
        creates=rate("creates_total", "outcome"),
        changes=rate("changes_total", "outcome"),
        timeouts=rate("timeouts_total", "found_by"),
        leases=rate("leases_total", "outcome"),
        loads=rate("loads_total", "tier"),
        archived_per_s=_sum(rose, "archived_total") / seconds,
        tier_errors_per_s=_sum(rose, "tier_errors_total") / seconds,
        parked=round(sum(_sum(numbers, "parked_total") for numbers in now)),
        faults=round(
            sum(
                _sum(numbers, name)
                for numbers in now
                for name in ("equal_version_conflicts_total", "archive_conflicts_total", "daemon_faults_total")
            )
        ),
        request_ms=_mean(rose, "request_seconds", 1000),
        cdc_lag_s=_largest(now, "cdc_lag_seconds"),
        cache_lag_s=_mean(rose, "cache_lag_seconds", 1),
        archive_lag_s=_largest(now, "archive_lag_seconds"),
        overdue_s=_largest(now, "oldest_overdue_seconds"),
        loads_in_flight=round(sum(_sum(numbers, "loads_in_flight") for numbers in now)),
        near_orders=round(sum(_sum(numbers, "near_orders") for numbers in now)),
        near_bytes=round(sum(_sum(numbers, "near_bytes") for numbers in now)),
    )


def _rate(found: Iterable[tuple[dict[str, str], float]], label: str, seconds: float) -> Rate:
    counts: dict[str, float] = {}
    for labels, value in found:
        kind = labels.get(label, "")
        counts[kind] = counts.get(kind, 0.0) + value
    total = sum(counts.values())
    shares = {kind: round(count / total, 4) for kind, count in sorted(counts.items()) if count} if total else {}
    return Rate(round(total / seconds, 1), shares)


def _sum(numbers: Numbers, name: str) -> float:
    return sum(value for _, value in of_name(numbers, name))


def _mean(rose: Numbers, name: str, scale: float) -> float | None:
    count = _sum(rose, f"{name}_count")
    return round(_sum(rose, f"{name}_sum") / count * scale, 3) if count else None


def _largest(now: Iterable[Numbers], name: str) -> float | None:
    values = [value for numbers in now for _, value in of_name(numbers, name)]
    return round(max(values), 3) if values else None
