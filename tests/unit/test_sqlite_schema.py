"""The embedded databases' migrations and queries: numbered, applied once, and held against the code both ways."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.contracts import Query, contract_path, named_queries
from orderctl.errors import DataDirError
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.deadlines import QUERIES as DEADLINE_QUERIES
from orderctl.stores.sqlite.schema import ARCHIVE, CACHE, HOT, LOG, Schema, make_file, migrate, schema_version

TOP = Path(__file__).resolve().parents[2]
STORES = TOP / "orderctl" / "stores" / "sqlite"
SCHEMAS = [HOT, CACHE, LOG, ARCHIVE]
PROCESSES = 6

OPEN_AT_ONCE = """
import sys
from pathlib import Path
from orderctl.clock import SystemClock
from orderctl.stores.sqlite.embedded import open_embedded_hot

sys.stdin.readline()
open_embedded_hot(Path(sys.argv[1]), groups=64, clock=SystemClock()).close()
"""


def tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.tier)
def test_migrations_are_numbered_without_a_gap(schema: Schema) -> None:
    """The number of a database's schema is the number of the last file that was applied."""
    numbers = [int(re.fullmatch(r"(\d{4})_[a-z_]+\.sql", Path(name).name)[1]) for name in schema.migrations]  # type: ignore[index]
    assert numbers == list(range(1, schema.version + 1))
    assert schema.version >= 1


def queries_of(schema: Schema) -> dict[str, Query]:
    """All that the stores of a tier send, by name; what two of them send by one name is the same."""
    files = [f"sqlite/{schema.tier}_queries.sql", *([DEADLINE_QUERIES] if schema.tier == "hot" else ())]
    found: dict[str, Query] = {}
    for file in files:
        for name, query in named_queries("sql", file).items():
            assert found.setdefault(name, query).text == query.text, name
    return found


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.tier)
def test_every_query_fits_the_schema(schema: Schema) -> None:
    """SQLite can prepare each of them, with the parameters that it names."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, schema)
        for query in queries_of(schema).values():
            parameters = dict.fromkeys(re.findall(r":([a-z_]+)", query.text))
            connection.execute(f"EXPLAIN {query.text}", parameters)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.tier)
def test_the_code_uses_every_query_and_no_other(schema: Schema) -> None:
    """A query that nobody sends is not kept, and a name that is not there is found here and not at run time."""
    known = set(queries_of(schema))
    sources = "".join(path.read_text("utf-8") for path in STORES.glob("*.py"))
    assert known <= set(re.findall(r'"([a-z_]+)"', sources))
    everywhere = {name for each in SCHEMAS for name in queries_of(each)}
    assert set(re.findall(r'sql\["([a-z_]+)"\]', sources)) <= everywhere


def test_python_holds_no_statements() -> None:
    """They are in `sql/`; the code itself says PRAGMA, BEGIN, COMMIT and ROLLBACK."""
    for path in STORES.glob("*.py"):
        found = re.search(r'"(SELECT|INSERT|UPDATE|DELETE|CREATE|REPLACE)\b', path.read_text("utf-8"))
        assert found is None, f"{path.name}: {found}"


def test_a_database_is_migrated_once() -> None:
    """A second time there is nothing to do."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, HOT)
        changes = connection.total_changes
        migrate(connection, HOT)
        assert connection.total_changes == changes
        assert schema_version(connection) == HOT.version
        assert {"orders", "order_refs", "deployment", "api_keys", "heartbeats"} <= tables(connection)


def test_a_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """All of them are applied or none, so that the next start begins where this one did."""
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE heartbeats (in_the_way INTEGER)")
        with pytest.raises(sqlite3.OperationalError, match="heartbeats"):
            migrate(connection, HOT)
        assert tables(connection) == {"heartbeats"}
        assert schema_version(connection) == 0
        assert not connection.in_transaction


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """The message says both numbers, and the database is left as it is."""
    path = tmp_path / "hot.db"
    Database(path, HOT).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {HOT.version + 1}")
    with pytest.raises(DataDirError, match=f"schema {HOT.version + 1}.*up to {HOT.version}"):
        Database(path, HOT)


def test_a_file_appears_complete(tmp_path: Path) -> None:
    """What a killed maker left is swept away, and the new file is whole, alone and its owner's only."""
    path = tmp_path / "hot.db"
    for leftover in ("hot.db.new", "hot.db.new-wal", "hot.db.new-journal"):
        (tmp_path / leftover).write_bytes(b"half of something")
    make_file(path, HOT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hot.db"]
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    make_file(path, HOT)
    assert path.read_bytes() == before
    assert contract_path("sql", HOT.migrations[0]).is_file()


def test_processes_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    """Each of them finds it ready, whoever was first."""
    path = tmp_path / "hot.db"
    command = [sys.executable, "-c", OPEN_AT_ONCE, str(path)]
    children = [
        subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    ends = [(child.communicate(timeout=60)[1], child.returncode) for child in children]
    assert ends == [("", 0)] * PROCESSES
    with closing(sqlite3.connect(path)) as connection:
        assert schema_version(connection) == HOT.version
        assert connection.execute("SELECT group_count FROM deployment").fetchall() == [(64,)]
