"""The search for an order's last event: newest first, bounded by time and by number, and it says where it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from orderctl import event
from orderctl.clock import US_PER_S, ManualClock
from orderctl.event import ChangeEvent, Op
from orderctl.ids import group_of
from orderctl.order import Order
from orderctl.services.last_event import PAGE, LastEvent, NoEvent, last_event
from orderctl.stores.log import CHANGES, Message, Outgoing, Place, topics
from orderctl.stores.sqlite.log import SqliteLogStore, open_embedded_log
from tests.contract.hot_harness import GROUPS, an_order

WEEK_S = 7 * 86_400


class Reading:
    """A log that notes how much of it was read at a time."""

    def __init__(self, log: SqliteLogStore) -> None:
        self._log = log
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def read(self, place: Place, offset: int, limit: int) -> list[Message]:
        messages = self._log.read(place, offset, limit)
        self.sizes.append(len(messages))
        return messages


@pytest.fixture
def order() -> Order:
    return an_order(version=1)


@pytest.fixture
def clock(order: Order) -> ManualClock:
    """It is now when the order is made."""
    return ManualClock(order.created_at)


@pytest.fixture
def log(clock: ManualClock) -> Iterator[SqliteLogStore]:
    opened = open_embedded_log(None, clock=clock)
    opened.ensure_topics(topics(groups=GROUPS, shards=1))
    yield opened
    opened.close()


def place_of(order: Order) -> Place:
    return Place(CHANGES, group_of(order.order_id, GROUPS))


def messages_of(order: Order, *, count: int = 1, value: bytes | None = None) -> Sequence[Outgoing]:
    """Events of the order in its partition, or messages that say something else."""
    value = event.encode(ChangeEvent(None, order, Op.CREATE)) if value is None else value
    return [Outgoing(place_of(order), order.order_id.encode(), value)] * count


def others(order: Order, count: int) -> Sequence[Outgoing]:
    """Messages about other orders in the same partition."""
    return [Outgoing(place_of(order), b"another", b"value")] * count


def test_the_last_of_several(log: SqliteLogStore, order: Order, clock: ManualClock) -> None:
    """With where it is, and when it was published."""
    log.publish([*messages_of(order), *others(order, 1), *messages_of(order), *others(order, 3)])
    found = last_event(log, order.order_id, groups=GROUPS)
    assert found == LastEvent(place_of(order), 2, clock.now_us() // 1000, ChangeEvent(None, order, Op.CREATE))


def test_nothing_there(log: SqliteLogStore, order: Order) -> None:
    """Neither in a topic without messages nor among others'."""
    assert last_event(log, order.order_id, groups=GROUPS) == NoEvent(0, is_bounded=False, may_be_purged=False)
    log.publish(others(order, 3))
    assert last_event(log, order.order_id, groups=GROUPS) == NoEvent(3, is_bounded=False, may_be_purged=False)


def test_a_message_that_is_no_event(log: SqliteLogStore, order: Order) -> None:
    """It is found; what it says is not known."""
    log.publish(messages_of(order, value=b"rubbish"))
    found = last_event(log, order.order_id, groups=GROUPS)
    assert isinstance(found, LastEvent)
    assert (found.offset, found.event) == (0, None)


@pytest.mark.parametrize(("search_max", "is_found"), [(6, True), (5, False)])
def test_the_bound(log: SqliteLogStore, order: Order, search_max: int, *, is_found: bool) -> None:
    """The newest so many are looked at, to the message."""
    log.publish([*others(order, 1), *messages_of(order), *others(order, 5)])
    found = last_event(log, order.order_id, groups=GROUPS, search_max=search_max)
    assert isinstance(found, LastEvent) is is_found
    assert is_found or found == NoEvent(5, is_bounded=True, may_be_purged=False)


def test_it_reads_page_by_page_from_the_newest(log: SqliteLogStore, order: Order) -> None:
    """A page is in memory at a time, and what lies behind the event is not read at all."""
    log.publish([*others(order, 3 * PAGE), *messages_of(order), *others(order, PAGE + 10)])
    reading = Reading(log)
    found = last_event(reading, order.order_id, groups=GROUPS)  # type: ignore[arg-type]
    assert isinstance(found, LastEvent)
    assert found.offset == 3 * PAGE
    assert reading.sizes == [PAGE, PAGE]


def test_what_is_older_than_the_order_is_not_read(log: SqliteLogStore, order: Order, clock: ManualClock) -> None:
    """But for a minute, by which the clocks may differ."""
    clock.set_wall(order.created_at - 61 * US_PER_S)
    log.publish(others(order, 50))
    clock.set_wall(order.created_at - 59 * US_PER_S)
    log.publish([*others(order, 2), *messages_of(order), *others(order, 4)])
    found = last_event(log, order.order_id, groups=GROUPS)
    assert isinstance(found, LastEvent)
    unknown = order.order_id[:-1] + ("0" if order.order_id[-1] != "0" else "1")
    assert last_event(log, unknown, groups=GROUPS) == NoEvent(7, is_bounded=False, may_be_purged=False)


def test_what_was_purged_is_said(log: SqliteLogStore, order: Order, clock: ManualClock) -> None:
    """The order may have had events that the log no longer keeps; with all kept since its creation it had none."""
    log.publish([*messages_of(order), *others(order, 1)])
    clock.advance(WEEK_S + 60)
    log.publish(others(order, 2))
    assert log.ends(CHANGES)[place_of(order).partition] == (2, 4)
    assert last_event(log, order.order_id, groups=GROUPS) == NoEvent(2, is_bounded=False, may_be_purged=True)
