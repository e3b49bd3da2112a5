"""The reader of contract folders: what it finds, how it reads named queries, and how it refuses what it cannot read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orderctl.contracts import (
    FOLDERS,
    Query,
    contract_names,
    contract_path,
    contract_text,
    named_queries,
    parse_queries,
)
from orderctl.errors import OrderctlError

TOP = Path(__file__).resolve().parents[2]
GOOD = """-- What these are for, in general.

-- name: first
-- The first one.
SELECT 1;

-- name: second_2
-- The second one.
SELECT a, -- with a comment
    b
FROM t
WHERE text = ';';
"""


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_is_found(folder: str) -> None:
    """In a checkout beside the package, and each with a README."""
    assert contract_path(folder).is_dir()
    assert contract_text(folder, "README.md").startswith("# ")


def test_files_are_listed_in_order() -> None:
    """By a glob, relative to the folder, and only files."""
    names = contract_names("sql", "sqlite/hot/*.sql")
    assert names[0] == "sqlite/hot/0001_orders.sql"
    assert list(names) == sorted(names)
    assert contract_names("sql", "sqlite/*") == tuple(
        name for name in contract_names("sql", "sqlite/*") if contract_path("sql", name).is_file()
    )
    assert contract_names("sql", "no such folder/*") == ()


@pytest.mark.parametrize("name", ["sqlite/missing.sql", "missing/README.md"])
def test_a_missing_file_is_named(name: str) -> None:
    """And the hint says what to do: the package was not installed whole."""
    with pytest.raises(OrderctlError, match=f"sql/{name} is missing") as caught:
        contract_text("sql", name)
    assert caught.value.hint is not None
    assert "install" in caught.value.hint


def test_an_unknown_folder_is_refused() -> None:
    """The message says which there are."""
    with pytest.raises(OrderctlError, match=r"'lua'.*daemons, http, sql, cql"):
        contract_text("lua", "lookup.lua")


def test_a_folder_is_no_file() -> None:
    """A folder has no text."""
    with pytest.raises(OrderctlError, match="sql/sqlite cannot be read"):
        contract_text("sql", "sqlite")


def test_queries_are_read_by_name() -> None:
    """Each with its text and its description; what stands above the first is for the reader."""
    assert parse_queries(GOOD, source="sql/good.sql") == {
        "first": Query("SELECT 1", "The first one."),
        "second_2": Query("SELECT a, -- with a comment\n    b\nFROM t\nWHERE text = ';'", "The second one."),
    }


def test_queries_of_a_file_are_read_once_and_cannot_be_replaced() -> None:
    """Everybody has the same mapping."""
    queries = named_queries("sql", "sqlite/hot_queries.sql")
    assert queries is named_queries("sql", "sqlite/hot_queries.sql")
    with pytest.raises(TypeError):
        queries["order_by_id"] = Query("", "")  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1;\n", "a statement stands above the first"),
        ("-- name: a\n-- One.\nSELECT 1;\n-- name: a\n-- Two.\nSELECT 2;\n", "two queries are named a"),
        ("-- name:\n-- One.\nSELECT 1;\n", "'' is no name"),
        ("-- name: Two words\n-- One.\nSELECT 1;\n", "'Two words' is no name"),
        ("-- name: a\nSELECT 1;\n", "a has no description"),
        ("-- name: a\n-- \nSELECT 1;\n", "a has no description"),
        ("-- name: a\n-- One.\n", "a has no statement"),
        ("-- name: a\n-- One.\n\n-- name: b\n-- Two.\nSELECT 2;\n", "a has no statement"),
    ],
)
def test_a_query_that_is_not_written_as_agreed_is_refused(text: str, message: str) -> None:
    """The message names the file and the query."""
    with pytest.raises(OrderctlError, match=f"^sql/x.sql: {message}"):
        parse_queries(text, source="sql/x.sql")


def test_an_installed_package_reads_its_own_copy(tmp_path: Path) -> None:
    """A wheel carries the folders inside the package; what lies beside it is not looked at."""
    shutil.copytree(TOP / "orderctl", tmp_path / "orderctl", ignore=shutil.ignore_patterns("__pycache__"))
    for place, text in ((tmp_path / "orderctl" / "contracts_data" / "sql", "packaged"), (tmp_path / "sql", "beside")):
        place.mkdir(parents=True)
        (place / "README.md").write_text(text)
    program = "import sys; from orderctl.contracts import *; sys.stdout.write(contract_text('sql', 'README.md'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "packaged"
