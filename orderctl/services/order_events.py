"""Finds all that the log has about one order: its partition is known from its id, and nothing is older than the order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from orderctl import event
from orderctl.event import ChangeEvent
from orderctl.ids import FUTURE_MAX_MS, created_ms, group_of
from orderctl.services.last_event import PAGE, SEARCH_MAX
from orderctl.stores.log import CHANGES, EXPIRED, INVALIDATED, PARKED, LogStore, Message, Place

TOPICS: Final = (CHANGES, EXPIRED, INVALIDATED, PARKED)


class Heard(Struct, frozen=True):
    """A message about the order. `event` is the change where it tells of one; `ts_ms` is when it was published."""

    place: Place
    offset: int
    ts_ms: int
    event: ChangeEvent | None


class History(Struct, frozen=True):
    """The messages, by when they were published.

    `is_bounded`: not all that was published since the order's creation was looked at. `may_be_purged`: not all of it is kept.
    """

    heard: list[Heard]
    is_bounded: bool
    may_be_purged: bool


def order_events(log: LogStore, order_id: str, *, groups: int, search_max: int = SEARCH_MAX) -> History:
    """What the log has about the order, among the first and the last `search_max` messages of each topic since its creation.

    An order's life is short: most of it is near its beginning, and what was done to it lately near the end.

    Raises:
        TierError: the log failed.

    """
    heard: list[Heard] = []
    is_bounded = may_be_purged = False
    for topic in TOPICS:
        place = Place(topic, group_of(order_id, groups))
        first, end = log.ends(topic)[place.partition]
        # The id's time is a command server's, a message's is the broker's: so much apart no id is accepted.
        since = max(first, log.offset_at(place, max(0, created_ms(order_id) - FUTURE_MAX_MS)))
        until = min(end, since + search_max)
        later = max(until, end - search_max)
        is_bounded = is_bounded or later > until
        may_be_purged = may_be_purged or (topic == CHANGES and 0 < first == since)
        for begin, stop in ((since, until), (later, end)):
            heard.extend(_heard(message) for message in _read(log, place, begin, stop) if _is_about(message, order_id))
    return History(sorted(heard, key=lambda one: (one.ts_ms, one.place, one.offset)), is_bounded, may_be_purged)


def _read(log: LogStore, place: Place, begin: int, stop: int) -> Iterator[Message]:
    while begin < stop:
        page = log.read(place, begin, min(PAGE, stop - begin))
        if not page:
            return
        yield from (message for message in page if message.offset < stop)
        begin = page[-1].offset + 1


def _is_about(message: Message, order_id: str) -> bool:
    return message.key == order_id.encode()


def _heard(message: Message) -> Heard:
    try:
        change = event.decode(message.value) if message.place.topic == CHANGES else None
    except ValueError:
        change = None
    return Heard(message.place, message.offset, message.ts_ms, change)
