"""Durations, as people write them and as they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderctl.duration import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5ms", 0.005), ("2s", 2.0), ("1.5s", 1.5), ("15m", 900.0), ("1h", 3600.0), ("0s", 0.0)],
)
def test_what_people_write_is_understood(text: str, seconds: float) -> None:
    """Every unit is understood, also with a fraction."""
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s", "1d", "1s\n", "inf", "1e3s", "\u0661s", "1h30m", "9" * 400 + "h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Anything else is refused with the forms that are understood."""
    with pytest.raises(ValueError, match="write 500ms, 2s, 15m or 1h"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["500ms", "5ms", "2s", "90s", "15m", "1h", "36h", "0s", "1500ms"])
def test_a_duration_is_shown_as_one_writes_it(text: str) -> None:
    """What is shown means the same when it is written."""
    assert str(Duration.parse(text)) == text


@given(st.integers(min_value=0, max_value=10**9))
def test_showing_loses_nothing(ms: int) -> None:
    """Every whole millisecond survives being shown and read."""
    duration = Duration(ms / 1000)
    assert Duration.parse(str(duration)).ms == ms
