"""Puts the cache right, by *apply* and *invalidate* only, and lets every process forget the copy that it may have in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.order import Order
from orderctl.services.caching import puts_of
from orderctl.services.comparing import Repair, Sides, repair_of
from orderctl.services.invalidation import publish_orders
from orderctl.stores.cache import Applied, NodesAway
from orderctl.stores.tiers import Tiers

TELL_TIMES: Final = 3
TELL_PAUSE_S: Final = 1.0
"""What is mended is found by nobody again: so the log is asked more than once to tell of it."""


class Mender:
    """Mends. `errors` is given what it meets; `untold` holds orders that were to be mended, and of which no process was told."""

    def __init__(
        self, tiers: Tiers, clock: Clock, *, groups: int, record_ttl_ms: int, errors: dict[str, TierError]
    ) -> None:
        self.untold: list[str] = []
        self._tiers = tiers
        self._clock = clock
        self._groups = groups
        self._record_ttl_ms = record_ttl_ms
        self._errors = errors

    def mend(self, diverged: Sequence[Sides]) -> set[str]:
        """Mend what can be mended; returns which orders are right now. Done twice it does no harm.

        The sources are to have been read a moment ago, by `HotStore.load` where they are hot.
        """
        dropped = [sides.order_id for sides in diverged if repair_of(sides) is Repair.INVALIDATE]
        behind = [sides.found.order for sides in diverged if repair_of(sides) is Repair.APPLY and sides.found.order]
        mended = self._apply(behind) | self._drop(dropped)
        # Those too of which nobody knows: where only the reply was lost, no later comparison would find anything to tell of.
        tried = {order.order_id for order in behind} | set(dropped)
        return mended - self._tell(sorted(tried))

    def _apply(self, orders: Sequence[Order]) -> set[str]:
        puts = puts_of(orders, now_us=self._clock.now_us(), ttl_ms=self._record_ttl_ms)
        if not puts:
            return set()
        told: Sequence[Applied | TierError]
        try:
            told = self._tiers.cache.apply(puts)
        except TierError as error:
            self._note(error)
            told = error.outcomes if isinstance(error, NodesAway) else [error] * len(puts)
        # An entry that is newer than what was read is not put back; the next comparison finds out what it is.
        left = Applied.KEPT_NEWER
        return {
            put.record.order_id
            for put, done in zip(puts, told, strict=True)
            if done is not left and not isinstance(done, TierError)
        }

    def _drop(self, order_ids: Sequence[str]) -> set[str]:
        if not order_ids:
            return set()
        try:
            self._tiers.cache.invalidate(order_ids)
        except TierError as error:
            # Of some nodes it may have been done: those are found to be absent the next time.
            self._note(error)
            return set()
        return set(order_ids)

    def _tell(self, order_ids: Sequence[str]) -> set[str]:
        """Let every process forget these; returns those of which nobody was told."""
        for attempt in range(TELL_TIMES):
            if attempt:
                self._clock.wait(threading.Event(), TELL_PAUSE_S)
            try:
                publish_orders(self._tiers.log, order_ids, self._groups)
            except TierError as error:
                self._note(error)
            else:
                return set()
        self.untold.extend(order_ids)
        return set(order_ids)

    def _note(self, error: TierError) -> None:
        self._errors.setdefault(str(error), error)
