"""The connection over which a server sends its binlog: what it must be set to, how the stream is asked for, and how it ends.

PyMySQL opens the connection and logs in; from the command that asks for the stream on, the socket is read here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from struct import pack
from typing import Any, Final, NoReturn, TypeVar

import pymysql
from pymysql.connections import Connection
from pymysql.constants import COMMAND

from orderctl.clock import Clock
from orderctl.contracts import named_queries
from orderctl.errors import TierError, TierRejected, TierUnavailable
from orderctl.stores.binlog_events import NEWS, Event, EventParser, ServerError
from orderctl.stores.binlog_positions import MariadbPosition, MysqlPosition, parse_mariadb, parse_mysql
from orderctl.stores.feed import FeedPurged
from orderctl.stores.mysql_driver import DRIVER_ERRORS, TIER, MysqlServer, Row, connect, drop, render, send, translate

QUERIES: Final = "mysql/feed_queries.sql"
SEARCH_S: Final = 60.0
"""How long a server may be silent while it looks for the position in a large file."""
WRITE_TIMEOUT_S: Final = 600
"""How long the server waits for a reader that is busy with something else, such as a log that is away."""
RECEIVE_BYTES: Final = 1 << 20

_COM_BINLOG_DUMP_GTID: Final = 30
_DUMP_FROM: Final = 4
_DUMP_BY_GTID: Final = 4
_NOTHING_YET: Final = (TimeoutError, BlockingIOError, ssl.SSLWantReadError)
_FATAL_READING: Final = 1236
_ACCESS_DENIED: Final = 1227
_GRANTS: Final = "the user needs REPLICATION SLAVE and REPLICATION CLIENT (in MariaDB, BINLOG MONITOR) on *.*"
_PURGED: Final = (
    "purged",
    "not in the master's binlog",
    "more gtids",
    "could not find next log",
    "could not find gtid",
)
_SETTINGS: Final = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "gtid_mode": "ON",
    "log_bin_compress": "OFF",
    "binlog_transaction_compression": "OFF",
}
_WHEN_ABSENT: Final = {"gtid_mode": "ON", "log_bin_compress": "OFF", "binlog_transaction_compression": "OFF"}

AnyPosition = MariadbPosition | MysqlPosition
P = TypeVar("P", MariadbPosition, MysqlPosition)


class EventStream:
    """A stream that has begun. Not for several threads."""

    def __init__(self, connection: Connection[Any], *, clock: Clock, silence_max_s: float) -> None:
        self._connection = connection
        self._socket = connection._sock  # type: ignore[attr-defined]  # noqa: SLF001 - PyMySQL has no other way to it
        self._clock = clock
        self._silence_max_s = silence_max_s
        self._limit_s = max(SEARCH_S, silence_max_s)
        self._heard_at_s = clock.monotonic_s()
        self._parser = EventParser()

    def events(self) -> Iterator[Event]:
        """The events that were received and not yet given; it may be left in between.

        Raises:
            FeedPurged: the server no longer has what was asked for, or never had it.
            TierError: the server ended the stream.

        """
        try:
            for event in iter(self._parser.next, None):
                if event.kind in NEWS:
                    self._limit_s = self._silence_max_s
                yield event
        except ServerError as error:
            raise _ended(error.packet) from error

    def receive(self, wait_s: float) -> None:
        """Wait up to `wait_s` for more.

        Raises:
            TierUnavailable: the connection is lost, or nothing came for so long that it must be.

        """
        silent_s = self._clock.monotonic_s() - self._heard_at_s
        try:
            self._socket.settimeout(max(0.0, min(wait_s, self._limit_s - silent_s)))
            data = self._socket.recv(RECEIVE_BYTES)
        except _NOTHING_YET:
            silent_s = self._clock.monotonic_s() - self._heard_at_s
            if silent_s >= self._limit_s:
                raise TierUnavailable(TIER, f"nothing came from the binlog for {silent_s:.1f} s") from None
            return
        except OSError as error:
            raise TierUnavailable(TIER, f"the binlog's connection is lost: {error}") from error
        if not data:
            raise TierUnavailable(TIER, "the server closed the binlog's connection")
        self._heard_at_s = self._clock.monotonic_s()
        self._parser.feed(data)

    def close(self) -> None:
        """Let go of the connection; the server notices when it has something to send."""
        drop(self._connection)


def open_stream(
    server: MysqlServer, text: str | None, *, server_id: int, clock: Clock, heartbeat_s: float, silence_max_s: float
) -> tuple[EventStream, AnyPosition, Event]:
    """Ask for what follows the position `text`, or for all there is; returns the stream, the position and the first event.

    Raises:
        FeedPurged: the server no longer has that, or never had it.
        TierRejected: `text` is no position of such a server, or the server's settings make its binlog unreadable.
        TierUnavailable: the server cannot be reached.

    """
    connection = connect(server)
    try:
        settings = {str(name).lower(): str(value) for name, value in _ask(connection, "settings")}
        check_settings(settings)
        is_mariadb = "mariadb" in settings.get("version", "").lower()
        position = (_mariadb_start if is_mariadb else _mysql_start)(connection, text)
        times = {"heartbeat_ns": int(heartbeat_s * 1e9), "write_timeout_s": WRITE_TIMEOUT_S}
        _ask(connection, "announce", times)
        _dump(connection, position, server_id)
        stream = EventStream(connection, clock=clock, silence_max_s=silence_max_s)
        return stream, position, _first(stream, clock, server.answer_s, is_oldest=text is None)
    except BaseException:
        drop(connection)
        raise


def check_settings(settings: Mapping[str, str]) -> None:
    """Whether orders can be read from what a server with these global variables writes.

    Raises:
        TierRejected: they cannot; the hint names the setting.

    """
    for name, wanted in _SETTINGS.items():
        found = settings.get(name, _WHEN_ABSENT.get(name, "absent"))
        if {"1": "ON", "0": "OFF"}.get(found, found.upper()) != wanted:
            raise TierRejected(
                TIER, f"the binlog cannot be read: {name} is {found}", hint=f"set {name} = {wanted} on the server"
            )


def _ask(connection: Connection[Any], name: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
    query = named_queries("sql", QUERIES)[name]
    try:
        return list(send(connection, render(query, connection.escape, parameters or {}))[1])
    except TierRejected as error:
        raise TierRejected(TIER, error.message, hint=error.hint or _GRANTS) from error


def _mariadb_start(connection: Connection[Any], text: str | None) -> MariadbPosition:
    if text is None:
        oldest = _ask(connection, "binlogs")[0][0]
        [(before,)] = _ask(connection, "position_before", {"file": oldest})
        if before is None:
            raise TierUnavailable(TIER, f"{oldest} was purged while a reader was about to begin with it")
        position = parse_mariadb(str(before))
    else:
        position = _parsed(parse_mariadb, text)
    # The server compares it with its binlog when the stream is asked for.
    _ask(connection, "announce_position", {"position": str(position)})
    return position


def _mysql_start(connection: Connection[Any], text: str | None) -> MysqlPosition:
    [(purged_text, executed_text)] = _ask(connection, "kept")
    purged, executed = parse_mysql(purged_text), parse_mysql(executed_text)
    if text is None:
        return purged
    position = _parsed(parse_mysql, text)
    if not position.includes(purged):
        raise _purged(f"the server has purged {purged}, and the checkpoint is at {position}")
    if not executed.includes(position):
        raise _purged(f"the server has come to {executed}, and the checkpoint is at {position}")
    return position


def _parsed(parse: Callable[[str], P], text: str) -> P:
    if not text:
        raise TierRejected(TIER, "an empty text is no position in a binlog")
    try:
        return parse(text)
    except ValueError as error:
        raise TierRejected(TIER, str(error)) from error


def _dump(connection: Connection[Any], position: AnyPosition, server_id: int) -> None:
    """Ask for the stream. MariaDB was told the position before; no file is named to either."""
    if isinstance(position, MysqlPosition):
        packed = position.packed()
        command = _COM_BINLOG_DUMP_GTID
        body = pack("<HIIQI", _DUMP_BY_GTID, server_id, 0, _DUMP_FROM, len(packed)) + packed
    else:
        command = COMMAND.COM_BINLOG_DUMP
        body = pack("<IHI", _DUMP_FROM, 0, server_id)
    try:
        connection._execute_command(command, body)  # type: ignore[attr-defined]  # noqa: SLF001 - PyMySQL offers no public one
    except (*DRIVER_ERRORS, OSError) as error:
        raise TierUnavailable(TIER, f"the binlog could not be asked for: {error}") from error


def _first(stream: EventStream, clock: Clock, wait_s: float, *, is_oldest: bool) -> Event:
    """The event that the server begins with: until it is there, the position may still be refused."""
    deadline_s = clock.monotonic_s() + wait_s
    try:
        while (event := next(stream.events(), None)) is None:
            left_s = deadline_s - clock.monotonic_s()
            if left_s <= 0:
                raise TierUnavailable(TIER, f"the server did not begin to send its binlog in {wait_s} s")
            stream.receive(left_s)
    except FeedPurged as error:
        if is_oldest:
            raise TierUnavailable(TIER, f"the binlog was purged while a reader was about to begin: {error}") from error
        raise
    return event


def _ended(packet: bytes) -> TierError | FeedPurged:
    """What it means that the server sent this packet instead of an event."""
    if packet[:1] != b"\xff":
        return TierUnavailable(TIER, "the server ended the binlog's stream")
    try:
        _raise(packet)
    except DRIVER_ERRORS as error:
        code, words = (*error.args, "")[:2]
        if code == _FATAL_READING:
            if any(word in str(words).lower() for word in _PURGED):
                return _purged(f"the server says: {words}")
            return TierUnavailable(TIER, f"{code}: {words}")
        if code == _ACCESS_DENIED:
            return TierRejected(TIER, f"{code}: {words}", hint=_GRANTS)
        return translate(error)


def _raise(packet: bytes) -> NoReturn:
    pymysql.err.raise_mysql_exception(packet)


def _purged(words: str) -> FeedPurged:
    return FeedPurged(
        words,
        hint="changes behind the checkpoint can no longer be read; keep the binlog longer (binlog_expire_logs_seconds),"
        " and see that this is the database that the checkpoint is of",
    )
