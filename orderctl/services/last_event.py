"""Finds an order's last event in the log: its partition is known from its id, and the search goes from the newest backwards."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from orderctl import event
from orderctl.event import ChangeEvent
from orderctl.ids import FUTURE_MAX_MS, created_ms, group_of
from orderctl.stores.log import CHANGES, LogStore, Message, Place

SEARCH_MAX = 50_000
"""Messages that are looked at: a second's work or so. An event further back is not found."""
PAGE = 1_000


class LastEvent(Struct, frozen=True):
    """The last message about an order. `event` is None where the message means nothing; `ts_ms` is when it was published."""

    place: Place
    offset: int
    ts_ms: int
    event: ChangeEvent | None


class NoEvent(Struct, frozen=True):
    """No message about the order was found.

    `is_bounded`: the search ended at its bound, and not where the log or the order began. `may_be_purged`: the log no longer
    holds all that was published since then.
    """

    searched: int
    is_bounded: bool
    may_be_purged: bool


def last_event(log: LogStore, order_id: str, *, groups: int, search_max: int = SEARCH_MAX) -> LastEvent | NoEvent:
    """The order's last event among the newest `search_max` messages of its partition that are not older than the order.

    Raises:
        TierError: the log failed.

    """
    place = Place(CHANGES, group_of(order_id, groups))
    first, end = log.ends(CHANGES)[place.partition]
    # The id's time is a command server's, a message's is the broker's: so much apart no id is accepted.
    since = max(first, log.offset_at(place, max(0, created_ms(order_id) - FUTURE_MAX_MS)))
    lowest = max(since, end - search_max)
    key = order_id.encode()
    for message in _backwards(log, place, lowest, end):
        if message.key == key:
            return LastEvent(place, message.offset, message.ts_ms, _decoded(message))
    return NoEvent(max(0, end - lowest), is_bounded=lowest > since, may_be_purged=0 < first == since)


def _backwards(log: LogStore, place: Place, lowest: int, end: int) -> Iterator[Message]:
    """The messages from `lowest` to before `end`, newest first, with one page of them in memory."""
    while end > lowest:
        begin = max(lowest, end - PAGE)
        # Where messages are missing a read goes on behind `end`, with those of the page before.
        yield from (message for message in reversed(log.read(place, begin, end - begin)) if message.offset < end)
        end = begin


def _decoded(message: Message) -> ChangeEvent | None:
    try:
        return event.decode(message.value)
    except ValueError:
        return None
