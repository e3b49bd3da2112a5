"""One MySQL server behind BEGIN and COMMIT: a small pool of connections, and the rule for when a transaction is repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from pymysql.connections import Connection

from orderctl.contracts import Query
from orderctl.errors import TierUnavailable
from orderctl.stores.hot import do_nothing
from orderctl.stores.mysql_driver import (
    EACH_MAX,
    TIER,
    Contended,
    MysqlServer,
    Parameters,
    Row,
    Stale,
    WaitedInVain,
    commit,
    connect,
    drop,
    render,
    send,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ATTEMPTS_MAX: Final = 10
"""InnoDB ends a deadlock at once, by undoing one side; what is repeated meets others who are on their way out."""
LOCK_WAITS_MAX: Final = 2
"""A lock that was not given within `lock_wait_s` is waited for once more."""


class Session:
    """What runs between BEGIN and COMMIT, or a statement by itself. Only `MysqlDatabase` makes one."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self.wrote = False

    def rows(
        self, query: Query, parameters: Parameters | None = None, *, each: Sequence[Parameters] | None = None
    ) -> list[Row]:
        """Run a statement, for a batch in pieces of `EACH_MAX`; returns all its rows. An empty batch is nothing to do.

        Raises:
            TierUnavailable: the database cannot be used now.
            TierRejected: it refuses the statement or the values.

        """
        return [row for _, rows in self._run(query, parameters, each) for row in rows]

    def row(self, query: Query, parameters: Parameters | None = None) -> Row | None:
        """As `rows`, for a statement that has one row or none."""
        found = self.rows(query, parameters)
        return found[0] if found else None

    def changed(
        self, query: Query, parameters: Parameters | None = None, *, each: Sequence[Parameters] | None = None
    ) -> int:
        """As `rows`, for a statement that writes; returns how many rows are not as they were (a replaced one may count twice)."""
        return sum(changed for changed, _ in self._run(query, parameters, each))

    def execute(self, statement: str) -> None:
        """Run a statement that is no named query: one of a migration."""
        send(self._connection, statement)

    def _run(
        self, query: Query, parameters: Parameters | None, each: Sequence[Parameters] | None
    ) -> Iterator[tuple[int, Sequence[Row]]]:
        pieces = [each] if each is None else [each[at : at + EACH_MAX] for at in range(0, len(each), EACH_MAX)]
        for piece in pieces:
            changed, rows = send(self._connection, render(query, self._connection.escape, parameters or {}, piece))
            self.wrote = self.wrote or changed > 0
            yield changed, rows


class MysqlDatabase:
    """Any thread may use it. At most `connections_max` connections; who finds all of them at work waits for `answer_s`.

    A connection that broke is dropped, and with the first one that is found broken after a rest all that rest: the server
    was restarted, or something between closed what was quiet.
    """

    def __init__(self, server: MysqlServer) -> None:
        """Connects to nothing yet."""
        self.server = server
        self.tier = TIER
        self._seats = threading.BoundedSemaphore(server.connections_max)
        self._guard = threading.Lock()
        self._idle: list[Connection[Any]] = []
        self._users = 0
        self._closed = False

    def write(self, work: Callable[[Session], T], *, before_commit: Callable[[], None] = do_nothing) -> tuple[T, bool]:
        """BEGIN, `work`, `before_commit`, COMMIT: all of it or nothing. Returns `work`'s value, and whether it wrote.

        `work` runs again where it met a deadlock or the like, so it must begin from nothing each time. Nothing is repeated
        once COMMIT was sent. What `work` or `before_commit` raises rolls back and goes on up.

        Raises:
            TierUnavailable: nothing was written.
            TierRejected: nothing was written, and the same again will not be either.
            OutcomeUnknown: COMMIT was sent, and nobody can know whether it happened.

        """

        def attempt(*, fresh: bool) -> tuple[T, bool]:
            with self._connection(fresh=fresh) as connection:
                with self._found_stale(connection):
                    send(connection.driver, "BEGIN")
                return _transact(connection.driver, work, before_commit)

        return self._insist(attempt)

    def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` without a transaction: each statement sees what is committed when it begins, and holds no lock after it.

        Raises:
            TierUnavailable: the database cannot be used now.
            TierRejected: it refuses the statement or the values.

        """

        def attempt(*, fresh: bool) -> T:
            with self._connection(fresh=fresh) as connection, self._found_stale(connection):
                return work(Session(connection.driver))

        return self._insist(attempt)

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
        """Let go of all connections. Transactions that are under way end first; later ones are refused."""
        with self._guard:
            self._closed = True
        self._drop_idle()

    def _insist(self, attempt: _Attempt[T]) -> T:
        fresh, waits = False, 0
        for left in reversed(range(ATTEMPTS_MAX)):
            try:
                return attempt(fresh=fresh)
            except Stale:
                self._drop_idle()
                fresh = True
                if not left:
                    raise
            except Contended as error:
                waits += isinstance(error, WaitedInVain)
                if not left or waits >= LOCK_WAITS_MAX:
                    raise TierUnavailable(self.tier, error.message) from error
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _found_stale(self, connection: _Seated) -> Iterator[None]:
        try:
            yield
        except TierUnavailable as error:
            if connection.has_rested and not connection.driver.open:
                raise Stale(self.tier, error.message) from error
            raise

    @contextmanager
    def _connection(self, *, fresh: bool) -> Iterator[_Seated]:
        if not self._seats.acquire(timeout=self.server.answer_s):
            raise TierUnavailable(self.tier, f"no connection was free within {self.server.answer_s:g} s")
        try:
            with self._guard:
                if self._closed:
                    raise TierUnavailable(self.tier, "the database is closed")
                resting = self._idle.pop() if self._idle and not fresh else None
            connection = resting or connect(self.server)
            try:
                yield _Seated(connection, resting is not None)
            except Exception:
                self._put_back(connection)
                raise
            except BaseException:
                # Whoever was interrupted may have left half an answer in the connection.
                drop(connection)
                raise
            self._put_back(connection)
        finally:
            self._seats.release()

    def _put_back(self, connection: Connection[Any]) -> None:
        if not connection.open:
            return
        with self._guard:
            if not self._closed:
                self._idle.append(connection)
                return
        drop(connection)

    def _drop_idle(self) -> None:
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            drop(connection)


class _Attempt(Protocol[T_co]):
    """One try, on a `fresh` connection or on one that has rested."""

    def __call__(self, *, fresh: bool) -> T_co:
        """Make it."""
        ...


class _Seated(NamedTuple):
    driver: Connection[Any]
    has_rested: bool


def _transact(
    connection: Connection[Any], work: Callable[[Session], T], before_commit: Callable[[], None]
) -> tuple[T, bool]:
    session = Session(connection)
    try:
        result = work(session)
        before_commit()
    except Exception:
        _roll_back(connection)
        raise
    if session.wrote:
        commit(connection)
    else:
        _roll_back(connection)  # There is nothing to commit, so nothing can be unknown about it.
    return result, session.wrote


def _roll_back(connection: Connection[Any]) -> None:
    """Undo what was begun; a connection that cannot is dropped, and the server undoes it then."""
    if not connection.open:
        return
    try:
        send(connection, "ROLLBACK")
    except TierUnavailable:
        drop(connection)
