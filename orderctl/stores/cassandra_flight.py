"""Statements that are on their way together, and the wait for all their answers, which always ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Row = tuple[Any, ...]


class Silence(Exception):
    """No answer came, for too long."""


class Flight:
    """Sends statements by `send`, so many at a time, and gathers the rows of each.

    Why not the driver's `execute_concurrent`: it waits without an end for callbacks that never come where the session is closed
    while it waits, since the retry that would report the broken connection is handed to a thread pool that is gone.
    """

    def __init__(
        self, send: Callable[[Any], Any], statements: Sequence[Any], refused: tuple[type[Exception], ...]
    ) -> None:
        self._send = send
        self._refused = refused
        self._waiting: Iterator[tuple[int, Any]] = iter(enumerate(statements))
        self._rows: list[list[Row]] = [[] for _ in statements]
        self._left = len(statements)
        self._error: Exception | None = None
        self._news = threading.Condition()

    def rows(self, *, at_a_time: int, patience_s: float) -> list[list[Row]]:
        """The rows of each statement, once all are answered. After the first error no more are sent.

        Raises:
            Exception: what the driver says of the first that failed, or what it was ended by.
            Silence: none was answered for `patience_s`.

        """
        for _ in range(at_a_time):
            if not self._send_next():
                break
        with self._news:
            while self._left and self._error is None:
                left = self._left
                if not self._news.wait(patience_s) and left == self._left and self._error is None:
                    self._error = Silence(f"no answer for {patience_s:g} s")
        if self._error is not None:
            raise self._error
        return self._rows

    def end(self, error: Exception) -> None:
        """Wait no longer: `error` is why."""
        with self._news:
            self._error = self._error or error
            self._news.notify_all()

    def _send_next(self) -> bool:
        with self._news:
            number, statement = next(self._waiting, (-1, None)) if self._error is None else (-1, None)
        if number < 0:
            return False
        try:
            future = self._send(statement)
        except self._refused as error:
            self.end(error)
            return False
        future.add_callbacks(self._answered, self.end, callback_args=(number,))
        return True

    def _answered(self, rows: Sequence[Row] | None, number: int) -> None:
        with self._news:
            self._rows[number] = list(rows or ())
            self._left -= 1
            if not self._left:
                self._news.notify_all()
        self._send_next()
