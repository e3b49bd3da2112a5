"""Timing orders out: named by events, or found by the sweep; either way the database alone decides, by its own clock.

An event of `orders.expired` is a hint that makes a time-out prompt, and nothing more: it may be early, late, repeated or lost.
What promises that no order stays open past its deadline is the sweep, which looks at rows. So a hint's offset is committed once
the database was asked or the hint is in memory, to ask again in a moment: what is lost with the process costs a second, and
never a time-out, while a hint that held its partition back would delay all behind it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Final

from msgspec import Struct

from orderctl.clock import US_PER_S, Clock
from orderctl.errors import TierError, TierRejected
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.answers import Failed
from orderctl.services.cache_sync import park
from orderctl.services.caching import BestEffort, puts_of
from orderctl.services.epochs import OlderEpochs
from orderctl.services.expiry import decode_expired
from orderctl.stores.cache import Applied, CacheStore
from orderctl.stores.deadlines import DeadlineStore, NotDue, TimedOut, TimeOutOutcome
from orderctl.stores.hot import OldEpoch
from orderctl.stores.log import LogStore, Message, Place
from orderctl.stores.sharded import PartlyRead, PartlyWritten

DAEMON: Final = "timeouts"
EARLY_MAX_S: Final = 2.0
"""How far the clock of a cache node may be ahead of the database's for its events to be waited for; beyond it the sweep comes."""
RETRY_S: Final = 0.5
"""When to ask again after a shard has failed."""
AGAIN_MAX: Final = 100_000
"""Orders to ask for again that are kept at a time, some 10 MB; those beyond are left to the sweep."""
BATCH: Final = 1_000
"""On a machine that is short of time it is the number of round trips that counts."""
UNTOLD_MAX: Final = 20_000
"""Time-outs that wait to be told to the cache; it hears of those beyond by the log, as of all others."""


class FoundBy(StrEnum):
    """What an overdue order was found by. What the sweep finds the events alone would have missed."""

    EXPIRY = "expiry"
    SWEEP = "sweep"


class Again(Struct, frozen=True):
    """The database is to be asked for this order again, so many seconds from now."""

    order_id: str
    in_s: float


class TimeOuts:
    """Times orders out, counts them, and tells the cache. Any thread may use it."""

    def __init__(
        self,
        deadlines: DeadlineStore,
        older_epochs: OlderEpochs,
        cache: CacheStore,
        *,
        clock: Clock,
        metrics: Metrics,
        record_ttl_ms: int,
    ) -> None:
        self._deadlines = deadlines
        self._older_epochs = older_epochs
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._record_ttl_ms = record_ttl_ms
        self._best_effort = BestEffort(clock, metrics)
        self._untold: deque[Order] = deque(maxlen=UNTOLD_MAX)

    def named(self, order_ids: Sequence[str]) -> list[Again]:
        """Time out those of these orders that are open and due; returns those to ask for again. Raises nothing of a tier.

        An outcome that is not known is asked for again: what was timed out then needs nothing more.
        """
        outcomes = self._time_out(order_ids)
        self._finish(outcomes, FoundBy.EXPIRY)
        if older := [outcome.order for outcome in outcomes if isinstance(outcome, OldEpoch)]:
            self._settle(older, FoundBy.EXPIRY)
        pairs = zip(order_ids, outcomes, strict=True)
        return [again for order_id, outcome in pairs if (again := _again(order_id, outcome)) is not None]

    def overdue(self, groups: frozenset[int] | None, *, limit: int, late_by_us: int) -> int:
        """Time out orders that have been due for `late_by_us`, see `DeadlineStore.time_out_overdue`; returns how many.

        Raises:
            TierError: no shard did anything, as far as is known. It can be repeated at once.

        """
        outcomes: Sequence[object]
        try:
            outcomes = self._deadlines.time_out_overdue(groups, limit=limit, late_by_us=late_by_us)
        except PartlyWritten as partly:
            outcomes = partly.outcomes
            self._count_errors(outcomes)
        done = self._finish(outcomes, FoundBy.SWEEP)
        older = [outcome.order for outcome in outcomes if isinstance(outcome, OldEpoch)]
        return done + (self._settle(older, FoundBy.SWEEP) if older else 0)

    def tell_cache(self) -> bool:
        """Apply what was timed out to the cache, so that readers need not wait for the log; returns whether there is more.

        A batch at a time, and for when nothing is left to time out: that goes first.
        """
        orders: list[Order] = []
        with suppress(IndexError):  # the other thread may have taken the last one
            while len(orders) < BATCH:
                orders.append(self._untold.popleft())
        puts = puts_of(orders, now_us=self._clock.now_us(), ttl_ms=self._record_ttl_ms)
        if puts:
            applied = self._best_effort.each(lambda: self._cache.apply(puts), puts)
            self._metrics.equal_version_conflicts.inc(applied.count(Applied.CONFLICT))
        return bool(self._untold)

    def look(self) -> None:
        """Say how long ago the earliest deadline of an open order passed, of the shards that answer.

        Raises:
            TierError: none did.

        """
        try:
            oldest_us = self._deadlines.oldest_overdue_us()
        except PartlyRead as partly:
            known_us = [outcome for outcome in partly.outcomes if isinstance(outcome, int)]
            self._count_errors(partly.outcomes)
            if not known_us:
                raise
            oldest_us = max(known_us)
        self._metrics.oldest_overdue_seconds.set(oldest_us / US_PER_S)

    def _time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome | TierError]:
        """What became of each, or why nobody knows."""
        outcomes: list[TimeOutOutcome | TierError]
        try:
            return [*self._deadlines.time_out(order_ids)]
        except PartlyWritten as partly:
            outcomes = list(partly.outcomes)
        except TierError as error:
            outcomes = [error] * len(order_ids)
        self._count_errors(outcomes)
        return outcomes

    def _finish(self, outcomes: Sequence[object], found_by: FoundBy) -> int:
        """Count what was timed out, and keep it for the cache; returns how many."""
        done = [outcome for outcome in outcomes if isinstance(outcome, TimedOut)]
        for outcome in done:
            self._metrics.timeout_lateness_seconds.observe(outcome.late_us / US_PER_S)
        self._metrics.timeouts.labels(found_by.value).inc(len(done))
        self._untold.extend(outcome.order for outcome in done)
        return len(done)

    def _settle(self, older: Sequence[Order], found_by: FoundBy) -> int:
        """Time out open rows of an older epoch, unless the archive has a final state; returns how many.

        Those of which nobody knows are met again by the next sweep.
        """
        settled = self._older_epochs.settle(older, now_us=self._clock.now_us())
        self._untold.extend(found for found in settled if isinstance(found, Order))
        touched = [order.order_id for order, found in zip(older, settled, strict=True) if found is None]
        known = [found for found in settled if not isinstance(found, Failed)]
        self._finish(self._time_out(touched) if touched else [], found_by)
        return len(known)

    def _count_errors(self, outcomes: Sequence[object]) -> None:
        for error in {id(outcome): outcome for outcome in outcomes if isinstance(outcome, TierError)}.values():
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()


class Hints:
    """Follows what `orders.expired` says. Not for several threads."""

    def __init__(
        self, time_outs: TimeOuts, log: LogStore, *, clock: Clock, metrics: Metrics, again_max: int = AGAIN_MAX
    ) -> None:
        self._time_outs = time_outs
        self._log = log
        self._clock = clock
        self._metrics = metrics
        self._again_max = again_max
        self._again: list[tuple[float, str]] = []

    def handle(self, messages: Sequence[Message]) -> dict[Place, int]:
        """Time out what the messages name, and park those that name nothing; returns the offsets to commit.

        Raises:
            TierError: the log failed; all of it may come again.

        """
        named: dict[str, None] = {}
        parked = []
        for message in messages:
            try:
                named[decode_expired(message.value).order_id] = None
            except ValueError as error:
                parked.append(park(message, daemon=DAEMON, reason=str(error), now_us=self._clock.now_us()))
        if parked:
            self._log.publish(parked)
            self._metrics.parked.inc(len(parked))
        self._ask(list(named))
        return {message.place: message.offset + 1 for message in messages}

    def ask_again(self) -> int:
        """Ask for those whose time has come, at most a batch; returns how many."""
        now_s = self._clock.monotonic_s()
        order_ids: list[str] = []
        while self._again and self._again[0][0] <= now_s and len(order_ids) < BATCH:
            order_ids.append(heapq.heappop(self._again)[1])
        self._ask(order_ids)
        return len(order_ids)

    def next_in_s(self) -> float:
        """How long until `ask_again` has something to do; for ever where nothing waits."""
        return max(0.0, self._again[0][0] - self._clock.monotonic_s()) if self._again else float("inf")

    def _ask(self, order_ids: Sequence[str]) -> None:
        if not order_ids:
            return
        again = self._time_outs.named(order_ids)
        # From here on: the database's clock has not run slower than ours since it was asked, or it is asked once more.
        now_s = self._clock.monotonic_s()
        for one in again[: self._again_max - len(self._again)]:
            heapq.heappush(self._again, (now_s + one.in_s, one.order_id))


def _again(order_id: str, outcome: TimeOutOutcome | TierError) -> Again | None:
    """When to ask for an order again, if so. What was refused would be refused again, and stays overdue for all to see."""
    if isinstance(outcome, NotDue):
        in_s = outcome.due_in_us / US_PER_S
        return Again(order_id, in_s) if in_s <= EARLY_MAX_S else None
    if isinstance(outcome, TierError) and not isinstance(outcome, TierRejected):
        return Again(order_id, RETRY_S)
    return None
