"""Compares the cache with the databases, both ways, and repairs: every record with its source, every open order with the cache.

    a page of entries ──> their sources ──> alike: equal
                                        ──> not alike: a doubt ──(the lag)──> both sides again ──> diverged, and mended

It streams: in memory are a page, the ids of the group that is being listed, and at most `WAITING_MAX` doubts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.ids import group_of
from orderctl.order import Order
from orderctl.services.comparing import (
    Found,
    Outcome,
    Repair,
    Sides,
    SourceName,
    Unreadable,
    compare,
    has_moved,
    repair_of,
)
from orderctl.services.doubts import Doubts
from orderctl.services.mending import Mender
from orderctl.services.reading_both import First, Reader
from orderctl.services.reconciling_scope import Pace, Phase, Place, Scope
from orderctl.stores.record import Entry, Kind
from orderctl.stores.tiers import Tiers

LAG_S: Final = 2.0
PAGE: Final = 500
ROUNDS_MAX: Final = 5
"""An order has three changes or so in its life: one that looks different so often differs."""
LISTED_MAX: Final = 10_000
"""So many differences are told of one by one; the rest are counted."""


class ReconcileSettings(Struct, frozen=True, kw_only=True):
    """What the deployment's configuration says, and how the comparison is to go about it.

    `rps` bounds the orders looked at in a second. Without `execute` nothing is written.
    """

    groups: int
    record_ttl_ms: int
    hot_first_s: float = 960.0
    lag_s: float = LAG_S
    rps: float | None = None
    execute: bool = False


class Difference(Struct, frozen=True):
    """An order that the cache has otherwise than its source. `repair` is what mends it, None where nothing does."""

    order_id: str
    cache_version: int | None
    source_version: int | None
    source: SourceName | None
    repair: Repair | None


class Tally(Struct):
    """What was found so far. `differences` are the first `LISTED_MAX`."""

    equal: int = 0
    diverged: int = 0
    absent: int = 0
    unknown: int = 0
    repaired: int = 0
    differences: list[Difference] = []

    @property
    def compared(self) -> int:
        """All that was."""
        return self.equal + self.diverged + self.absent + self.unknown

    def count(self, outcome: Outcome) -> None:
        """One more of these."""
        if outcome is not Outcome.PASSED_OVER:
            setattr(self, outcome.value, getattr(self, outcome.value) + 1)


class _Doubt(Struct, frozen=True):
    """Sides that were not alike, `rounds` times by now, and where the comparison was."""

    sides: Sides
    place: Place
    rounds: int = 1


class Reconciler:
    """One comparison of the cache with the databases. Not for several threads."""

    def __init__(
        self, tiers: Tiers, clock: Clock, settings: ReconcileSettings, *, progress: Callable[[int, int], None]
    ) -> None:
        """`progress` is told how many orders were looked at so far, and how many there are, as far as that is known."""
        self.tally = Tally(differences=[])
        self.reader = Reader(tiers, clock, hot_first_s=settings.hot_first_s)
        self.pace = Pace(clock, settings.rps, lambda done: progress(done, self.expected))
        self.mender = Mender(
            tiers, clock, groups=settings.groups, record_ttl_ms=settings.record_ttl_ms, errors=self.reader.errors
        )
        self._tiers = tiers
        self._settings = settings
        self._doubts: Doubts[_Doubt] = Doubts(clock, settings.lag_s, self._confirm)
        self._place = Place()
        self._not_listed: set[int] = set()
        self._in_cache = 0
        self.open_orders = 0

    @property
    def expected(self) -> int:
        """How many orders there are to be looked at, by what was met so far: a guess, and a better one with each group."""
        return max(self._in_cache + self.open_orders, self.pace.done)

    @property
    def place(self) -> Place:
        """Where to go on from, should this end now."""
        first = self._doubts.first
        return self._place if first is None else first.place

    def run(self, scope: Scope, start: Place) -> None:
        """Compare what is in `scope`, from `start` on; `tally` and `reader.errors` say what was found."""
        self._place = start
        if start.phase is Phase.CACHE:
            self._compare_cache(scope, start.group)
            self._place = Place(Phase.OPEN)
            self._in_cache = self.pace.done
        if self._place.phase is Phase.OPEN:
            self._compare_open(scope, self._place.after)
        self._doubts.settle_all()
        self._place = Place(Phase.ARCHIVE)

    def _compare_cache(self, scope: Scope, first: int) -> None:
        groups = range(self._settings.groups) if scope.groups is None else sorted(scope.groups)
        left = [group for group in groups if group >= first]
        for done, group in enumerate(left):
            self._place = Place(Phase.CACHE, group)
            self._in_cache = self.pace.done * len(left) // max(done, 1)
            for page in self._listed(group):
                self._compare_entries([order_id for order_id in page if scope.has(order_id)])
                self._doubts.settle_due()

    def _listed(self, group: int) -> Iterator[list[str]]:
        """The orders that the group has entries of, each once, page by page; ends where the cache fails."""
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            try:
                found = self._tiers.cache.scan_group(group, cursor=cursor, limit=PAGE)
            except TierError as error:
                # By itself, not through `Reader`: a node that is away is not to keep others' groups from being listed.
                self.reader.errors.setdefault(str(error), error)
                self._not_listed.add(group)
                return
            new = [order_id for order_id in dict.fromkeys(found.order_ids) if order_id not in seen]
            yield from (new[at : at + PAGE] for at in range(0, len(new), PAGE))
            if (cursor := found.cursor) is None:
                return
            seen.update(new)

    def _compare_entries(self, order_ids: Sequence[str]) -> None:
        entries = [
            (order_id, entry)
            for order_id, entry in zip(order_ids, self.reader.entries(order_ids), strict=True)
            if isinstance(entry, TierError | Unreadable) or (isinstance(entry, Entry) and entry.kind is Kind.RECORD)
        ]
        sources = self.reader.sources([order_id for order_id, _ in entries], first=First.BY_AGE)
        for (order_id, entry), found in zip(entries, sources, strict=True):
            self._judge(Sides(order_id, entry, found))
        self.pace.went(len(order_ids))

    def _compare_open(self, scope: Scope, after: str | None) -> None:
        after = after or scope.before_first
        while True:
            self._place = Place(Phase.OPEN, after=after)
            page = self.reader.insist(partial(self._tiers.hot.open_orders, scope.groups, after=after, limit=PAGE))
            if isinstance(page, TierError) or not page:
                return
            self._compare_orders([order for order in page if scope.has(order.order_id)])
            self._doubts.settle_due()
            after = page[-1].order_id

    def _compare_orders(self, orders: Sequence[Order]) -> None:
        """Open orders with the cache. Records were compared with their sources before, unless they could not be listed."""
        entries = self.reader.entries([order.order_id for order in orders], with_unreadable=False)
        for order, entry in zip(orders, entries, strict=True):
            is_listed = group_of(order.order_id, self._settings.groups) not in self._not_listed
            if not (isinstance(entry, Entry) and is_listed):
                self._judge(Sides(order.order_id, entry, Found(order, SourceName.HOT)))
        self.pace.went(len(orders))

    def _judge(self, sides: Sides) -> None:
        outcome = compare(sides)
        if outcome is Outcome.DIVERGED:
            self._doubts.add(_Doubt(sides, self._place))
        else:
            self.tally.count(outcome)

    def _confirm(self, doubts: Sequence[_Doubt]) -> None:
        """Look at both sides again. What is still different counts, and is mended where that is wished for."""
        diverged: list[Sides] = []
        for doubt, sides in zip(doubts, self.reader.both([one.sides.order_id for one in doubts]), strict=True):
            outcome = compare(sides)
            if outcome is Outcome.DIVERGED and has_moved(doubt.sides, sides) and doubt.rounds < ROUNDS_MAX:
                self._doubts.add(_Doubt(sides, doubt.place, doubt.rounds + 1))
                continue
            self.tally.count(outcome)
            if outcome is Outcome.DIVERGED:
                diverged.append(sides)
        if self._settings.execute and diverged:
            self.tally.repaired += len(self.mender.mend(diverged))
        self.tally.differences.extend(map(_difference, diverged[: LISTED_MAX - len(self.tally.differences)]))


def _difference(sides: Sides) -> Difference:
    found = sides.found
    return Difference(sides.order_id, sides.cache_version, sides.source_version, found.source, repair_of(sides))
