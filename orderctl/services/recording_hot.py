"""The same for the databases: what is timed out, and what is moved to the archive, of orders that are named. See `recording`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from msgspec import structs

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.order import Order, Status
from orderctl.services.recording import Effects
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.deadlines import DeadlineStore, NotDue, Settled, TimedOut, TimeOutOutcome
from orderctl.stores.hot import Cursor, HotStore, OldEpoch, Ref, Removal
from orderctl.stores.sharded import PartlyWritten


class RecordingDeadlines:
    """As much of a `DeadlineStore` as hints need. Not live, it judges deadlines by this process's clock."""

    def __init__(self, deadlines: DeadlineStore, hot: HotStore, effects: Effects, *, clock: Clock, live: bool) -> None:
        self._deadlines = deadlines
        self._hot = hot
        self._effects = effects
        self._clock = clock
        self._live = live
        self._older: list[Order] = []
        self._failure: TierError | None = None

    def time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome]:
        """As `DeadlineStore.time_out`."""
        if not self._live:
            return [self._predict(order) for order in self._hot.load(order_ids)]
        try:
            outcomes: Sequence[object] = self._deadlines.time_out(order_ids)
        except TierError as error:
            self._failure = error
            outcomes = error.outcomes if isinstance(error, PartlyWritten) else ()
            self._note(outcomes)
            raise
        self._note(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, TimedOut | NotDue | Settled | OldEpoch)]

    def settle(self) -> None:
        """Note what became of rows of an older epoch. To be called after each batch.

        Raises:
            TierError: of some orders of the batch nobody knows; their time-outs are asked for by the daemon's sweep, too.

        """
        older, self._older = self._older, []
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if older:
            for order, now in zip(older, self._hot.load([order.order_id for order in older]), strict=True):
                if now != order:
                    self._effects.add(order.order_id, f"{order.status}, of an older epoch, is settled")

    def _note(self, outcomes: Iterable[object]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, TimedOut):
                self._effects.add(outcome.order.order_id, "it is timed out")
            elif isinstance(outcome, OldEpoch):
                self._older.append(outcome.order)

    def _predict(self, order: Order | None) -> TimeOutOutcome:
        if order is None or order.status.is_final:
            return Settled()
        late_us = self._clock.now_us() - order.deadline_at
        if late_us < 0:
            return NotDue(-late_us)
        self._effects.add(order.order_id, "it is timed out")
        return TimedOut(structs.replace(order, status=Status.TIMEOUT, status_reason=None), late_us)


class NamedFinals:
    """As much of a `HotStore` as the archiver needs: the final rows among orders that were named, each once."""

    def __init__(self, hot: HotStore, effects: Effects, *, live: bool) -> None:
        self._hot = hot
        self._effects = effects
        self._live = live
        self._named: deque[Order] = deque()

    def name(self, order_ids: Sequence[str]) -> None:
        """Name orders; the final ones come next.

        Raises:
            TierError: the hot store failed.

        """
        found = [order for order in self._hot.load(order_ids) if order is not None and order.status.is_final]
        self._named.extend(sorted(found, key=Cursor.behind))

    def finals(self, groups: frozenset[int] | None, *, after: Cursor | None, limit: int) -> list[Order]:  # noqa: ARG002
        """As `HotStore.finals`, with a cursor of its own: what was named last may be older than what was moved before."""
        return [self._named.popleft() for _ in range(min(limit, len(self._named)))]

    def remove(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        """As `HotStore.remove`."""
        removed = self._hot.remove(removals, now_us=now_us) if self._live else [True] * len(removals)
        for removal, done in zip(removals, removed, strict=True):
            if done:
                self._effects.add(removal.order_id, "it moves to the archive")
        return removed


class UnwrittenArchive:
    """As much of an `ArchiveStore` as the archiver needs, in which what is written stays in memory until it was read back."""

    def __init__(self, archive: ArchiveStore) -> None:
        self._archive = archive
        self._written: dict[str, Order] = {}

    def write(self, orders: Sequence[Order]) -> None:
        """As `ArchiveStore.write`."""
        self._written |= {order.order_id: order for order in orders}

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        """As `ArchiveStore.load`."""
        found = zip(order_ids, self._archive.load(order_ids), strict=True)
        return [self._written.get(order_id, there) for order_id, there in found]

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        """As `ArchiveStore.resolve`. Written is the newest, or one is there that is newer, which is as good."""
        written = {Ref(order.merchant_id, order.merchant_ref): order.order_id for order in self._written.values()}
        return [written.get(ref) for ref in refs]

    def forget(self) -> None:
        """Forget what was written, once it was read back."""
        self._written.clear()
