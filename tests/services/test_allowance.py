"""A rate that is not exceeded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderctl.clock import ManualClock
from orderctl.services.allowance import BURST_S, Allowance


@given(
    st.integers(10, 100_000),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 20_000)), max_size=30),
)
def test_no_span_of_time_gets_more_than_its_share(per_s: int, asks: list[tuple[float, int]]) -> None:
    """From any ask to any later one: the time between, and one burst; and whoever asks for less than there is gets all."""
    clock = ManualClock()
    allowance = Allowance(clock, per_s)
    taken: list[tuple[float, int]] = []
    for wait_s, wanted in asks:
        clock.advance(wait_s)
        was_spent = allowance.is_spent
        taken.append((clock.monotonic_s(), allowance.take(wanted)))
        assert taken[-1][1] <= wanted
        assert not (was_spent and taken[-1][1])
    for first, (since_s, _) in enumerate(taken):
        for until in range(first, len(taken)):
            span_s = taken[until][0] - since_s
            assert sum(count for _, count in taken[first : until + 1]) <= per_s * (span_s + BURST_S) + 1


def test_what_was_not_taken_is_there_later() -> None:
    """Up to a burst of it, however long nobody asked."""
    clock = ManualClock()
    allowance = Allowance(clock, 1_000)
    assert [allowance.take(60), allowance.take(60), allowance.is_spent] == [60, 40, True]
    clock.advance(3600)
    assert [allowance.take(60), allowance.take(60), allowance.take(1)] == [60, 40, 0]
