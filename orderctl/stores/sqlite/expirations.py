"""What goes out of the embedded cache: who asks takes it, so of several processes one is told."""

from __future__ import annotations

import threading
from typing import Final

from orderctl.clock import US_PER_S, Clock
from orderctl.contracts import named_queries
from orderctl.errors import TierUnavailable
from orderctl.stores.expirations import Expiration, Gone
from orderctl.stores.rows import id_text
from orderctl.stores.sqlite.cache_rules import QUERIES
from orderctl.stores.sqlite.database import Database

TAKE_MAX: Final = 2_000
"""So many of a kind are taken in one transaction."""
TICK_S: Final = 0.05
"""How often whoever waits looks whether something went."""


class SqliteExpirations:
    """`Expirations` over the cache's `Database`, which it shares and, as its last user, closes.

    A timer does nothing by itself: it goes off when somebody asks who is due. What was taken by a process that is killed before
    it told anybody is lost, as it is on Redis.
    """

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._sql = named_queries("sql", QUERIES)
        self._closed = threading.Event()
        database.share()

    def poll(self, wait_s: float) -> list[Expiration]:
        if self._closed.is_set():
            raise TierUnavailable("cache", "nobody listens any more: it was closed")
        until_us = self._elapsed_us() + int(wait_s * US_PER_S)
        while True:
            if found := self._take():
                return found
            left_us = until_us - self._elapsed_us()
            if left_us <= 0 or self._clock.wait(self._closed, min(left_us / US_PER_S, TICK_S)):
                return []

    def deaf(self) -> list[str]:
        return []

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._database.release()

    def _elapsed_us(self) -> int:
        return int(self._clock.monotonic_s() * US_PER_S)

    def _take(self) -> list[Expiration]:
        # Looking needs no turn among the writers.
        with self._database.snapshot() as snapshot:
            some = snapshot.row(self._sql["has_gone"], {"now_us": self._clock.now_us()})
        if some is None or not some[0]:
            return []
        with self._database.transaction() as transaction:
            bounds = {"now_us": self._clock.now_us(), "count": TAKE_MAX}
            due = transaction.rows(self._sql["take_due_timers"], bounds)
            told = transaction.rows(self._sql["take_gone"], bounds)
            swept = transaction.rows(self._sql["sweep"], bounds)
        return [
            *(Expiration(id_text(order_id), Gone.TIMER) for (order_id,) in due),
            *(Expiration(id_text(order_id), Gone(what)) for order_id, what in told),
            *(Expiration(id_text(order_id), Gone.RECORD_EXPIRED) for (order_id,) in swept),
        ]
