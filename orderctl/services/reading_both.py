"""Reads orders from the cache and from the databases for a comparison: every failure is an answer, of those whom it is about.

young: hot, archive            as the archiver copies before it removes, this order misses nothing
old:   archive, hot, archive   the second look finds what moved between the first two
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, TypeVar

from orderctl.clock import Clock
from orderctl.errors import TierError, TierUnavailable
from orderctl.ids import created_ms
from orderctl.order import Order
from orderctl.services.comparing import Found, Sides, SourceName, Unreadable
from orderctl.stores.cache import NodesAway
from orderctl.stores.record import Entry
from orderctl.stores.sharded import PartlyRead
from orderctl.stores.tiers import Tiers

INSIST_TIMES: Final = 3
PAUSE_MIN_S: Final = 1.0
PAUSE_FACTOR: Final = 5.0
"""A tier that failed is left alone for so many times as long as it took: one that hangs takes a sixth of the time at most."""

Told = TypeVar("Told")


class First(Enum):
    """Which database is asked first; the other is asked for what it does not have."""

    BY_AGE = "by_age"
    HOT = "hot"
    ARCHIVE = "archive"


class Asking:
    """Asks one tier, in batches; one that failed as a whole is left alone for a while. Not for several threads."""

    def __init__(self, tier: str, clock: Clock, errors: dict[str, TierError]) -> None:
        """`errors` is given each error that is met, by its text."""
        self._tier = tier
        self._clock = clock
        self._errors = errors
        self._resume_at_s = 0.0
        self._last: TierError = TierUnavailable(tier)

    def each(self, ask: Callable[[Sequence[str]], Sequence[Told]], order_ids: Sequence[str]) -> list[Told | TierError]:
        """What the tier tells of each order, or why it does not."""
        if not order_ids:
            return []
        told = self.whole(lambda: ask(order_ids))
        if isinstance(told, NodesAway | PartlyRead):
            return list(told.outcomes)
        return [told] * len(order_ids) if isinstance(told, TierError) else [*told]

    def whole(self, ask: Callable[[], Told]) -> Told | TierError:
        """What `ask` returns, or the tier's error."""
        began_s = self._clock.monotonic_s()
        if began_s < self._resume_at_s:
            return self._last
        try:
            return ask()
        except TierError as error:
            self._errors.setdefault(str(error), error)
            if not isinstance(error, NodesAway | PartlyRead):
                now_s = self._clock.monotonic_s()
                self._resume_at_s = now_s + max(PAUSE_MIN_S, PAUSE_FACTOR * (now_s - began_s))
                self._last = error
            return error


class Reader:
    """Reads both sides of orders. `errors` are those that it met, each once."""

    def __init__(self, tiers: Tiers, clock: Clock, *, hot_first_s: float) -> None:
        self.errors: dict[str, TierError] = {}
        self.cache = Asking("cache", clock, self.errors)
        self.hot = Asking("hot", clock, self.errors)
        self.archive = Asking("archive", clock, self.errors)
        self._tiers = tiers
        self._clock = clock
        self._young_ms = int(hot_first_s * 1000)

    def entries(
        self, order_ids: Sequence[str], *, with_unreadable: bool = True
    ) -> list[Entry | Unreadable | TierError | None]:
        """Each order's entry. An entry whose bytes mean nothing is told from none, unless that is not asked for."""
        found: list[Entry | Unreadable | TierError | None] = [*self.cache.each(self._tiers.cache.get, order_ids)]
        missing = [at for at, entry in enumerate(found) if entry is None]
        if not with_unreadable or not missing:
            return found
        left_ms = self.cache.each(self._tiers.cache.ttl_ms, [order_ids[at] for at in missing])
        for at, left in zip(missing, left_ms, strict=True):
            if isinstance(left, TierError):
                found[at] = left
            elif left is not None:
                # What came in between the two looks shows itself when this is confirmed.
                found[at] = Unreadable()
        return found

    def sources(self, order_ids: Sequence[str], *, first: First) -> list[Found]:
        """Each order as the databases have it. Where both have one, the copy of the one that was asked first is found."""
        old = [order_id for order_id in order_ids if self._is_archive_first(order_id, first)]
        archived = dict(zip(old, self.archive.each(self._tiers.archive.load, old), strict=True))
        rest = [order_id for order_id in order_ids if not isinstance(archived.get(order_id), Order)]
        hot = dict(zip(rest, self.hot.each(self._tiers.hot.load, rest), strict=True))
        missing = [order_id for order_id in rest if not isinstance(hot[order_id], Order)]
        archived |= dict(zip(missing, self.archive.each(self._tiers.archive.load, missing), strict=True))
        return [_found(hot.get(order_id), archived.get(order_id)) for order_id in order_ids]

    def insist(self, ask: Callable[[], Told]) -> Told | TierError:
        """What `ask` returns, which all that follows depends on: so it is asked a few times before its error is the answer."""
        for attempt in range(INSIST_TIMES):
            if attempt:
                self._clock.wait(threading.Event(), PAUSE_MIN_S)
            try:
                return ask()
            except TierError as error:
                failure = error
        self.errors.setdefault(str(failure), failure)
        return failure

    def both(self, order_ids: Sequence[str]) -> list[Sides]:
        """Both sides of each order, the cache first: what it has was in a database before."""
        entries = self.entries(order_ids)
        sources = self.sources(order_ids, first=First.HOT)
        return [Sides(*one) for one in zip(order_ids, entries, sources, strict=True)]

    def _is_archive_first(self, order_id: str, first: First) -> bool:
        if first is First.BY_AGE:
            return created_ms(order_id) < self._clock.now_us() // 1000 - self._young_ms
        return first is First.ARCHIVE


def _found(hot: Order | TierError | None, archived: Order | TierError | None) -> Found:
    error = next((one for one in (hot, archived) if isinstance(one, TierError)), None)
    if isinstance(hot, Order):
        return Found(hot, SourceName.HOT, error)
    if isinstance(archived, Order):
        return Found(archived, SourceName.ARCHIVE, error)
    return Found(error=error)
