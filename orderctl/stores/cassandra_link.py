"""A connection that is made when it is needed: a process may start, and go on, while the archive is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from orderctl.clock import Clock
from orderctl.errors import ConfigError, TierUnavailable
from orderctl.stores.cassandra_driver import CLOSED, TIER, CassandraConnection

PAUSE_S: Final = 1.0
"""After an attempt that failed, so long nobody tries: each call would pay the time-out anew."""


class CassandraLink:
    """Connects by `open_` where `connection` is none, and again after it failed; the driver keeps it then. For several threads.

    While one thread connects, others wait for it, `patience_s` at most.
    """

    def __init__(
        self,
        open_: Callable[[], CassandraConnection],
        connection: CassandraConnection | None = None,
        *,
        clock: Clock,
        patience_s: float,
    ) -> None:
        self._open = open_
        self._clock = clock
        self._patience_s = patience_s
        self._guard = threading.Lock()
        self._connection = connection
        self._is_closed = False
        self._failure: TierUnavailable | None = None
        self._try_again_at_s = 0.0

    def get(self) -> CassandraConnection:
        """The connection.

        Raises:
            TierUnavailable: there is none, or it was closed.

        """
        connection = self._connection
        if connection is not None:
            return connection
        if not self._guard.acquire(timeout=self._patience_s):
            raise TierUnavailable(TIER, f"no connection for {self._patience_s:g} s")
        try:
            self._connection = self._connect() if self._connection is None else self._connection
            return self._connection
        finally:
            self._guard.release()

    def close(self) -> None:
        """Let go of it, for ever."""
        self._is_closed = True
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> CassandraConnection:
        if self._is_closed:
            raise TierUnavailable(TIER, CLOSED)
        if self._failure is not None and self._clock.monotonic_s() < self._try_again_at_s:
            raise TierUnavailable(TIER, self._failure.message, hint=self._failure.hint)
        try:
            return self._open()
        except (TierUnavailable, ConfigError) as error:
            # The operator may be about to migrate: a process that runs waits for that, as it does for a node.
            self._failure = TierUnavailable(TIER, error.message, hint=error.hint)
            self._try_again_at_s = self._clock.monotonic_s() + PAUSE_S
            raise self._failure from error
