"""Late results on a real MariaDB: by an index and not by a scan, no part of the change feed, and a reply that was lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderctl.contracts import Query, named_queries
from orderctl.order import Status
from orderctl.stores.late import LateStore
from orderctl.stores.late_rows import late_row
from orderctl.stores.mysql_database import MysqlDatabase
from orderctl.stores.mysql_driver import render
from orderctl.stores.mysql_hot import open_mysql_hot, server_of
from orderctl.stores.mysql_late import QUERIES
from tests.contract.feed_harness import change_all, create_all, events, read_all
from tests.contract.feed_mysql_harness import MysqlFeedHarness
from tests.contract.hot_harness import GROUPS
from tests.contract.late_harness import a_late
from tests.stack import RunningStack, needs

pytestmark = needs("sql")


@pytest.fixture
def harness(stack: RunningStack) -> Iterator[MysqlFeedHarness]:
    """A database of its own, and its feed."""
    harness = MysqlFeedHarness(server_of(stack.config.mysql.shards[0]))
    yield harness
    harness.close()


@pytest.fixture
def late(harness: MysqlFeedHarness) -> Iterator[LateStore]:
    """The late results of that database."""
    hot = open_mysql_hot(harness.server, groups=GROUPS)
    yield hot.late
    hot.close()


def test_no_query_reads_the_table_through(harness: MysqlFeedHarness, late: LateStore) -> None:
    """However small it is; and the oldest are read in the order of their index, without sorting."""
    late.keep([a_late(at=number) for number in range(20)])
    row = {name: _quoted(value) for name, value in late_row(a_late()).items()} | {"count": "9", "groups": "NULL"}
    database = MysqlDatabase(harness.server)
    for name in ("late_of_orders", "oldest_late", "remove_late"):
        statement = render(named_queries("sql", QUERIES)[name], str, row, [row, row]).replace("%", "%%")
        plan = database.read(lambda session, text=statement: session.rows(Query(f"EXPLAIN {text}", "")))  # type: ignore[misc]
        own = [step for step in plan if step[2] in {"late_results", "l"}]
        assert own, plan
        assert not [step for step in own if "ALL" in step[3:5] or "filesort" in str(step[-1])], (name, plan)
    database.close()


def test_they_are_no_changes(harness: MysqlFeedHarness, late: LateStore) -> None:
    """Keeping and removing them is in the binlog and not in the feed, which goes on with the orders."""
    reader = harness.keep(harness.open_feed().open(None))
    store = harness.open_store()
    [order] = create_all(store)
    result = a_late(order.order_id)
    late.keep([result, a_late(order.order_id, status_reason="captured")])
    late.remove([result])
    change_all(store, [order], Status.TIMEOUT)
    assert [(event.op.value, event.order.order_id) for event in events(read_all(reader))] == [
        ("c", order.order_id),
        ("u", order.order_id),
    ]


def _quoted(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return f"'{value}'" if isinstance(value, str) else str(value)
