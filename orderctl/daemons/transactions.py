"""`orderctl_transactions_total`: what the hot store counts by itself, as a metric."""

from __future__ import annotations

import threading
from typing import Protocol

from orderctl.metrics import Metrics


class Counted(Protocol):
    """What counts its own transactions: the hot store."""

    @property
    def transactions(self) -> int:
        """How many were committed so far."""
        ...


class TransactionCount:
    """Carries the store's count over to the metric. From any thread."""

    def __init__(self, hot: Counted, metrics: Metrics) -> None:
        self._hot = hot
        self._counter = metrics.transactions.labels("mysql")
        self._lock = threading.Lock()
        self._counted = 0

    def update(self) -> None:
        """Count what was committed since the last time."""
        with self._lock:
            committed = self._hot.transactions
            self._counter.inc(committed - self._counted)
            self._counted = committed
