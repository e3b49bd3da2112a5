"""The move of final orders to the archive: write, settle, read back, compare, remove.

    final row ──> written to every table, acknowledged ──> settle_s by our own clock ──> read back, equal ──> removed

One loop, from the state of the hot store, and the only writer. *Acknowledged* is not *on disk*: with a commit log that is
synced every few seconds, a write is lost with the power until then, and reading it back shows no more than memory. So the wait
counts from this process's own acknowledged write, on its monotonic clock; a process that was restarted has written nothing and
begins anew. At no instant is an order in neither database.

An order is one mover's at a time. What is read back may be another mover's write, which is younger than the wait tells: two of
them at once lose nothing as long as the power fails once, so a mover forgets what it has written when a group is taken from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierRejected
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import Cursor, HotStore, Ref, Removal

RESCAN_S = 2.0
"""How long after a look at all final rows the next one begins."""
REMOVALS = 500
"""Orders that one transaction removes."""


class ArchiverSettings(Struct, frozen=True):
    """`settle_s` is at least twice the archive's sync period, 0 where an acknowledged write is on disk."""

    settle_s: float = 0.0
    batch: int = 2_000
    """Orders of one step: of many, more lie in the same partition of the archive, and go there and come back together."""
    settling_max: int = 100_000
    """Orders that wait at a time; what is beyond stays in the hot store a little longer."""


class Settling(Struct, frozen=True, gc=False):
    """An order whose write was acknowledged at `since_s` (monotonic)."""

    order: Order
    since_s: float


class Mover:
    """Moves final orders, some at a time. Whatever it holds in memory may be forgotten at any moment."""

    def __init__(
        self, hot: HotStore, archive: ArchiveStore, *, clock: Clock, metrics: Metrics, settings: ArchiverSettings
    ) -> None:
        self._hot = hot
        self._archive = archive
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._settling: OrderedDict[str, Settling] = OrderedDict()
        self._groups: frozenset[int] | None = None
        self._cursor: Cursor | None = None
        self._rescan_at_s: float | None = None

    def step(self, groups: frozenset[int] | None) -> int:
        """One batch of each stage; returns how many orders were looked at. 0 means that there is nothing to do now.

        `groups` limits it to these groups' orders, None is all: others look after the rest.

        Raises:
            TierError: a tier failed; all of it may be done again.

        """
        self._take_over(groups)
        return self._remove_settled() + self._write_more(groups)

    @property
    def settling(self) -> int:
        """Orders that were written and wait."""
        return len(self._settling)

    def _take_over(self, groups: frozenset[int] | None) -> None:
        """Begin anew where a group was taken from us: whoever has it now writes its orders, too."""
        before, self._groups = self._groups, groups
        if groups is not None and (before is None or before - groups):
            self._settling.clear()
        if groups != before:
            self._cursor = self._rescan_at_s = None

    def _write_more(self, groups: frozenset[int] | None) -> int:
        room = self._settings.settling_max - len(self._settling)
        if room <= 0:
            return 0
        finals = self._scan(groups, min(self._settings.batch, room))
        self._write(self._without_conflicts([order for order in finals if not self._is_settling(order)]))
        if finals:
            # Not before they are written: what failed is next again.
            self._cursor = Cursor.behind(finals[-1])
        return len(finals)

    def _scan(self, groups: frozenset[int] | None, limit: int) -> list[Order]:
        """The next final rows, oldest first.

        It begins anew some time after it came to the end, for rows that turned up behind it: their time is by their command
        server's clock, and a transaction may take a while to commit. Not before: a long scan would never come to its end.
        """
        now_s = self._clock.monotonic_s()
        if self._rescan_at_s is not None and now_s >= self._rescan_at_s:
            self._cursor = self._rescan_at_s = None
        finals = self._hot.finals(groups, after=self._cursor, limit=limit)
        if len(finals) < limit and self._rescan_at_s is None:
            self._rescan_at_s = now_s + RESCAN_S
        return finals

    def _write(self, orders: Sequence[Order]) -> None:
        """Write, and let them settle from the acknowledgement on.

        One that the archive cannot hold stays in the hot store and is counted; it must not keep the others back.
        """
        if not orders:
            return
        try:
            self._archive.write(orders)
        except TierRejected as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            if len(orders) > 1:
                middle = len(orders) // 2
                self._write(orders[:middle])
                self._write(orders[middle:])
            return
        since_s = self._clock.monotonic_s()
        for order in orders:
            self._settling.pop(order.order_id, None)
            self._settling[order.order_id] = Settling(order, since_s)

    def _is_settling(self, order: Order) -> bool:
        known = self._settling.get(order.order_id)
        return known is not None and known.order == order

    def _without_conflicts(self, orders: Sequence[Order]) -> list[Order]:
        """Those that may be written. One that the archive holds with another final state stays where it is, and is counted."""
        if not orders:
            return []
        archived = self._archive.load([order.order_id for order in orders])
        writable = [o for o, there in zip(orders, archived, strict=True) if there is None or not _contradicts(there, o)]
        self._metrics.archive_conflicts.inc(len(orders) - len(writable))
        return writable

    def _remove_settled(self) -> int:
        due = self._due()
        if not due:
            return 0
        archived = self._archive.load([order.order_id for order in due])
        # A reference that was used again, after its window, leads to the newer order: that is what look-ups by it get.
        by_ref = self._archive.resolve([Ref(order.merchant_id, order.merchant_ref) for order in due])
        equal = [
            order
            for order, there, newest in zip(due, archived, by_ref, strict=True)
            if there == order and newest is not None and newest >= order.order_id
        ]
        self._remove([Removal(order.order_id, order.version) for order in equal])
        for order in due:
            del self._settling[order.order_id]
        self._metrics.archive_read_back_differs.inc(len(due) - len(equal))
        return len(due)

    def _remove(self, removals: Sequence[Removal]) -> None:
        """Some a transaction: while it lasts, others wait for its rows."""
        for start in range(0, len(removals), REMOVALS):
            removed = self._hot.remove(removals[start : start + REMOVALS], now_us=self._clock.now_us())
            self._metrics.archived.inc(sum(removed))

    def _due(self) -> list[Order]:
        """The oldest that have settled, at most a batch. They were put in by time, so the first that has not ends it."""
        latest = self._clock.monotonic_s() - self._settings.settle_s
        due: list[Order] = []
        for settling in self._settling.values():
            if settling.since_s > latest or len(due) == self._settings.batch:
                break
            due.append(settling.order)
        return due


def _contradicts(there: Order, order: Order) -> bool:
    """Whether the archive's copy ended otherwise, or is one that a write of `order` would lose against."""
    return there.status is not order.status or there.version > order.version
