"""A line through points, by figures that can be looked up."""

from __future__ import annotations

import pytest

from orderctl.bench.slope import slope_of, student_t
from orderctl.errors import OrderctlError


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (8, 2.306), (13, 2.160), (28, 2.048), (598, 1.964)],
)
def test_students_t(freedom: int, expected: float) -> None:
    """As tables have it."""
    assert student_t(freedom) == pytest.approx(expected, abs=0.0005)


def test_a_line_is_found_exactly() -> None:
    """Without scatter the interval is a point."""
    slope = slope_of([(5, 12.0), (6, 14.0), (7, 16.0)])
    assert (slope.value, slope.low, slope.high) == pytest.approx((2.0, 2.0, 2.0))
    assert slope.is_trend
    assert slope.shares[0] == pytest.approx(2 / 14)


def test_scatter_widens_the_interval() -> None:
    """By hand: x 1 … 4, y 1, 3, 2, 4: Sxx 5, slope 0.8, residuals 1.8, so 0.8 -+ 4.303 sqrt(0.9 / 5)."""
    slope = slope_of([(1, 1.0), (2, 3.0), (3, 2.0), (4, 4.0)])
    assert slope.value == pytest.approx(0.8)
    assert slope.high - slope.value == pytest.approx(4.3027 * 0.18**0.5, rel=1e-4)
    assert not slope.is_trend, "zero is inside"


@pytest.mark.parametrize("points", [[], [(1, 1.0), (2, 2.0)], [(5, 1.0), (5, 2.0), (5, 3.0)]])
def test_too_little_is_no_line(points: list[tuple[float, float]]) -> None:
    """Said, instead of an interval that means nothing."""
    with pytest.raises(OrderctlError, match="no slope"):
        slope_of(points)
