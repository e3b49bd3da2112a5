"""The live picture: where metrics are found, what two looks at them say, and how it is drawn."""

from __future__ import annotations

from collections import deque

import pytest

from orderctl.admin.scrape import Sample, admin_urls, parse, scrape
from orderctl.admin.top import Rate, picture, pictures
from orderctl.cli.top import BARS, History, spark
from orderctl.clock import US_PER_S
from orderctl.stores.registry import Heartbeat

NOW_US = 1_000 * US_PER_S
PORTS = {"command": 8711, "query": 8712, "cdc": 8713}


def numbers(**values: float) -> str:
    """An exposition; a name's double underscore begins its label's value, and the label is the metric's own."""
    labels = {"lookups_total": "tier", "timeouts_total": "found_by", "leases_total": "outcome"}
    lines = []
    for name, value in values.items():
        metric, _, kind = name.partition("__")
        label = f'{{{labels[metric]}="{kind}"}}' if kind else ""
        lines.append(f"orderctl_{metric}{label} {value}")
    return "\n".join(["# TYPE other gauge", "other 5", *lines, ""])


def sample(at_s: float, *processes: str) -> Sample:
    """A look at these processes."""
    return Sample(at_s, {f"http://p{at}": parse(text) for at, text in enumerate(processes)})


def beat(daemon: str, address: str | None, *, pid: int = 1, age_s: int = 0) -> Heartbeat:
    """What was heard of a daemon."""
    return Heartbeat(f"{daemon}@{pid}", daemon, "running", address, None, NOW_US - age_s * US_PER_S)


def test_rates_are_of_what_rose_between_two_looks() -> None:
    """Over all processes, with the share of each kind."""
    before = sample(10.0, numbers(lookups_total__near=100, lookups_total__redis=10), numbers(lookups_total__near=0))
    after = sample(12.0, numbers(lookups_total__near=150, lookups_total__redis=30), numbers(lookups_total__near=30))
    found = picture(before, after)
    assert found.lookups == Rate(50.0, {"near": 0.8, "redis": 0.2})
    assert (found.processes, found.seconds, found.creates) == (2, 2.0, Rate(0.0, {}))


def test_a_process_that_began_anew_counts_from_nothing() -> None:
    """Its counters fell; and one that is new has no rate yet."""
    before = sample(0.0, numbers(timeouts_total__expiry=1_000))
    after = sample(1.0, numbers(timeouts_total__expiry=7), numbers(timeouts_total__sweep=500))
    assert picture(before, after).timeouts == Rate(7.0, {"expiry": 1.0})


def test_lags_are_the_largest_and_means_are_of_this_time() -> None:
    """What is held is the sum of all; what nobody says is not known."""
    before = sample(0.0, numbers(cache_lag_seconds_sum=5, cache_lag_seconds_count=10, cdc_lag_seconds=9), numbers())
    after = sample(
        1.0,
        numbers(
            cache_lag_seconds_sum=6, cache_lag_seconds_count=14, cdc_lag_seconds=2, loads_in_flight=3, parked_total=1
        ),
        numbers(cdc_lag_seconds=4, loads_in_flight=2),
    )
    found = picture(before, after)
    assert (found.cache_lag_s, found.cdc_lag_s, found.archive_lag_s, found.request_ms) == (0.25, 4.0, None, None)
    assert (found.loads_in_flight, found.parked) == (5, 1)


def test_a_picture_for_every_look_but_the_first() -> None:
    """Each is compared with the one before it."""
    looks = iter([sample(float(at), numbers(leases_total__granted=at * at)) for at in range(4)])
    drawn = pictures(lambda: next(looks), lambda: None)
    assert [next(drawn).leases.per_s for _ in range(3)] == [1.0, 3.0, 5.0]


def test_metrics_are_where_the_daemons_say_and_where_they_are_by_default() -> None:
    """An API's address is not: its process's other daemons say it. Whoever was not heard of lately is not asked."""
    heartbeats = [
        beat("cdc", "http://10.0.0.1:9000"),
        beat("archiver", "http://10.0.0.1:9000"),
        beat("query", "http://10.0.0.1:8702"),
        beat("query", "http://10.0.0.2:8702", pid=2),
        beat("command", "http://10.0.0.3:8701", pid=3, age_s=60),
        beat("expiry", None),
    ]
    assert admin_urls(heartbeats, PORTS, bind="127.0.0.1:0", now_us=NOW_US) == (
        "http://10.0.0.1:9000",
        "http://10.0.0.2:8712",
        "http://10.0.0.2:8700",
    )
    assert admin_urls([], PORTS, bind="127.0.0.1:9", now_us=NOW_US) == ("http://127.0.0.1:9",)


def test_who_does_not_answer_is_left_out() -> None:
    """Nobody listens at port 1."""
    assert scrape(["http://127.0.0.1:1", "http://[::"], 5.0) == Sample(5.0, {})


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([0.0, 0.0], BARS[0] * 2),
        ([0.0, 7.0, None, 14.0], f"{BARS[0]}{BARS[4]} {BARS[-1]}"),
    ],
)
def test_a_curve_goes_from_nothing_to_the_largest(values: list[float | None], drawn: str) -> None:
    """A gap where nothing is known."""
    assert spark(deque(values)) == drawn


def test_a_busy_picture_fits_80_columns() -> None:
    """With large numbers, many kinds and a long history."""
    kinds = {f"lookups_total__{name}": 1e9 for name in ("near", "redis", "mysql", "cassandra", "none")}
    history = History()
    for _ in range(100):
        shown = history.table(picture(sample(0.0, numbers()), sample(1.0, numbers(cdc_lag_seconds=86_400.0, **kinds))))
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("others 40.0%" in line for line in lines)
