"""Two thousand races of success against time-out on a real MariaDB, by its own clock and under its row locks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec import structs

from orderctl.clock import US_PER_S, SystemClock
from orderctl.stores.mysql_hot import MysqlHot, open_mysql_hot, server_of
from tests.contract.hot_harness import GROUPS
from tests.contract.hot_mysql_harness import MysqlHarness
from tests.services.late_races import Arena, orders_due_at_once, race, winners
from tests.services.tiers import Bench, open_bench
from tests.stack import RunningStack, needs

pytestmark = needs("sql")


@pytest.fixture
def hot(stack: RunningStack) -> Iterator[MysqlHot]:
    """A database of its own."""
    harness = MysqlHarness(server_of(stack.config.mysql.shards[0]))
    opened = open_mysql_hot(harness.server, groups=GROUPS)
    yield opened
    opened.close()
    harness.close()


@pytest.fixture
def bench(hot: MysqlHot) -> Iterator[Bench]:
    """The services over that database, with cache and archive in memory."""
    with open_bench() as opened:
        bench = Bench(structs.replace(opened.tiers, hot=hot.store, late=hot.late, deadlines=hot.deadlines))
        bench.clock = SystemClock()  # type: ignore[assignment]
        yield bench


def test_of_success_and_time_out_one_wins_and_the_other_is_told(
    bench: Bench, hot: MysqlHot, record_property: Callable[[str, object], None]
) -> None:
    """It begins as the first deadline passes, while the last is still ahead; none is timed out early."""
    command = bench.command()
    order_ids = orders_due_at_once(command)
    first_us = min(order.deadline_at for order in hot.store.load(order_ids) if order is not None)
    bench.clock.wait(threading.Event(), max(0, first_us - bench.clock.now_us()) / US_PER_S)
    told = race(Arena(command, hot.deadlines, hot.store, hot.late), order_ids, seed=11)
    successes, timeouts = winners(told)
    record_property("successes", successes)
    record_property("timeouts", timeouts)
    assert min(successes, timeouts) > 0
