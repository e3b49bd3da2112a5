"""Open orders of an older epoch: the archive's word goes before the hot store's, which may be that of a lagging copy.

After a fail-over or a restore the hot store may hold as open what was final, archived and removed before. So nobody changes
such a row until the archive was asked. What is final there stands, and the row is discarded; what is not is touched: it gets
its first version of the new epoch, and is an order like any other from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from orderctl.errors import TierError, TierUnavailable
from orderctl.metrics import Metrics
from orderctl.order import Change, Order, Transition, decide
from orderctl.services.answers import Failed
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import ChangeOutcome, HotStore, OldEpoch, Removal
from orderctl.stores.sharded import PartlyWritten

ROUNDS_MAX: Final = 3
"""A shard is promoted now and then, and not again while one batch is under way."""

T = TypeVar("T")

Settled = Order | Failed | None


def nobody(_: Sequence[Order]) -> None:
    """Who is told where there is no cache."""


class OlderEpochs:
    """Settles what the hot store calls `OldEpoch`. Any thread may use it, and several processes at once."""

    def __init__(
        self,
        hot: HotStore,
        archive: ArchiveStore,
        metrics: Metrics,
        *,
        tell: Callable[[Sequence[Order]], None] = nobody,
    ) -> None:
        """`tell` is given archived orders before their rows are discarded, for the cache.

        Once the row is gone, nothing else would tell it that what it may have from there is the past. A `TierError` from it fails
        these orders.
        """
        self._hot = hot
        self._archive = archive
        self._metrics = metrics
        self._tell = tell

    def settle(self, orders: Sequence[Order], *, now_us: int) -> list[Settled]:
        """Of each order, which is an open row of an older epoch as the hot store showed it, what became of it.

        The order as the archive has it: it is final, it stands, and its row was discarded. None: the archive has none; its row
        was touched, or has moved on meanwhile, and is to be asked for again. `Failed`: the archive or the row's shard could not
        be asked; settling it again is harmless. The same order may come several times. Nothing is raised.
        """
        wanted = list({order.order_id: order for order in orders}.values())
        try:
            archived = self._archive.load([order.order_id for order in wanted])
        except TierError as error:
            return [Failed(self._counted(error))] * len(orders)
        final = [order for order in archived if order is not None]
        rows = [order for order, found in zip(wanted, archived, strict=True) if found is not None]
        others = [order for order, found in zip(wanted, archived, strict=True) if found is None]
        settled = self._discard(final, rows, now_us) | self._touch(others, now_us)
        return [settled[order.order_id] for order in orders]

    def settle_changes(
        self, changes: Sequence[Change], outcomes: Sequence[ChangeOutcome | Failed], *, now_us: int
    ) -> list[ChangeOutcome | Failed]:
        """`outcomes` of `changes`, by `HotStore.change`, each `OldEpoch` settled, and decided by whoever has the order."""
        done = list(outcomes)
        for _ in range(ROUNDS_MAX):
            old = [(place, outcome.order) for place, outcome in enumerate(done) if isinstance(outcome, OldEpoch)]
            if not old:
                return done
            settled = self.settle([order for _, order in old], now_us=now_us)
            again: list[int] = []
            for (place, _), found in zip(old, settled, strict=True):
                if found is None:
                    again.append(place)
                else:
                    done[place] = found if isinstance(found, Failed) else _decided(found, changes[place])
            for place, outcome in zip(again, self._change([changes[place] for place in again], now_us), strict=True):
                done[place] = outcome
        away = Failed(TierUnavailable("hot", f"{ROUNDS_MAX} times the order was found to be of an older epoch"))
        return [away if isinstance(outcome, OldEpoch) else outcome for outcome in done]

    def _discard(self, final: Sequence[Order], rows: Sequence[Order], now_us: int) -> dict[str, Settled]:
        """The archive's word stands, whatever becomes of the rows: those that stay are discarded by the next who meets them."""
        if not final:
            return {}
        try:
            self._tell(final)
        except TierError as error:
            return dict.fromkeys((order.order_id for order in final), Failed(self._counted(error)))
        self._try(lambda: self._hot.discard(_rows_of(rows), now_us=now_us), len(rows))
        return {order.order_id: order for order in final}

    def _touch(self, orders: Sequence[Order], now_us: int) -> dict[str, Settled]:
        """Whether a row was raised or not, it is to be asked for again; a write whose outcome is unknown included."""
        found = self._try(lambda: self._hot.touch(_rows_of(orders), now_us=now_us), len(orders)) if orders else []
        return {
            order.order_id: Failed(outcome) if isinstance(outcome, TierUnavailable) else None
            for order, outcome in zip(orders, found, strict=True)
        }

    def _change(self, changes: Sequence[Change], now_us: int) -> list[ChangeOutcome | Failed]:
        if not changes:
            return []
        found = self._try(lambda: self._hot.change(changes, now_us=now_us), len(changes))
        return [Failed(outcome) if isinstance(outcome, TierError) else outcome for outcome in found]

    def _try(self, call: Callable[[], list[T]], number: int) -> list[T | TierError]:
        """What `call` returns, with the errors of those shards that failed in their items' places."""
        try:
            return [*call()]
        except PartlyWritten as partly:
            for error in {
                id(outcome): outcome for outcome in partly.outcomes if isinstance(outcome, TierError)
            }.values():
                self._counted(error)
            return list(partly.outcomes)
        except TierError as error:
            return [self._counted(error)] * number

    def _counted(self, error: TierError) -> TierError:
        self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
        return error


def _rows_of(orders: Sequence[Order]) -> list[Removal]:
    return [Removal(order.order_id, order.version) for order in orders]


def _decided(archived: Order, change: Change) -> ChangeOutcome:
    decision = decide(archived, change, now_us=0)
    assert not isinstance(decision, Transition), "an archived order is final"
    return decision
