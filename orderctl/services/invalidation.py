"""What is to be forgotten: `orders.invalidated`, from those who repair to every process that holds copies in its memory.

A message is of one order (its key is the order's id, its value `{"order_id": …}`) or of a whole group (no key,
`{"group": …}`), in the group's partition. It is published once the cache's own entry is gone or right, so that whoever forgets a
copy, and looks again, reads no more what was to be forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.ids import group_of, is_canonical
from orderctl.metrics import Metrics
from orderctl.services.near import NearCache
from orderctl.stores.log import INVALIDATED, LogStore, Message, Outgoing, Place, Tail

PUBLISH_COUNT: Final = 5_000
POLL_COUNT: Final = 5_000
POLL_S: Final = 0.25
HOLD_S: Final = 2.0
"""A follower that has not come back from a poll for so long may have been stopped: copies are not answered with until it has."""


class OrderInvalidated(Struct, frozen=True):
    """Forget this order."""

    order_id: str


class GroupInvalidated(Struct, frozen=True):
    """Forget every order of this group."""

    group: int


def publish_orders(log: LogStore, order_ids: Iterable[str], groups: int) -> None:
    """Let every process forget these orders, whose ids are canonical, in a deployment of `groups`. Safe to repeat.

    Raises:
        TierError: the log failed; some may have been published.

    """
    _publish(log, (_of_order(order_id, groups) for order_id in dict.fromkeys(order_ids)))


def publish_groups(log: LogStore, groups: Iterable[int]) -> None:
    """Let every process forget all orders of these groups. Safe to repeat.

    Raises:
        TierError: the log failed; some may have been published.

    """
    _publish(log, map(_of_group, sorted(set(groups))))


def read(message: Message, groups: int) -> OrderInvalidated | GroupInvalidated:
    """What a message asks for. Members that this version does not know are passed over.

    Raises:
        ValueError: it is not one that `publish_orders` or `publish_groups` writes for its partition.

    """
    try:
        asked = _decode_order(message.value) if message.key else _decode_group(message.value)
    except RecursionError as error:
        raise ValueError("nested without end") from error
    partition = message.place.partition
    if isinstance(asked, GroupInvalidated):
        if asked.group != partition:
            raise ValueError(f"group {asked.group} does not belong into {message.place}")
        return asked
    if asked.order_id.encode() != message.key or not is_canonical(asked.order_id):
        raise ValueError(f"the key is not the order's id: {message.key[:80]!r}")
    if group_of(asked.order_id, groups) != partition:
        raise ValueError(f"order {asked.order_id} does not belong into {message.place}")
    return asked


class Follower:
    """Follows the end of `orders.invalidated` for one process's memory; the work of a loop of its own (`daemons.loop`).

    The memory is on while this one follows, and off, and empty, from the moment that messages may have been missed until the
    end was found again. Not for several threads.
    """

    name = "invalidation"

    def __init__(self, log: LogStore, near: NearCache, *, groups: int, clock: Clock, metrics: Metrics) -> None:
        self._log = log
        self._near = near
        self._groups = groups
        self._clock = clock
        self._metrics = metrics
        self._tail: Tail | None = None

    def step(self) -> float:
        """Forget what was asked for since the last step; waits a moment for the first of it. Returns at once what is left.

        Raises:
            TierError: the log failed, and the memory is off; the next step begins anew.

        """
        try:
            tail = self._tail = self._tail or self._log.tail(INVALIDATED)
            messages = tail.poll(POLL_COUNT, POLL_S)
            self._forget(messages)
        except BaseException:
            # Whatever it was: what is not followed is not to be answered with.
            self._near.turn_off()
            raise
        # With a full batch there may be more, published any time ago.
        if len(messages) < POLL_COUNT:
            self._near.turn_on(self._clock.monotonic_s() + HOLD_S)
        return 0.0

    def drain(self) -> None:
        """Turn the memory off, and let go of connections."""
        self._near.turn_off()
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()

    def _forget(self, messages: Sequence[Message]) -> None:
        kinds: Counter[str] = Counter()
        orders: set[str] = set()
        groups: set[int] = set()
        for message in messages:
            try:
                asked = read(message, self._groups)
            except ValueError:
                # Somebody wanted something in there to be forgotten.
                kinds["unreadable"] += 1
                groups.add(message.place.partition)
                continue
            if isinstance(asked, OrderInvalidated):
                kinds["order"] += 1
                orders.add(asked.order_id)
            else:
                kinds["group"] += 1
                groups.add(asked.group)
        if orders:
            self._near.drop(orders)
        if groups:
            self._near.drop_groups(groups)
        for kind, count in kinds.items():
            self._metrics.invalidations.labels(kind).inc(count)


_encode = msgspec.json.Encoder().encode
_decode_order = msgspec.json.Decoder(OrderInvalidated).decode
_decode_group = msgspec.json.Decoder(GroupInvalidated).decode


def _of_order(order_id: str, groups: int) -> Outgoing:
    value = _encode(OrderInvalidated(order_id))
    return Outgoing(Place(INVALIDATED, group_of(order_id, groups)), order_id.encode(), value)


def _of_group(group: int) -> Outgoing:
    return Outgoing(Place(INVALIDATED, group), b"", _encode(GroupInvalidated(group)))


def _publish(log: LogStore, messages: Iterator[Outgoing]) -> None:
    while batch := list(islice(messages, PUBLISH_COUNT)):
        log.publish(batch)
