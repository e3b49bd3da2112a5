"""Time-outs on a real MariaDB: rows that others hold, how much is read, time zones, and servers that may give no version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from orderctl.contracts import named_queries
from orderctl.order import Order, Status
from orderctl.stores.deadlines import NotDue, Settled, TimedOut
from orderctl.stores.hot import NotPromoted
from orderctl.stores.mysql_deadlines import QUERIES
from orderctl.stores.mysql_driver import render
from orderctl.stores.mysql_hot import MysqlHot, open_mysql_hot
from tests.contract.deadline_harness import HOUR_US, all_due
from tests.contract.hot_harness import GROUPS, PATIENCE_S, to
from tests.contract.hot_mysql_harness import MysqlHarness
from tests.real.mariadb_server import MariadbServer, mariadb, wait_for
from tests.stack import needs

__all__ = ["mariadb"]

pytestmark = needs()

READ_MAX: Final = 20
"""Rows and index entries that a sweep may look at where nothing is due."""

Run = Callable[[str], Any]


@pytest.fixture
def harness(mariadb: MariadbServer) -> Iterator[MysqlHarness]:
    """An empty database."""
    harness = MysqlHarness(mariadb.server)
    yield harness
    harness.close()


@pytest.fixture
def hot(harness: MysqlHarness) -> Iterator[MysqlHot]:
    """What one process has open."""
    hot = open_mysql_hot(harness.server, groups=GROUPS)
    yield hot
    hot.close()


@pytest.fixture
def other(mariadb: MariadbServer, harness: MysqlHarness) -> Iterator[Run]:
    """Another connection to the database, which may hold locks."""
    with mariadb.session(database=harness.server.database) as run:
        yield run


def hold(run: Run, orders: list[Order]) -> None:
    """Lock these rows until the transaction ends."""
    run("BEGIN")
    keys = ", ".join(f"X'{order.order_id.replace('-', '')}'" for order in orders)
    run(f"SELECT version FROM orders WHERE order_id IN ({keys}) FOR UPDATE")


def ids_of(outcomes: list[Any]) -> list[str]:
    """Which orders these outcomes are of."""
    return [outcome.order.order_id for outcome in outcomes]


def test_the_sweep_passes_over_rows_that_others_hold(harness: MysqlHarness, hot: MysqlHot, other: Run) -> None:
    """At once, and however many they are and however early; it comes to those behind them, and to these when they are free."""
    now_us = harness.now_us()
    orders = all_due(hot.store, [now_us - 1_000_000 + number for number in range(30)])
    hold(other, orders[:20])
    assert ids_of(list(hot.deadlines.time_out_overdue(None, limit=7))) == [order.order_id for order in orders[20:27]]
    assert len(hot.deadlines.time_out_overdue(None, limit=7)) == 3
    assert hot.deadlines.time_out_overdue(None, limit=7) == []
    other("COMMIT")
    assert len(hot.deadlines.time_out_overdue(None, limit=30)) == 20


def test_an_event_waits_for_whoever_holds_the_row(harness: MysqlHarness, hot: MysqlHot, other: Run) -> None:
    """And finds what they have decided."""
    [order] = all_due(hot.store, [harness.now_us()])
    hold(other, [order])
    other("UPDATE orders SET status = 'success', version = version + 1")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(hot.deadlines.time_out, [order.order_id])
        waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        wait_for(lambda: other(waiting), "it waits for the lock")
        other("COMMIT")
        assert asked.result(PATIENCE_S) == [Settled()]
    [stored] = hot.store.load([order.order_id])
    assert stored is not None
    assert stored.status is Status.SUCCESS


@pytest.mark.parametrize("groups", [None, "1" * (GROUPS // 2)], ids=["all groups", "some groups"])
def test_a_look_for_what_is_overdue_reads_little(
    harness: MysqlHarness, hot: MysqlHot, other: Run, groups: str | None
) -> None:
    """However many orders are open and not due, and however many final ones are still there."""
    now_us = harness.now_us()
    final = all_due(hot.store, [now_us - HOUR_US] * 500)
    hot.store.change([to(order, Status.FAILED) for order in final], now_us=now_us)
    all_due(hot.store, [now_us + HOUR_US] * 1_000)
    wish = {"deadline_at": -1, "order_id": b"", "count": 500, "late_by_us": 0, "groups": groups}
    other("FLUSH STATUS")
    assert not other(render(named_queries("sql", QUERIES)["overdue"], _quoted, wish))
    read = {name: int(number) for name, number in other("SHOW SESSION STATUS LIKE 'Handler_read%'")}
    assert sum(read.values()) < READ_MAX, read


def test_the_server_s_time_zone_does_not_matter(mariadb: MariadbServer, harness: MysqlHarness) -> None:
    """Nothing is early by hours, and nothing late."""
    with mariadb.session() as run:
        for zone in ("-11:00", "+05:30", "+13:00"):
            run(f"SET GLOBAL time_zone = '{zone}'")
            try:
                hot = open_mysql_hot(harness.server, groups=GROUPS)
                now_us = harness.now_us()
                past, future = all_due(hot.store, [now_us - 1_000, now_us + 60_000_000])
                [done, not_due] = hot.deadlines.time_out([past.order_id, future.order_id])
                assert isinstance(done, TimedOut)
                assert isinstance(not_due, NotDue)
                assert 0 < done.late_us < PATIENCE_S * 1_000_000
                assert 0 < not_due.due_in_us <= 60_000_000
                assert hot.deadlines.time_out_overdue(None, limit=9) == []
                hot.close()
            finally:
                run("SET GLOBAL time_zone = 'SYSTEM'")


def test_another_server_than_the_epoch_s_times_nothing_out(harness: MysqlHarness, hot: MysqlHot, other: Run) -> None:
    """It may lag behind the one that was promoted; what is not due is still told."""
    now_us = harness.now_us()
    due, later = all_due(hot.store, [now_us, now_us + HOUR_US])
    other("UPDATE deployment SET epoch_server = 'another'")
    for call in (
        lambda: hot.deadlines.time_out([due.order_id]),
        lambda: hot.deadlines.time_out_overdue(None, limit=9),
    ):
        with pytest.raises(NotPromoted, match="another"):
            call()
    [outcome] = hot.deadlines.time_out([later.order_id])
    assert isinstance(outcome, NotDue)
    assert hot.store.load([due.order_id]) == [due]


def _quoted(value: object) -> str:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)
