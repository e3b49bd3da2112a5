"""What the services do with the cache: calls that may fail, because it holds no truth, and how long a record lives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.metrics import Metrics
from orderctl.order import Order

T = TypeVar("T")

PAUSE_S = 1.0
"""After a failure the cache is left alone for this long, so that its time-outs are not paid by every batch."""


class BestEffort:
    """Runs cache calls whose failure is counted and otherwise ignored."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._resume_at_s = 0.0

    def run(self, call: Callable[[], T]) -> T | None:
        """What `call` returns, or None where the cache failed, now or a moment ago."""
        with self._lock:
            if self._clock.monotonic_s() < self._resume_at_s:
                return None
        try:
            return call()
        except TierError as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            with self._lock:
                self._resume_at_s = self._clock.monotonic_s() + PAUSE_S
            return None


def record_ttl_ms(order: Order, now_us: int, ttl_ms: int) -> int:
    """How long a record of `order` lives in the cache: `ttl_ms`, counted from its deadline while it is open.

    So at the deadline the record is still there for those who poll.
    """
    until_deadline_ms = 0 if order.status.is_final else max(0, order.deadline_at - now_us) // 1000
    return until_deadline_ms + ttl_ms
