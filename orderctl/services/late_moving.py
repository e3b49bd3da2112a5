"""The move of late results to the archive: write, settle, read back, compare, remove, as final orders move.

A loop of its own, by their own key, and never with their order: one may come years after its order has moved. What was said of
`archiving.Mover` holds here too: *acknowledged* is not *on disk*, so the wait counts from our own acknowledged write, on our own
monotonic clock, and a process that was restarted begins anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierRejected
from orderctl.metrics import Metrics
from orderctl.stores.late import LateArchive, LateResult, LateStore

RESCAN_S = 2.0
"""How long after a look at all of them the next one begins."""


class LateMoverSettings(Struct, frozen=True):
    """`settle_s` as for orders: at least twice the archive's sync period, 0 where an acknowledged write is on disk."""

    settle_s: float = 0.0
    batch: int = 500
    settling_max: int = 20_000
    """Results that wait at a time; what is beyond stays in the hot store a little longer."""


class LateMover:
    """Moves late results, some at a time. Whatever it holds in memory may be forgotten at any moment."""

    def __init__(
        self,
        late: LateStore,
        archive: LateArchive,
        *,
        clock: Clock,
        metrics: Metrics,
        settings: LateMoverSettings,
    ) -> None:
        self._late = late
        self._archive = archive
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._settling: OrderedDict[LateResult, float] = OrderedDict()
        self._groups: frozenset[int] | None = None
        self._after: LateResult | None = None
        self._rescan_at_s: float | None = None

    def step(self, groups: frozenset[int] | None) -> int:
        """One batch of each stage; returns how many results were looked at. 0 means that there is nothing to do now.

        `groups` limits it to these groups' results, None is all: others look after the rest.

        Raises:
            TierError: a tier failed; all of it may be done again.

        """
        self._take_over(groups)
        return self._remove_settled() + self._write_more(groups)

    def _take_over(self, groups: frozenset[int] | None) -> None:
        """Begin anew where a group was taken from us: whoever has it now writes its results, too."""
        before, self._groups = self._groups, groups
        if groups is not None and (before is None or before - groups):
            self._settling.clear()
        if groups != before:
            self._after = self._rescan_at_s = None

    def _write_more(self, groups: frozenset[int] | None) -> int:
        room = self._settings.settling_max - len(self._settling)
        if room <= 0:
            return 0
        found = self._scan(groups, min(self._settings.batch, room))
        self._write([result for result in found if result not in self._settling])
        if found:
            # Not before they are written: what failed is next again.
            self._after = found[-1]
        return len(found)

    def _scan(self, groups: frozenset[int] | None, limit: int) -> list[LateResult]:
        """The next results, oldest first; anew some time after the end, for those that turned up behind."""
        now_s = self._clock.monotonic_s()
        if self._rescan_at_s is not None and now_s >= self._rescan_at_s:
            self._after = self._rescan_at_s = None
        found = self._late.oldest(groups, after=self._after, limit=limit)
        if len(found) < limit and self._rescan_at_s is None:
            self._rescan_at_s = now_s + RESCAN_S
        return found

    def _write(self, results: Sequence[LateResult]) -> None:
        """Write, and let them settle from the acknowledgement on. One that the archive cannot hold must not keep others back."""
        if not results:
            return
        try:
            self._archive.write(results)
        except TierRejected as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            if len(results) > 1:
                middle = len(results) // 2
                self._write(results[:middle])
                self._write(results[middle:])
            return
        since_s = self._clock.monotonic_s()
        self._settling.update(dict.fromkeys(results, since_s))

    def _remove_settled(self) -> int:
        """Remove what the archive has. It may have the same words from earlier, which is what stays there."""
        due = self._due()
        if not due:
            return 0
        archived = self._archive.load([result.order_id for result in due])
        there = {result.key: result.received_at for results in archived for result in results}
        moved = [result for result in due if there.get(result.key, result.received_at + 1) <= result.received_at]
        if moved:
            self._late.remove(moved)
        for result in due:
            del self._settling[result]
        self._metrics.late_results_archived.inc(len(moved))
        self._metrics.archive_read_back_differs.inc(len(due) - len(moved))
        return len(due)

    def _due(self) -> list[LateResult]:
        """The oldest that have settled, at most a batch. They were put in by time, so the first that has not ends it."""
        latest_s = self._clock.monotonic_s() - self._settings.settle_s
        due: list[LateResult] = []
        for result, since_s in self._settling.items():
            if since_s > latest_s or len(due) == self._settings.batch:
                break
            due.append(result)
        return due
