"""How a named query becomes a statement for MySQL, and how its errors become ours; no server is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pymysql
import pytest
from pymysql.converters import escape_string

from orderctl.contracts import Query, contract_names, contract_text, named_queries, parse_queries
from orderctl.errors import TierError, TierRejected, TierUnavailable
from orderctl.stores.mysql import QUERIES
from orderctl.stores.mysql_deadlines import QUERIES as DEADLINE_QUERIES
from orderctl.stores.mysql_driver import Contended, WaitedInVain, key_bytes, render, translate
from orderctl.stores.mysql_late import QUERIES as LATE_QUERIES
from orderctl.stores.mysql_schema import QUERIES as SCHEMA_QUERIES
from orderctl.stores.mysql_schema import Migration, known_migrations

TOP = Path(__file__).resolve().parents[2]
FILES = (QUERIES, DEADLINE_QUERIES, LATE_QUERIES, SCHEMA_QUERIES)
INSERT = Query("INSERT INTO t (a, b)\nVALUES [[(%(a)s, %(b)s)]], ...\nON DUPLICATE KEY UPDATE b = %(b)s", "")


def quote(value: object) -> str:
    return f"'{escape_string(value)}'" if isinstance(value, str) else str(value)


class TestRender:
    """`render`."""

    def test_a_part_stands_once_for_each_row(self) -> None:
        """With what follows it between the rows, and the statement's own parameters outside of it."""
        rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
        expected = "INSERT INTO t (a, b)\nVALUES (1, 'x'), (2, 'y')\nON DUPLICATE KEY UPDATE b = 'z'"
        assert render(INSERT, quote, {"b": "z"}, rows) == expected

    def test_two_parts_take_the_same_rows(self) -> None:
        """Each with its own separator."""
        query = Query("SELECT 1 IN ([[%(a)s]], ...) FROM ([[SELECT %(a)s AS a]] UNION ALL ...) AS t", "")
        expected = "SELECT 1 IN (1, 2) FROM (SELECT 1 AS a UNION ALL SELECT 2 AS a) AS t"
        assert render(query, quote, {}, [{"a": 1}, {"a": 2}]) == expected

    @pytest.mark.parametrize("text", ["100 %", "%(a)s", "]], ...", "[[x]], ...", "it's \\", "%%"])
    def test_a_value_is_never_taken_for_the_statement(self, text: str) -> None:
        """Whatever is in it, in either place."""
        statement = render(INSERT, quote, {"b": text}, [{"a": 1, "b": text}])
        assert statement.count(quote(text)) == 2
        assert (
            statement.replace(quote(text), "?") == "INSERT INTO t (a, b)\nVALUES (1, ?)\nON DUPLICATE KEY UPDATE b = ?"
        )

    def test_a_per_cent_of_the_statement_is_written_twice(self) -> None:
        """As the driver's own style has it."""
        assert (
            render(Query("SELECT a %% 2 FROM t WHERE b = %(b)s", ""), quote, {"b": 1})
            == "SELECT a % 2 FROM t WHERE b = 1"
        )


class TestErrors:
    """`translate`."""

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (pymysql.err.OperationalError(1213, "Deadlock found"), Contended),
            (pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"), WaitedInVain),
            (pymysql.err.OperationalError(2013, "Lost connection"), TierUnavailable),
            (pymysql.err.OperationalError(2006, "Gone away"), TierUnavailable),
            (pymysql.err.InterfaceError(0, ""), TierUnavailable),
            (pymysql.err.OperationalError(1040, "Too many connections"), TierUnavailable),
            (pymysql.err.OperationalError(1053, "Server shutdown in progress"), TierUnavailable),
            (pymysql.err.OperationalError(1927, "Connection was killed"), TierUnavailable),
            (pymysql.err.OperationalError(4031, "Disconnected because of inactivity"), TierUnavailable),
            (pymysql.err.OperationalError(1290, "running with the --read-only option"), TierUnavailable),
            (pymysql.err.OperationalError(1021, "Disk full"), TierUnavailable),
            (pymysql.err.DataError(1406, "Data too long"), TierRejected),
            (pymysql.err.DataError(1264, "Out of range"), TierRejected),
            (pymysql.err.OperationalError(1366, "Incorrect string value"), TierRejected),
            (pymysql.err.OperationalError(3819, "Check constraint is violated"), TierRejected),
            (pymysql.err.OperationalError(4025, "CONSTRAINT failed"), TierRejected),
            (pymysql.err.IntegrityError(1062, "Duplicate entry"), TierRejected),
            (pymysql.err.ProgrammingError(1064, "You have an error in your SQL syntax"), TierRejected),
        ],
        ids=lambda value: str(value.args[0]) if isinstance(value, Exception) else "",
    )
    def test_each_becomes_one_of_ours(self, error: Exception, expected: type[TierError]) -> None:
        """Unavailable is what may pass; rejected is what will not; the number and the words stay."""
        ours = translate(error)
        assert type(ours) is expected
        assert str(error.args[1]) in str(ours)

    @pytest.mark.parametrize(("code", "hint"), [(1146, "orderctl migrate"), (1142, "grants.sql"), (1045, "password")])
    def test_some_say_what_helps(self, code: int, hint: str) -> None:
        """Those that an operator can do something about."""
        assert hint in str(translate(pymysql.err.OperationalError(code, "no")).hint)

    def test_half_of_a_pair_is_rejected(self) -> None:
        """It has no bytes."""
        with pytest.raises(TierRejected):
            key_bytes("half a pair: \ud800")


class TestFiles:
    """What lies in sql/mysql."""

    def test_the_code_and_the_files_name_the_same_queries(self) -> None:
        """No query is asked for that is not there, and none is there that nobody asks for."""
        sources = "".join(path.read_text("utf-8") for path in (TOP / "orderctl" / "stores").glob("mysql*.py"))
        asked = set(re.findall(r"\[\"(\w+)\"\]", sources))
        known = {name for file in FILES for name in named_queries("sql", file)}
        assert known <= asked
        assert asked - known <= {"merchant_id", "merchant_ref", "order_id", "digest"}  # a claim's own columns

    def test_both_hot_stores_have_the_same_columns(self) -> None:
        """In the same order, so that the code's fields are in both."""
        columns = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)\n\)", re.DOTALL)
        found = [
            {name: re.findall(r"^    ([a-z_]+) +[A-Z]", body, re.MULTILINE) for name, body in columns.findall(text)}
            for text in (contract_text("sql", f"{kind}/hot/0001_orders.sql") for kind in ("mysql", "sqlite"))
        ]
        mysql, sqlite = found
        mysql["deployment"] = [name for name in mysql["deployment"] if name not in {"first_group", "last_group"}]
        assert mysql == sqlite

    def test_migrations_are_numbered(self) -> None:
        """From 1 on, without gaps, and each is one of the folder's files."""
        known = known_migrations()
        names = [f"mysql/hot/{migration.number:04}_{migration.name}.sql" for migration in known]
        assert tuple(names) == contract_names("sql", "mysql/hot/*.sql")

    def test_a_migration_is_cut_into_its_statements(self) -> None:
        """Without comments, and without an empty one at the end."""
        text = "-- one; two\nCREATE TABLE a (b INT -- c;\n);\n\nCREATE TABLE d (e INT);\n-- the end;\n"
        assert Migration(1, "x", text).statements == ("CREATE TABLE a (b INT \n)", "CREATE TABLE d (e INT)")

    def test_bracketed_parts_are_whole(self) -> None:
        """Each opens, closes and says what stands between."""
        text = contract_text("sql", QUERIES)
        for name, query in parse_queries(text, source=QUERIES).items():
            assert query.text.count("[[") == query.text.count("]]") == query.text.count("..."), name
