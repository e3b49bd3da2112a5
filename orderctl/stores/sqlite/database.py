"""An embedded database: a file that several processes have open, or memory, behind BEGIN and COMMIT."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from orderctl.errors import TierUnavailable
from orderctl.stores.sqlite.driver import (
    BUSY_WAIT_S,
    DRIVER_ERRORS,
    PATIENCE_S,
    Transaction,
    insist,
    require_sqlite,
    roll_back,
    translate,
    translate_at_commit,
)
from orderctl.stores.sqlite.schema import Schema, make_file, migrate

Synchronous = Literal["FULL", "NORMAL"]


class Database:
    """SQLite in WAL mode: readers never wait, writers take turns, and a killed process leaves every commit whole.

    Any thread may use it. A connection serves one transaction at a time and is kept for the next, so there are about as many
    as there are threads at work. In memory there is one, and transactions take turns.
    """

    def __init__(
        self,
        path: Path | None,
        schema: Schema,
        *,
        synchronous: Synchronous = "FULL",
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Open the file at `path`, make it where there is none, and bring it to the newest schema; None is in memory.

        With `synchronous` FULL a commit is on the disk when it returns; with NORMAL a loss of power may undo the last ones,
        and the file stays sound. A writer waits for other writers for `patience_s` or so, in this process and then in others.

        Raises:
            TierUnavailable: the file cannot be opened or made.
            DataDirError: it is of a newer schema.

        """
        require_sqlite()
        self.tier = schema.tier
        self._path = path
        self._synchronous = synchronous
        self._patience_s = patience_s
        self._writer = threading.Lock()
        self._guard = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._users = 0
        self._closed = False
        try:
            self._set_up(schema)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self, *, before_commit: Callable[[], None] | None = None) -> Iterator[Transaction]:
        """BEGIN IMMEDIATE … COMMIT: all of it or nothing. It must not be begun inside another one.

        `before_commit` runs right before COMMIT. What it or the body raises rolls back and goes on up.

        Raises:
            TierUnavailable: nothing was written.
            OutcomeUnknown: COMMIT failed in a way that leaves open whether it happened.

        """
        with self._turn(), self._connection() as connection:
            self._begin(connection, "BEGIN IMMEDIATE")
            yield (transaction := Transaction(connection, self.tier))
            if before_commit is not None:
                before_commit()
            self._commit(connection, transaction)

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """One committed state to read from, however many statements that takes. It must not be used to write."""
        if self._path is None:
            with self._turn(), self._connection() as connection:
                yield Transaction(connection, self.tier)
            return
        with self._connection() as connection:
            self._begin(connection, "BEGIN")
            yield Transaction(connection, self.tier)

    def share(self) -> None:
        """Count one more user; each of them calls `release` once."""
        with self._guard:
            self._users += 1

    def release(self) -> None:
        """One user less; the last one closes."""
        with self._guard:
            self._users -= 1
            last = self._users <= 0
        if last:
            self.close()

    def close(self) -> None:
        """Let go of the file. Transactions that are under way end first; later ones are refused."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _set_up(self, schema: Schema) -> None:
        try:
            if self._path is not None:
                make_file(self._path, schema)
            with self._connection() as connection:
                if self._path is not None:
                    insist(connection, "PRAGMA journal_mode = WAL")
                migrate(connection, schema)
        except sqlite3.Error as error:
            raise translate(self.tier, error) from error
        except OSError as error:
            raise TierUnavailable(self.tier, f"cannot make {self._path}: {error.strerror}") from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # SQLite's writers would poll for each other; threads of one process can wait in line.
        if not self._writer.acquire(timeout=self._patience_s):
            raise TierUnavailable(self.tier, f"no turn to write within {self._patience_s:g} s")
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            if self._closed:
                raise TierUnavailable(self.tier, "the database is closed")
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._put_back(connection)

    def _put_back(self, connection: sqlite3.Connection) -> None:
        try:
            roll_back(connection)
        except sqlite3.Error:
            # Whatever it is still in the middle of, SQLite undoes when it is closed.
            connection.close()
            return
        with self._guard:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: a file that somebody has moved away is not made anew, empty.
        target = ":memory:" if self._path is None else f"{self._path.resolve().as_uri()}?mode=rw"
        try:
            connection = sqlite3.connect(
                target, uri=self._path is not None, timeout=BUSY_WAIT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise translate(self.tier, error) from error
        try:
            insist(connection, f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.Error as error:
            connection.close()
            raise translate(self.tier, error) from error
        return connection

    def _begin(self, connection: sqlite3.Connection, statement: str) -> None:
        try:
            insist(connection, statement, patience_s=self._patience_s)
        except DRIVER_ERRORS as error:
            raise translate(self.tier, error) from error

    def _commit(self, connection: sqlite3.Connection, transaction: Transaction) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise translate_at_commit(self.tier, error) if transaction.wrote else translate(self.tier, error) from error
