"""The slope of a straight line through points, how certain it is, and whether there is a trend at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import atan, comb, cos, inf, pi, sin, sqrt
from typing import Final

from msgspec import Struct

from orderctl.errors import OrderctlError

CONFIDENCE: Final = 0.95


class Slope(Struct, frozen=True):
    """A slope by ordinary least squares, between `low` and `high` with 95 % confidence; `mean` is that of what was measured."""

    value: float
    low: float
    high: float
    mean: float
    points: int

    @property
    def is_trend(self) -> bool:
        """Whether the spread of the points does not explain it: zero is outside of the interval."""
        return self.low > 0 or self.high < 0

    @property
    def shares(self) -> tuple[float, float, float]:
        """The slope and its interval as shares of the mean."""
        by = self.mean or 1.0
        return self.value / by, self.low / by, self.high / by


def slope_of(points: Sequence[tuple[float, float]]) -> Slope:
    """The slope of y over x.

    b = Sxy / Sxx; s^2 = sum of squared residuals / (n - 2); the interval is b -+ t(0.975, n - 2) s / sqrt(Sxx): Draper and Smith,
    Applied Regression Analysis, 3rd edition (1998), sections 1.2 and 1.4.

    Raises:
        OrderctlError: there are fewer than three points, or all have one x.

    """
    count = len(points)
    mean_x, mean_y = (sum(values) / max(1, count) for values in zip(*points, strict=True)) if points else (0.0, 0.0)
    sxx = sum((x - mean_x) ** 2 for x, _ in points)
    if count < 3 or sxx <= 0:
        raise OrderctlError(f"no slope with an interval goes through {count} points of one size or too few")
    value = sum((x - mean_x) * (y - mean_y) for x, y in points) / sxx
    residuals = sum((y - mean_y - value * (x - mean_x)) ** 2 for x, y in points)
    half = student_t(count - 2) * sqrt(residuals / (count - 2) / sxx)
    return Slope(value, value - half, value + half, mean_y, count)


def student_t(freedom: int, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t, by halving: |t| is below it with this probability."""
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """A(t | v) = P(|T| < t): Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4."""
    if t == inf:
        return 1.0
    theta = atan(t / sqrt(freedom))
    if freedom % 2:
        terms = _series(freedom // 2, lambda k: cos(theta) ** (2 * k + 1) * 4**k / ((2 * k + 1) * comb(2 * k, k)))
        return 2 / pi * (theta + sin(theta) * terms)
    return sin(theta) * _series(freedom // 2, lambda k: cos(theta) ** (2 * k) * comb(2 * k, k) / 4**k)


def _series(count: int, term: Callable[[int], float]) -> float:
    return sum(term(k) for k in range(count))
