"""The hot database's later migrations: an older file gets them with its orders, and what they are for reads an index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.clock import ManualClock
from orderctl.contracts import contract_text, named_queries
from orderctl.order import Status
from orderctl.stores.rows import id_text
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.hot import QUERIES
from orderctl.stores.sqlite.schema import HOT, migrate
from tests.contract.hot_harness import GROUPS, to

OLD_ORDER = bytes.fromhex("0197b0de5c007abc80000123456789ab")
INSERT_OLD = """
INSERT INTO orders VALUES (:id, 'acme', 'R', 1, 'EUR', 'card', '{}', 'pending', NULL, 1, 10, 10, 20)
"""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, HOT)
        yield connection


def plan(connection: sqlite3.Connection, name: str, **parameters: object) -> str:
    """How SQLite would run a query, a step a line."""
    query = named_queries("sql", QUERIES)[name]
    return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query.text}", parameters))


@pytest.mark.parametrize("name", ["finals", "finals_of_groups"])
def test_final_rows_are_found_by_their_index(connection: sqlite3.Connection, name: str) -> None:
    """Open rows are not looked at, and nothing is sorted."""
    steps = plan(connection, name, updated_at=1, order_id=b"", count=5, groups="[1]")
    assert "SEARCH orders USING INDEX orders_final ((updated_at,order_id)>(?,?))" in steps
    assert "SCAN orders" not in steps
    assert "TEMP B-TREE" not in steps


def test_references_to_be_purged_are_found_by_their_index(connection: sqlite3.Connection) -> None:
    """Those of orders that are here are not looked at."""
    steps = plan(connection, "purge_references", moved_before_us=1, count=5)
    assert "USING COVERING INDEX order_refs_moved (moved_at<?)" in steps
    assert "SCAN order_refs" not in steps
    assert "TEMP B-TREE" not in steps


def test_an_older_database_is_brought_up_with_its_orders(tmp_path: Path) -> None:
    """Its orders go on from where they were, and what changes from then on is in the feed."""
    path = tmp_path / "hot.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(contract_text("sql", HOT.migrations[0]))
        connection.execute(INSERT_OLD, {"id": OLD_ORDER})
        connection.execute("PRAGMA user_version = 1")
    clock = ManualClock()
    hot = open_embedded_hot(path, groups=GROUPS, clock=clock)
    feed = hot.open_feed(shard="0", clock=clock)
    reader = feed.open(None)
    try:
        [order] = hot.store.load([id_text(OLD_ORDER)])
        assert order is not None
        assert reader.read(9, 0.0) == []
        hot.store.change([to(order, Status.SUCCESS)], now_us=30)
        assert len(reader.read(9, 0.0)) == 2
        assert [final.order_id for final in hot.store.finals(None, after=None, limit=9)] == [order.order_id]
    finally:
        reader.close()
        feed.close()
        hot.close()
