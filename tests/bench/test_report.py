"""What rounds come to, and the picture of it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from orderctl.bench.catalog import catalog
from orderctl.bench.chart import chart
from orderctl.bench.report import read_report
from orderctl.bench.running import machine_now, result_of
from orderctl.errors import UsageRefused
from tests.bench.reports import measure, report, result


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    """Not the ratio of the medians: what else ran on the machine hit both runs of a round."""
    rounds = [(measure(100), measure(200)), (measure(10), measure(20)), (measure(90), measure(100))]
    found = result_of(catalog()[0], 1_000, rounds)
    assert (found.ratio, found.ratio_least, found.ratio_most) == (0.5, 0.5, 0.9)
    assert (found.real.rate, found.ceiling.rate) == (90, 100)
    assert found.real.spread == 1.0


def test_a_core_is_cpu_time_of_the_process_under_test() -> None:
    """A thousand units in 10 ms of CPU are 100 000 a core, however long it took."""
    found = result_of(catalog()[0], 1_000, [(measure(50, cpu_us=10.0), measure(100))])
    assert (found.real.rate_per_core, found.real.cpu_us) == (100_000, 10.0)


def test_a_report_comes_back_as_it_was(tmp_path: Path) -> None:
    """From the file that `--save` writes."""
    file = tmp_path / "bench.json"
    file.write_bytes(msgspec.json.encode(report()))
    assert read_report(file) == report()


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', "[]"])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    """In a line that names the file."""
    file = tmp_path / "bench.json"
    file.write_text(text)
    with pytest.raises(UsageRefused, match=r"bench\.json is no report"):
        read_report(file)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    """It may mean something else by the same names."""
    file = tmp_path / "bench.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(report(), format=2)))
    with pytest.raises(UsageRefused, match="format 2"):
        read_report(file)


def test_the_picture_has_a_bar_for_each_scenario() -> None:
    """One that misses its goal looks otherwise; a ratio beyond the picture's edge stays inside; it is well-formed."""
    good, bad = measure(90), measure(10)
    shown = report(
        result("a<b", good, measure(100)),
        result("slow", bad, measure(100)),
        result("fast", measure(900), measure(100), None),
    )
    root = ET.fromstring(chart(shown))  # our own bytes
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    assert [bar.get("class") for bar in bars] == ["bar", "bar under", "bar"]
    width = int(root.get("width") or 0)
    assert all(int(bar.get("x") or 0) + int(bar.get("width") or 0) < width for bar in bars)
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a<b", "slow", "fast", "0.90", "9.00"} <= set(texts)


def test_the_machine_is_told_of() -> None:
    """What figures mean nothing without."""
    machine = machine_now()
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.processor
