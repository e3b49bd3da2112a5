"""Compares the hot store with the archive: an order in both for too long, with different contents, or in neither.

    rows of the hot store (open, then final) ──> the archive's copies
    references ──> the archive, the hot store, and the archive once more: an order may move in between

Nothing is repaired here: what a database lost no other copy puts back, and what was not removed the archiver removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import partial
from typing import Final

from msgspec import Struct

from orderctl.clock import US_PER_S, Clock
from orderctl.errors import TierError
from orderctl.order import Order
from orderctl.services.doubts import Doubts
from orderctl.services.reading_both import First, Reader
from orderctl.services.reconciling import LISTED_MAX, PAGE
from orderctl.services.reconciling_scope import Pace, Scope
from orderctl.stores.hot import Cursor, Ref
from orderctl.stores.tiers import Tiers

ARCHIVER_ALLOWANCE_S: Final = 5.0
"""How long, on top of the settling, the archiver may take from an order's final change to the removal of its row."""


class Fault(StrEnum):
    """What is wrong with an order's two copies."""

    OPEN_AND_ARCHIVED = "open_and_archived"
    """The archive has it, and the hot store has it open."""
    OTHER_FINAL = "other_final"
    """Two final states: one of them was told to somebody and is not so."""
    OTHER_COPY = "other_copy"
    """One final state, and another version or content."""
    IN_BOTH = "in_both"
    """The same, for longer than the archiver needs."""
    IN_NEITHER = "in_neither"
    """A reference stands for it, and no database has it."""


class ArchiveDifference(Struct, frozen=True):
    """An order whose copies are not as they should be. A version is None where there is no copy."""

    order_id: str
    hot_version: int | None
    archive_version: int | None
    why: Fault


class ArchiveTally(Struct):
    """What was found so far, of rows and references that were looked at. `differences` are the first `LISTED_MAX`."""

    compared: int = 0
    diverged: int = 0
    unknown: int = 0
    differences: list[ArchiveDifference] = []


def fault_of(hot: Order | None, archived: Order | None, *, now_us: int, needs_s: float) -> Fault | None:
    """What is wrong with an order's two copies, where the archiver may take `needs_s` from the final change on."""
    if hot is None or archived is None:
        return Fault.IN_NEITHER if hot is archived else None
    if not hot.status.is_final:
        return Fault.OPEN_AND_ARCHIVED
    if hot.status is not archived.status:
        return Fault.OTHER_FINAL
    if hot != archived:
        return Fault.OTHER_COPY
    return Fault.IN_BOTH if now_us - hot.updated_at > needs_s * US_PER_S else None


class ArchiveReconciler:
    """One comparison of the hot store with the archive. Not for several threads."""

    def __init__(
        self, tiers: Tiers, clock: Clock, reader: Reader, pace: Pace, *, lag_s: float, settle_s: float
    ) -> None:
        """`settle_s` is the archiver's; `reader` and `pace` are another comparison's, which goes on in this one."""
        self.tally = ArchiveTally(differences=[])
        self._tiers = tiers
        self._clock = clock
        self._reader = reader
        self._pace = pace
        self._needs_s = settle_s + ARCHIVER_ALLOWANCE_S
        self._doubts: Doubts[str] = Doubts(clock, lag_s, self._confirm)

    def run(self, scope: Scope) -> None:
        """Compare what is in `scope`; `tally` says what was found."""
        for rows in self._rows(scope):
            self._compare_rows([row for row in rows if scope.has(row.order_id)])
            self._doubts.settle_due()
        for order_ids in self._referred(scope):
            self._compare_referred([order_id for order_id in order_ids if scope.has(order_id)])
            self._doubts.settle_due()
        self._doubts.settle_all()

    def _rows(self, scope: Scope) -> Iterator[list[Order]]:
        hot, after = self._tiers.hot, scope.before_first
        while True:
            page = self._reader.insist(partial(hot.open_orders, scope.groups, after=after, limit=PAGE))
            if isinstance(page, TierError) or not page:
                break
            yield page
            after = page[-1].order_id
        cursor: Cursor | None = None
        while True:
            page = self._reader.insist(partial(hot.finals, scope.groups, after=cursor, limit=PAGE))
            if isinstance(page, TierError) or not page:
                return
            yield page
            cursor = Cursor.behind(page[-1])

    def _referred(self, scope: Scope) -> Iterator[list[str]]:
        after: Ref | None = None
        while True:
            page = self._reader.insist(partial(self._tiers.hot.references, scope.groups, after=after, limit=PAGE))
            if isinstance(page, TierError) or not page:
                return
            yield [order_id for _, order_id in page]
            after = page[-1][0]

    def _compare_rows(self, rows: Sequence[Order]) -> None:
        archived = self._reader.archive.each(self._tiers.archive.load, [row.order_id for row in rows])
        for row, copy in zip(rows, archived, strict=True):
            self._judge(row.order_id, row, copy)
        self._pace.went(len(rows))

    def _compare_referred(self, order_ids: Sequence[str]) -> None:
        """Most have moved, so the archive is asked first. An order in both was seen by its row."""
        sources = self._reader.sources(order_ids, first=First.ARCHIVE)
        for order_id, found in zip(order_ids, sources, strict=True):
            if found.order is not None:
                self.tally.compared += 1
            else:
                self._judge(order_id, None, found.error)
        self._pace.went(len(order_ids))

    def _judge(self, order_id: str, hot: Order | TierError | None, archived: Order | TierError | None) -> None:
        if isinstance(hot, TierError) or isinstance(archived, TierError):
            self._count(None, is_unknown=True)
        elif self._fault(hot, archived) is not None:
            self._doubts.add(order_id)
        else:
            self._count(None)

    def _confirm(self, order_ids: Sequence[str]) -> None:
        """The hot store is asked first: what moves in between is seen in the archive."""
        hot = self._reader.hot.each(self._tiers.hot.load, order_ids)
        archived = self._reader.archive.each(self._tiers.archive.load, order_ids)
        for order_id, row, copy in zip(order_ids, hot, archived, strict=True):
            if isinstance(row, TierError) or isinstance(copy, TierError):
                self._count(None, is_unknown=True)
                continue
            why = self._fault(row, copy)
            self._count(ArchiveDifference(order_id, _version(row), _version(copy), why) if why is not None else None)

    def _fault(self, hot: Order | None, archived: Order | None) -> Fault | None:
        return fault_of(hot, archived, now_us=self._clock.now_us(), needs_s=self._needs_s)

    def _count(self, difference: ArchiveDifference | None, *, is_unknown: bool = False) -> None:
        self.tally.compared += 1
        self.tally.unknown += is_unknown
        if difference is not None:
            self.tally.diverged += 1
            if len(self.tally.differences) < LISTED_MAX:
                self.tally.differences.append(difference)


def _version(order: Order | None) -> int | None:
    return order.version if order is not None else None
