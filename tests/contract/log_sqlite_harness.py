"""`LogHarness` over SQLite: a file that each `open` opens anew, or one database in memory."""

from __future__ import annotations

import threading
from pathlib import Path

from orderctl.clock import SystemClock
from orderctl.stores.log import Member
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.log import SESSION_S, SqliteLogStore, open_embedded_log
from orderctl.stores.sqlite.schema import LOG


class ShiftedClock(SystemClock):
    """The machine's time, and what was added to it by hand: threads really wait, and nobody waits for a session to end."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._ahead_us / 1_000_000

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        with self._guard:
            self._ahead_us += int(seconds * 1_000_000)


class SqliteLogHarness:
    """In a file every store has connections of its own, as if it were another process's; in memory all share the database."""

    session_s = SESSION_S
    silence_s = 0.5

    def __init__(self, path: Path | None) -> None:
        self.clock = ShiftedClock()
        self._path = path
        self._memory = Database(None, LOG) if path is None else None
        if self._memory is not None:
            self._memory.share()
        self._opened: list[SqliteLogStore] = []

    def open(self, *, session_s: float | None = None) -> SqliteLogStore:
        session_s = session_s or SESSION_S
        if self._memory is not None:
            store = SqliteLogStore(self._memory, clock=self.clock, session_s=session_s)
        else:
            store = open_embedded_log(self._path, clock=self.clock, session_s=session_s)
        self._opened.append(store)
        return store

    def restart(self) -> None:
        for store in self._opened:
            store.close()
        self._opened.clear()

    def now_ms(self) -> int:
        return self.clock.now_us() // 1000

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def lose(self, member: Member) -> None:
        """Nobody polls it from here on, so it is enough that its session ends."""
        self.pass_time(self.session_s)

    def compact(self, topic: str) -> None:
        """Publishing does that."""

    def close(self) -> None:
        """Close what was opened, and let the database go."""
        self.restart()
        if self._memory is not None:
            self._memory.release()
