"""Expiry: what the cache tells of timers that ran out becomes messages in `orders.expired`, a hint an order.

Nothing here has to succeed: an order whose event is lost is found by the sweep. So events are kept for a while where the log is
away, and beyond a bound let go; and of several instances that are told of the same each publishes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.ids import group_of, is_canonical
from orderctl.metrics import Metrics
from orderctl.stores.expirations import Expirations, Gone
from orderctl.stores.log import EXPIRED, LogStore, Outgoing, Place

KEPT_MAX: Final = 100_000
"""So many orders wait for the log; those that come then are left to the sweep."""
PUBLISH_MAX: Final = 5_000


class Expired(Struct, frozen=True, gc=False):
    """A timer ran out. `expired_at_ms` is when that was heard, Unix milliseconds: for people, nobody decides by it."""

    order_id: str
    expired_at_ms: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Expired).decode


def encode_expired(expired: Expired) -> bytes:
    """The value of its message in `orders.expired`."""
    return _encode(expired)


def decode_expired(value: bytes) -> Expired:
    """What `value` says.

    Raises:
        ValueError: it is no such message, or its `order_id` is not an order's.

    """
    expired = _decode(value)
    if not is_canonical(expired.order_id):
        raise ValueError(f"not an order id: {expired.order_id[:80]!r}")
    return expired


class Expiry:
    """Carries what goes out of the cache to the log. Not for several threads."""

    def __init__(
        self,
        expirations: Expirations,
        log: LogStore,
        *,
        groups: int,
        clock: Clock,
        metrics: Metrics,
        kept_max: int = KEPT_MAX,
    ) -> None:
        self._expirations = expirations
        self._log = log
        self._groups = groups
        self._clock = clock
        self._metrics = metrics
        self._kept_max = kept_max
        # By order: a timer that ran out twice while the log was away is one message.
        self._kept: dict[str, Expired] = {}

    @property
    def kept(self) -> int:
        """How many orders wait for the log."""
        return len(self._kept)

    def listen(self, wait_s: float) -> int:
        """Hear what went, for up to `wait_s` if nothing has yet, and keep which orders' timers ran out; returns how many went.

        Raises:
            TierError: the cache tells nothing.

        """
        gone = self._expirations.poll(wait_s)
        now_ms = self._clock.now_us() // 1000
        for each in gone:
            self._metrics.cache_gone.labels(each.what.value).inc()
        self._keep([each.order_id for each in gone if each.what is Gone.TIMER], now_ms)
        return len(gone)

    def publish(self) -> int:
        """Send what is kept to the log, a bounded number at a time; returns how many are left.

        Raises:
            TierError: the log failed. All of it is kept, and what was published all the same comes twice.

        """
        batch = list(self._kept.values())[:PUBLISH_MAX]
        if batch:
            self._log.publish([self._outgoing(expired) for expired in batch])
            for expired in batch:
                del self._kept[expired.order_id]
            self._metrics.expired_published.inc(len(batch))
        return len(self._kept)

    def _keep(self, order_ids: Sequence[str], now_ms: int) -> None:
        for order_id in order_ids:
            if order_id in self._kept:
                continue
            if len(self._kept) >= self._kept_max:
                self._metrics.expired_dropped.inc()
            else:
                self._kept[order_id] = Expired(order_id, now_ms)

    def _outgoing(self, expired: Expired) -> Outgoing:
        place = Place(EXPIRED, group_of(expired.order_id, self._groups))
        return Outgoing(place, expired.order_id.encode(), encode_expired(expired))
