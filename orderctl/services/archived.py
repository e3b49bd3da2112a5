"""The archive's word on orders whose rows have left the hot store: a replay is the archived order, a change is decided on it."""

from __future__ import annotations

from collections.abc import Sequence

from orderctl.errors import TierError, TierRejected
from orderctl.metrics import Metrics
from orderctl.order import Change, Order, Refused, Transition, decide
from orderctl.services.answers import Failed
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import ChangeOutcome, Created, CreateOutcome, Moved, ReferenceReused, Replayed


class Archived:
    """Settles what the hot store could not.

    Where the archive is away the answer is `Failed`: never "not found", never a second order.
    """

    def __init__(self, archive: ArchiveStore, metrics: Metrics) -> None:
        self._archive = archive
        self._metrics = metrics

    def settle_creates(
        self, outcomes: Sequence[CreateOutcome | Failed]
    ) -> list[Created | Replayed | ReferenceReused | Failed]:
        """Each `Moved` as a replay of the archived order."""
        found = self._load([outcome.order_id for outcome in outcomes if isinstance(outcome, Moved)])
        return [self._replay(found[o.order_id], o) if isinstance(o, Moved) else o for o in outcomes]

    def settle_changes(
        self, changes: Sequence[Change], outcomes: Sequence[ChangeOutcome | Failed]
    ) -> list[ChangeOutcome | Failed]:
        """Each order that the hot store did not find, as the archive has it.

        The archiver copies before it removes, so an order that was in neither, asked in this order, was never there.
        """
        found = self._load([c.order_id for c, o in zip(changes, outcomes, strict=True) if _is_missing(o)])
        return [
            self._decide(found[change.order_id], change) if _is_missing(outcome) else outcome
            for change, outcome in zip(changes, outcomes, strict=True)
        ]

    def _load(self, order_ids: Sequence[str]) -> dict[str, Order | TierError | None]:
        wanted = list(dict.fromkeys(order_ids))
        if not wanted:
            return {}
        try:
            return dict(zip(wanted, self._archive.load(wanted), strict=True))
        except TierError as error:
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
            return dict.fromkeys(wanted, error)

    @staticmethod
    def _replay(found: Order | TierError | None, moved: Moved) -> Replayed | Failed:
        if isinstance(found, Order):
            return Replayed(found)
        return Failed(found or TierRejected("archive", f"order {moved.order_id} has moved here, and is not here"))

    @staticmethod
    def _decide(found: Order | TierError | None, change: Change) -> ChangeOutcome | Failed:
        if isinstance(found, TierError):
            return Failed(found)
        decision = decide(found, change, now_us=0)
        assert not isinstance(decision, Transition), "an archived order is final"
        return decision


def _is_missing(outcome: ChangeOutcome | Failed) -> bool:
    """Whether the hot store had no such order, or none of this caller's."""
    return isinstance(outcome, Refused) and outcome.order is None
