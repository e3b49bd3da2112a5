"""The archive's CQL and the words of its driver, held against the code both ways; no server is needed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import cassandra as driver  # type: ignore[import-untyped]
import pytest
from cassandra.cluster import NoHostAvailable  # type: ignore[import-untyped]
from cassandra.connection import ConnectionShutdown  # type: ignore[import-untyped]
from cassandra.protocol import OverloadedErrorMessage, SyntaxException  # type: ignore[import-untyped]
from msgspec import structs

from orderctl.clock import ManualClock
from orderctl.contracts import named_queries
from orderctl.errors import ConfigError, TierError, TierRejected, TierUnavailable
from orderctl.order import Order
from orderctl.stores.cassandra import QUERIES
from orderctl.stores.cassandra_driver import CassandraAccess, CassandraConnection, translate
from orderctl.stores.cassandra_flight import Flight, Silence
from orderctl.stores.cassandra_link import PAUSE_S, CassandraLink
from orderctl.stores.cassandra_schema import QUERIES as SCHEMA_QUERIES
from orderctl.stores.cassandra_schema import Keyspace, Layout, known_migrations, migrate_archive

STORES = Path(__file__).resolve().parents[2] / "orderctl" / "stores"
ACCESS = CassandraAccess(keyspace="k")
KEYSPACE = Keyspace(layout=Layout(groups=64), replication={"datacenter1": 3})
VALUES = {"keyspace": "k", "replication": "{}", "compaction": "{}", "retention_s": 0}


def sources() -> str:
    return "".join(path.read_text("utf-8") for path in STORES.glob("cassandra*.py"))


def test_every_statement_of_a_migration_can_be_repeated() -> None:
    """Nothing undoes what a migration had done when it was killed, so it is begun again."""
    for migration in known_migrations():
        statements = migration.statements(VALUES)
        assert statements
        for statement in statements:
            assert re.search(r"\bIF (NOT )?EXISTS\b", statement), statement
            assert "$" not in statement


def test_no_table_is_compacted_by_write_time() -> None:
    """Write timestamps are versions here."""
    text = sources() + "".join(statement for m in known_migrations() for statement in m.statements(VALUES))
    assert not re.search(r"'?TimeWindow|DateTiered", text)


def test_the_code_uses_every_query_and_no_other() -> None:
    """A query that nobody sends is not kept, and a name that is not there is found here and not at run time."""
    known = {*named_queries("cql", QUERIES), *named_queries("cql", SCHEMA_QUERIES)}
    used = set(re.findall(r'(?:ask|bind)\(\s*"([a-z_]+)"', sources()))
    assert used == known


def test_python_holds_no_statements() -> None:
    """They are in `cql/`."""
    assert not re.search(r'"(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|TRUNCATE|BEGIN)\b', sources())


def test_an_order_is_written_and_read_whole() -> None:
    """Every field is a column that is written, and they are read in the order of the fields."""
    fields = list(Order.__struct_fields__)
    insert, select = (named_queries("cql", QUERIES)[name].text for name in ("archive_order", "archived_orders"))
    columns, values = re.findall(r"\(([^)]+)\)", insert)
    names = re.findall(r"\w+", columns)
    assert names == ["order_group", "slot", *fields]
    assert re.findall(r":(\w+)", values) == names
    assert re.findall(r"\w+", select.partition("FROM")[0])[1:] == fields


@pytest.mark.parametrize("name", ["archive_order", "archive_reference"])
def test_what_is_inserted_carries_its_version(name: str) -> None:
    """As its write timestamp: the node's clock says nothing about which state of an order is the newer one."""
    assert named_queries("cql", QUERIES)[name].text.endswith("USING TIMESTAMP :version")


@pytest.mark.parametrize(
    ("slot_s", "created_ms", "slot"),
    [(3600, 7_199_999, 3600), (3600, 7_200_000, 7200), (60, 7_259_999, 7200), (7, 6_999, 0)],
)
def test_a_slot_is_named_by_its_beginning(slot_s: int, created_ms: int, slot: int) -> None:
    """In Unix seconds; an order that was created at its end belongs to the next."""
    assert Layout(groups=64, slot_s=slot_s).partition(5, created_ms) == (5, slot)


@pytest.mark.parametrize(
    ("access", "keyspace"),
    [
        (structs.replace(ACCESS, keyspace="k; DROP KEYSPACE x"), KEYSPACE),
        (structs.replace(ACCESS, keyspace="K"), KEYSPACE),
        (ACCESS, structs.replace(KEYSPACE, layout=Layout(groups=63))),
        (ACCESS, structs.replace(KEYSPACE, layout=Layout(groups=64, slot_s=0))),
        (ACCESS, structs.replace(KEYSPACE, retention_s=-1)),
        (ACCESS, structs.replace(KEYSPACE, replication={})),
        (ACCESS, structs.replace(KEYSPACE, replication={"dc'": 1})),
        (ACCESS, structs.replace(KEYSPACE, replication={"dc": 0})),
    ],
)
def test_a_keyspace_that_cannot_be_is_refused(access: CassandraAccess, keyspace: Keyspace) -> None:
    """Before anybody is asked."""
    with pytest.raises(ConfigError):
        migrate_archive(access, keyspace, clock=ManualClock())


@pytest.mark.parametrize(
    "error",
    [
        NoHostAvailable("none", {}),
        NoHostAvailable("none", {"127.0.0.1": driver.OperationTimedOut()}),
        NoHostAvailable("none", ["127.0.0.1"]),
        driver.OperationTimedOut(),
        driver.Unavailable("too few"),
        driver.WriteTimeout("slow", write_type=driver.WriteType.SIMPLE),
        driver.ReadTimeout("slow"),
        driver.WriteFailure("failed", write_type=driver.WriteType.SIMPLE),
        driver.AuthenticationFailed("no"),
        OverloadedErrorMessage(0x1001, "overloaded", None),
        ConnectionShutdown("gone"),
        RuntimeError("cannot schedule new futures after shutdown"),
        Silence("no answer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_by_itself_is_unavailable(error: Exception) -> None:
    """A write that timed out, too: writing it again is harmless, so nobody need know whether it happened."""
    translated = translate(error)
    assert type(translated) is TierUnavailable
    assert translated.tier == "archive"
    assert translated.message


@pytest.mark.parametrize(
    "error",
    [
        driver.InvalidRequest("unconfigured table"),
        driver.Unauthorized("no"),
        driver.AlreadyExists("k", "t"),
        SyntaxException(0x2000, "what?", None),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_does_not_pass_is_rejected(error: Exception) -> None:
    """Trying again does not help."""
    assert type(translate(error)) is TierRejected


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (NoHostAvailable("none", {"h": driver.AuthenticationFailed("no")}), "password"),
        (NoHostAvailable("none", {}), "datacenter"),
        (driver.Unauthorized("no"), "role"),
        (driver.InvalidRequest("unconfigured table"), "migrate"),
    ],
)
def test_a_hint_says_what_to_look_at(error: Exception, hint: str) -> None:
    """Where the driver's words do not."""
    assert hint in str(translate(error).hint)


class Answer:
    """What the driver gives for a statement that was sent: it answers at once, later, or never."""

    def __init__(self, rows: list[tuple[int]] | None, error: Exception | None = None) -> None:
        self._rows = rows
        self._error = error

    def add_callbacks(
        self, callback: Callable[..., None], errback: Callable[[Exception], None], *, callback_args: tuple[int]
    ) -> None:
        """Answer at once."""
        if self._error is not None:
            errback(self._error)
        elif self._rows is not None:
            callback(self._rows, *callback_args)


def test_answers_come_in_the_order_of_the_statements() -> None:
    """However many are sent at a time."""
    flight = Flight(lambda statement: Answer([(statement,)]), range(50), ())
    assert flight.rows(at_a_time=7, patience_s=5) == [[(number,)] for number in range(50)]


def test_after_an_error_no_more_are_sent() -> None:
    """Whether the driver raises it at once or gives it as an answer."""
    sent: list[int] = []

    def answer(statement: int) -> Answer:
        sent.append(statement)
        return Answer([], ValueError("no") if statement == 3 else None)

    with pytest.raises(ValueError, match="no"):
        Flight(answer, range(50), ()).rows(at_a_time=2, patience_s=5)
    assert sent == [0, 1, 2, 3]

    def refuse(_: int) -> Answer:
        raise KeyError

    with pytest.raises(KeyError):
        Flight(refuse, range(50), (KeyError,)).rows(at_a_time=2, patience_s=5)


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    """The driver's own time-out may never come either: its event loop ends with its last connection."""
    with pytest.raises(Silence):
        Flight(lambda _: Answer(None), range(5), ()).rows(at_a_time=2, patience_s=0.01)


def test_after_an_attempt_that_failed_nobody_tries_for_a_while() -> None:
    """Each is told at once why; a schema that is not there yet is waited for as well."""
    clock, attempts = ManualClock(), list[TierError | ConfigError]()
    failures = [ConfigError("no schema"), TierUnavailable("archive", "no node")]

    def open_() -> CassandraConnection:
        attempts.append(failures[len(attempts)])  # type: ignore[arg-type]
        raise attempts[-1]

    link = CassandraLink(open_, clock=clock, patience_s=1)
    for _ in range(3):
        with pytest.raises(TierUnavailable, match="no schema"):
            link.get()
    assert len(attempts) == 1
    clock.advance(PAUSE_S)
    with pytest.raises(TierUnavailable, match="no node"):
        link.get()
    link.close()
    link.close()
    clock.advance(PAUSE_S)
    with pytest.raises(TierUnavailable, match="closed"):
        link.get()
    assert len(attempts) == 2


def test_nobody_waits_for_long_for_another_who_connects() -> None:
    """A request has its own time; the one who connects goes on, and closing waits for it."""
    connecting, may_end = threading.Event(), threading.Event()

    def open_() -> CassandraConnection:
        connecting.set()
        assert may_end.wait(60)
        raise TierUnavailable("archive", "no node")

    def connect() -> None:
        with pytest.raises(TierUnavailable, match="no node"):
            link.get()

    link = CassandraLink(open_, clock=ManualClock(), patience_s=0.01)
    first = threading.Thread(target=connect)
    first.start()
    assert connecting.wait(60)
    with pytest.raises(TierUnavailable, match="no connection"):
        link.get()
    may_end.set()
    link.close()
    first.join(60)
    assert not first.is_alive()
