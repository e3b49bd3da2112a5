"""What waits in `orders.parked`: the messages that a daemon put aside, and which of them somebody has seen to since.

A message is known there by the place of its copy. Seeing to one is remembered in the same partition, behind it, as a marker that
names it: the log is read in order, so whoever reads it knows what is still open, and nothing else has to be kept. A message that
was parked twice, by a batch that came again, waits once; parked anew after a marker, it waits again.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from orderctl.errors import UsageRefused
from orderctl.services.cache_sync import Parked
from orderctl.stores.log import PARKED, LogStore, Message, Outgoing, Place

PAGE: Final = 500
HANDLED: Final = "handled"
"""The header that tells a marker from a copy; it says how."""
_decode = msgspec.json.Decoder(Parked).decode


class How(StrEnum):
    """What somebody did about a parked message."""

    RETRIED = "retried"
    DROPPED = "dropped"


class Handled(Struct, frozen=True):
    """A marker: the copy at `offset` of its own partition was seen to, and so were all others of that message before it.

    `at` is Unix microseconds.
    """

    offset: int
    how: How
    at: int


_decode_marker = msgspec.json.Decoder(Handled).decode


class Waiting(Struct, frozen=True):
    """A parked message that nobody has seen to. `place` and `offset` are its copy's; None where the copy is none of ours."""

    place: Place
    offset: int
    key: bytes
    value: bytes
    parked: Parked | None

    @property
    def id(self) -> str:
        """What operators call it by."""
        return f"{self.place.partition}:{self.offset}"

    def original(self) -> Outgoing:
        """The message as it was, for the same partition.

        Raises:
            UsageRefused: it cannot be made again from its copy.

        """
        if self.parked is None:
            raise UsageRefused(f"{self.id} is no copy of a message, and cannot be published again")
        parked = self.parked
        if "\ufffd" in parked.order_id + "".join(parked.headers.values()):
            raise UsageRefused(f"{self.id}: its key or a header is no text, and its copy does not have it in full")
        headers = tuple((name, value.encode()) for name, value in parked.headers.items())
        place = Place(parked.topic, parked.partition)
        return Outgoing(place, parked.order_id.encode(), base64.b64decode(parked.value), headers)

    def marker(self, how: How, *, now_us: int) -> Outgoing:
        """The marker that says that this one was seen to."""
        value = msgspec.json.encode(Handled(self.offset, how, now_us))
        return Outgoing(self.place, self.id.encode(), value, ((HANDLED, how.value.encode()),))


def waiting(log: LogStore) -> Iterator[Waiting]:
    """All parked messages that nobody has seen to, by partition, the earliest first; a partition's are in memory at a time.

    Raises:
        TierError: the log failed.

    """
    for number, (first, end) in enumerate(log.ends(PARKED)):
        yield from _waiting_in(log, Place(PARKED, number), first, end)


def waiting_at(log: LogStore, place: Place, offset: int) -> Waiting | None:
    """The one whose copy is there; None where there is none that waits.

    Raises:
        TierError: the log failed.

    """
    ends = log.ends(PARKED)
    if not 0 <= place.partition < len(ends):
        return None
    first, end = ends[place.partition]
    return next((each for each in _waiting_in(log, place, first, end) if each.offset == offset), None)


def _waiting_in(log: LogStore, place: Place, first: int, end: int) -> list[Waiting]:
    found: dict[object, Waiting] = {}
    names: dict[int, object] = {}
    """By the offset of each copy: the message that it is of."""
    while first < end and (messages := log.read(place, first, min(PAGE, end - first))):
        for message in messages:
            if any(name == HANDLED for name, _ in message.headers):
                found.pop(names.get(_handled(message)), None)
                continue
            one = _read(message)
            names[message.offset] = name = _name(one)
            found.setdefault(name, one)
        first = messages[-1].offset + 1
    return list(found.values())


def _read(message: Message) -> Waiting:
    try:
        parked = _decode(message.value)
    except (ValueError, RecursionError):
        parked = None
    return Waiting(message.place, message.offset, message.key, message.value, parked)


def _name(one: Waiting) -> object:
    """What two copies of one message have in common."""
    parked = one.parked
    return one.offset if parked is None else (parked.daemon, parked.topic, parked.partition, parked.offset)


def _handled(message: Message) -> int:
    try:
        return _decode_marker(message.value).offset
    except ValueError:
        return -1
