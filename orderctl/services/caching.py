"""What the services do with the cache: calls that may fail, because it holds no truth, and how long a record lives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from orderctl.clock import Clock
from orderctl.errors import TierError, TierUnavailable
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.stores.cache import NodesAway, Put
from orderctl.stores.record import record_of

T = TypeVar("T")

PAUSE_S = 1.0
"""So long a cache that failed as a whole is not asked again, so that its time-outs are not paid by every batch."""


class BestEffort:
    """Runs cache calls whose failure is counted and otherwise ignored. For several threads.

    After a failure the cache is left alone for `PAUSE_S`, unless it was some nodes': those who ask the others are not to go
    without an answer for that.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._resume_at_s = 0.0

    def run(self, call: Callable[[], T]) -> T | None:
        """What `call` returns, or None where the cache failed, now or a moment ago."""
        found = self._try(call)
        return None if isinstance(found, TierError) else found

    def each(self, call: Callable[[], list[T]], items: Sequence[object]) -> list[T | TierError]:
        """For each of `items`, of which `call` asks, what it returns for it, or why the cache did not say."""
        if not items:
            return []
        found = self._try(call)
        if isinstance(found, NodesAway):
            return list(found.outcomes)
        return [found] * len(items) if isinstance(found, TierError) else [*found]

    def _try(self, call: Callable[[], T]) -> T | TierError:
        with self._lock:
            if self._clock.monotonic_s() < self._resume_at_s:
                return TierUnavailable("cache", "it failed a moment ago, and is left alone for now")
        try:
            return call()
        except TierError as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            if not isinstance(error, NodesAway):
                with self._lock:
                    self._resume_at_s = self._clock.monotonic_s() + PAUSE_S
            return error


def puts_of(orders: Sequence[Order], *, now_us: int, ttl_ms: int) -> list[Put]:
    """What the cache is given of committed orders: each with its record's time to live."""
    return [Put(record_of(order), record_ttl_ms(order, now_us, ttl_ms)) for order in orders]


def record_ttl_ms(order: Order, now_us: int, ttl_ms: int) -> int:
    """How long a record of `order` lives in the cache: `ttl_ms`, counted from its deadline while it is open.

    So at the deadline the record is still there for those who poll.
    """
    until_deadline_ms = 0 if order.status.is_final else max(0, order.deadline_at - now_us) // 1000
    return until_deadline_ms + ttl_ms
