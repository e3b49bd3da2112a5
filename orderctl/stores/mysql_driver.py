"""The one place that knows PyMySQL: how to connect, what its errors mean, and how a named query becomes a statement."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pymysql
from msgspec import Struct
from pymysql.connections import Connection
from pymysql.constants import ER

from orderctl.contracts import Query
from orderctl.errors import OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.secret import Secret

TIER: Final = "hot"
NO_PASSWORD: Final = Secret("")
EACH_MAX: Final = 500
"""So many rows of a batch make one statement; a longer batch makes several, in the same transaction."""

Row = tuple[Any, ...]
Parameters = Mapping[str, object]

# Besides PyMySQL's own: a text with half of a surrogate pair.
DRIVER_ERRORS: Final = (pymysql.Error, UnicodeError)

_MARIADB_TIMEOUT, _MARIADB_KILLED, _MYSQL_TIMEOUT, _MYSQL_IDLE = 1969, 1927, 3024, 4031
_READ_ONLY: Final = frozenset({ER.OPTION_PREVENTS_STATEMENT, 1792, 1836})
# After these the server closes the connection, though it may not have been seen to.
_LAST_WORDS: Final = frozenset(
    {
        _MARIADB_KILLED,
        _MYSQL_IDLE,
        ER.SERVER_SHUTDOWN,
        ER.NORMAL_SHUTDOWN,
        ER.ABORTING_CONNECTION,
        ER.NEW_ABORTING_CONNECTION,
    }
)
_CONTENDED: Final = frozenset({ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.CHECKREAD})
_AWAY: Final = _READ_ONLY | {
    *(_MARIADB_TIMEOUT, _MARIADB_KILLED, _MYSQL_TIMEOUT, _MYSQL_IDLE),
    *(ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED, ER.HOST_IS_BLOCKED, ER.HANDSHAKE_ERROR),
    *(ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.HOST_NOT_PRIVILEGED),
    *(ER.SERVER_SHUTDOWN, ER.NORMAL_SHUTDOWN, ER.QUERY_INTERRUPTED, ER.ABORTING_CONNECTION, ER.NEW_ABORTING_CONNECTION),
    *(ER.OUTOFMEMORY, ER.OUT_OF_RESOURCES, ER.DISK_FULL, ER.RECORD_FILE_FULL, ER.LOCK_TABLE_FULL, ER.GET_ERRNO),
    *(ER.NET_READ_ERROR, ER.NET_READ_INTERRUPTED, ER.NET_ERROR_ON_WRITE, ER.NET_WRITE_INTERRUPTED),
    *(ER.ERROR_DURING_COMMIT, ER.ERROR_DURING_ROLLBACK, ER.ERROR_ON_READ, ER.ERROR_ON_WRITE),
}
# The server's word, in answer to COMMIT, that it has rolled back: chosen as a victim, or made read-only in the meantime.
_NOT_COMMITTED: Final = _READ_ONLY | {ER.LOCK_DEADLOCK}
_HINTS: Final = {
    ER.ACCESS_DENIED_ERROR: "see user and password of this shard in the configuration",
    ER.DBACCESS_DENIED_ERROR: "see sql/mysql/grants.sql for what each daemon may do",
    ER.TABLEACCESS_DENIED_ERROR: "see sql/mysql/grants.sql for what each daemon may do",
    ER.BAD_DB_ERROR: "make the database, then run orderctl migrate",
    ER.NO_SUCH_TABLE: "run orderctl migrate",
}
_CLIENT_ERRORS: Final = range(2000, 3000)
# The identity of the database that answers, for statements that are for one server only. MySQL makes an identity with its data
# directory. MariaDB has none that outlives a new address, so it is what tells servers apart in a replication, and where it is.
# Each of the two servers reads one of the comments. A dump that is restored beside the original is another database.
_IDENTITIES: Final = "/*!80000 @@server_uuid, */ /*M! @@server_id, '@', @@hostname, ':', @@port, */"
_WHO_IS_THERE: Final = f"@orderctl_server = CONCAT({_IDENTITIES} '/', DATABASE())"
_EACH: Final = re.compile(r"\[\[(.+?)\]\](.*?)\.\.\.", re.DOTALL)


class Contended(TierUnavailable):
    """Somebody else holds the rows. Nothing was written, and the transaction can be repeated at once."""


class WaitedInVain(Contended):
    """Somebody else kept the rows for as long as we wait."""


class Stale(TierUnavailable):
    """A connection that had been idle was found broken. Nothing was sent that counts, and a new one may be better."""


class MysqlServer(Struct, frozen=True, kw_only=True):
    """One shard's primary and how to reach it. Times are in seconds.

    With `tls_ca`, a PEM file, the connection is encrypted, the certificate must be of that authority and must name `host`;
    `tls_cert` and `tls_key` are the client's own. Without it nothing is encrypted, rather than encrypted to whomever.

    A statement waits for others' locks for `lock_wait_s` (whole seconds, as InnoDB counts) and for its answer for `answer_s`.
    """

    host: str = "127.0.0.1"
    port: int = 3306
    user: str
    password: Secret = NO_PASSWORD
    database: str
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    connect_s: float = 3.0
    answer_s: float = 10.0
    lock_wait_s: int = 2
    connections_max: int = 16

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return f"{self.host}:{self.port}/{self.database}"


def connect(server: MysqlServer) -> Connection[Any]:
    """A connection in autocommit, READ COMMITTED and strict mode.

    Raises:
        TierUnavailable: the server cannot be reached, or does not let us in.

    """
    try:
        connection = pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password.reveal(),
            database=server.database,
            charset="utf8mb4",
            sql_mode="STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
            init_command=f"SET SESSION innodb_lock_wait_timeout = {int(server.lock_wait_s)}, {_WHO_IS_THERE}",
            autocommit=True,
            connect_timeout=server.connect_s,
            read_timeout=server.answer_s,
            write_timeout=server.answer_s,
            ssl=tls_context(server),
            ssl_disabled=server.tls_ca is None,
            program_name="orderctl",
        )
    except (
        *DRIVER_ERRORS,
        OSError,
        RuntimeError,
    ) as error:  # a CA file; a kind of password that the driver cannot send
        raise TierUnavailable(TIER, f"{server.address}: {_words(error)}", hint=_HINTS.get(_code(error))) from error
    try:
        send(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    except BaseException:
        drop(connection)
        raise
    return connection


def tls_context(server: MysqlServer) -> ssl.SSLContext | None:
    """What verifies the server's certificate and its name; None where no authority is configured.

    Raises:
        OSError: a file cannot be read, or is not what it should be.

    """
    if server.tls_ca is None:
        return None
    context = ssl.create_default_context(cafile=server.tls_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.tls_cert is not None:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    return context


def drop(connection: Connection[Any]) -> None:
    """Let go of a connection, whatever state it is in; the server undoes what was not committed."""
    if connection.open:
        try:
            connection.close()
        except DRIVER_ERRORS:
            return


def send(connection: Connection[Any], statement: str) -> tuple[int, Sequence[Row]]:
    """Run one statement; returns how many rows it changed, and those that it has.

    Raises:
        Contended: a deadlock, or a lock that was not given within `lock_wait_s`.
        TierUnavailable: the database cannot be used now.
        TierRejected: it refuses the statement or the values.

    """
    try:
        with connection.cursor() as cursor:
            changed = cursor.execute(statement)
            return (changed, ()) if cursor.description is None else (0, cursor.fetchall())
    except DRIVER_ERRORS as error:
        _drop_if_broken(connection, error)
        raise translate(error) from error


def commit(connection: Connection[Any]) -> None:
    """Send COMMIT.

    Raises:
        OutcomeUnknown: it was not answered, or by an error that leaves open whether it happened.
        TierUnavailable: the server says that it did not happen.

    """
    try:
        connection.commit()
    except DRIVER_ERRORS as error:
        _drop_if_broken(connection, error)
        if _code(error) in _NOT_COMMITTED:
            raise TierUnavailable(TIER, f"COMMIT was refused: {_words(error)}") from error
        raise OutcomeUnknown(TIER, f"COMMIT was sent, and then: {_words(error)}") from error


def translate(error: Exception) -> TierError:
    """What `error`, raised before COMMIT, is in our words."""
    code = _code(error)
    if code in _CONTENDED:
        return (WaitedInVain if code == ER.LOCK_WAIT_TIMEOUT else Contended)(TIER, _words(error))
    is_away = _is_out_of_step(error) or code in _AWAY or code in _CLIENT_ERRORS
    return (TierUnavailable if is_away else TierRejected)(TIER, _words(error), hint=_HINTS.get(code))


def render(
    query: Query, quote: Callable[[object], str], parameters: Parameters, each: Sequence[Parameters] | None = None
) -> str:
    """The statement's text, every value quoted by `quote`, with its bracketed part once for each row of `each`."""
    shared = {name: quote(value) for name, value in parameters.items()}
    if each is None:
        return query.text % shared

    def repeated(part: re.Match[str]) -> str:
        row, between = part.groups()
        return between.join(row % {name: quote(value) for name, value in values.items()} for values in each)

    pieces: list[str] = []
    end = 0
    # Values may hold per cents and brackets, so each piece of the text is filled in by itself.
    for part in _EACH.finditer(query.text):
        pieces += (query.text[end : part.start()] % shared, repeated(part))
        end = part.end()
    return "".join((*pieces, query.text[end:] % shared))


def key_bytes(text: str) -> bytes:
    """A text as the databases keep it in a key.

    Raises:
        TierRejected: it has no UTF-8.

    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise translate(error) from error


def text_of(value: bytes | str | None) -> str | None:
    """A text that a database keeps in a key; a variable of the session is one in one kind of server and none in the other."""
    return value.decode() if isinstance(value, bytes) else value


def _drop_if_broken(connection: Connection[Any], error: Exception) -> None:
    if _is_out_of_step(error) or _code(error) in _LAST_WORDS:
        drop(connection)


def _is_out_of_step(error: Exception) -> bool:
    """Whether the driver and the server have lost each other's thread: an error of the driver's own, without a number."""
    return isinstance(error, pymysql.err.InterfaceError | pymysql.err.InternalError) and not _code(error)


def _code(error: Exception) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _words(error: Exception) -> str:
    code = _code(error)
    return f"{code}: {error.args[1]}" if code > 0 and len(error.args) > 1 else f"{type(error).__name__}: {error}"
