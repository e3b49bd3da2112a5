"""Late results at work: kept before the answer that refuses them, and read back from wherever they are.

An outcome is a final status that the gateway asks for. It tells of money, so one that comes when the order is final already is
refused, since final is final, and never dropped: a refund may have to follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from orderctl.body import rfc3339
from orderctl.errors import TierError, TierRejected
from orderctl.metrics import Metrics
from orderctl.order import Change, Order, Refused, Status
from orderctl.services.answers import Failed, Missing
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import ChangeOutcome, HotStore
from orderctl.stores.late import LateArchive, LateResult, LateStore
from orderctl.stores.late_rows import earliest
from orderctl.stores.sharded import PartlyRead, PartlyWritten

T = TypeVar("T")


def is_late(change: Change, outcome: ChangeOutcome | Failed) -> bool:
    """Whether `change` is an outcome that came after its order was final, in other words than those that it ended by.

    Refused for its version (412) as well as for its status (409): what `If-Match` guards is the order, and the money has moved
    all the same. Whoever meets 412 on an open order asks again and is heard; on a final one nobody would be, ever.

    A merchant's cancel is a wish and no outcome, and a time-out is ours.
    """
    return (
        isinstance(outcome, Refused)
        and outcome.order is not None
        and outcome.order.status.is_final
        and change.merchant_id is None
        and change.status.is_final
        and change.status is not Status.TIMEOUT
    )


class LateShown(Struct, frozen=True):
    """A late result as people and programs see it. `received_at` is RFC 3339."""

    status: Status
    status_reason: str | None
    received_at: str


def shown(results: Sequence[LateResult]) -> list[LateShown]:
    """Each result as it is shown."""
    return [LateShown(one.status, one.status_reason, rfc3339(one.received_at)) for one in results]


class LateKeeper:
    """Keeps the late ones among a batch's outcomes."""

    def __init__(self, late: LateStore, metrics: Metrics) -> None:
        self._late = late
        self._metrics = metrics

    def settle(
        self, changes: Sequence[Change], outcomes: Sequence[ChangeOutcome | Failed], *, now_us: int
    ) -> list[ChangeOutcome | Failed]:
        """The outcomes, once the late ones are kept, by one call for the batch.

        One that could not be kept is `Failed`: whoever asked is told to ask again, or that nobody knows, and asking again in the
        same words is harmless.
        """
        settled = list(outcomes)
        late = [index for index, pair in enumerate(zip(changes, outcomes, strict=True)) if is_late(*pair)]
        if late:
            results = [_result(changes[index], now_us) for index in late]
            for index, error in zip(late, self._keep(results), strict=True):
                if error is not None:
                    settled[index] = Failed(error)
        return settled

    def _keep(self, results: Sequence[LateResult]) -> Sequence[TierError | None]:
        """Why each was not kept, None where it was."""
        try:
            self._late.keep(results)
            errors: Sequence[TierError | None] = [None] * len(results)
        except PartlyWritten as partly:
            errors = partly.outcomes
        except TierRejected as error:
            if len(results) > 1:  # One that cannot be held is its asker's trouble, and nobody else's.
                return [why for result in results for why in self._keep([result])]
            errors = [error]
        except TierError as error:
            errors = [error] * len(results)
        self._metrics.late_results.inc(errors.count(None))
        for why in {id(error): error for error in errors if error is not None}.values():
            self._metrics.tier_errors.labels(why.tier, type(why).__name__).inc()
        return errors


class LateReader:
    """Reads late results back: from the hot store first, and then from the archive, so what moves in between is not missed.

    The cache knows nothing of them, and is not asked whether an order exists either: the databases are asked already, and the
    answer is never "pending".
    """

    def __init__(
        self, late: LateStore, late_archive: LateArchive, hot: HotStore, archive: ArchiveStore, metrics: Metrics
    ) -> None:
        self._late = late
        self._late_archive = late_archive
        self._hot = hot
        self._archive = archive
        self._metrics = metrics

    def read(self, order_ids: Sequence[str]) -> list[list[LateResult] | Missing | Failed]:
        """Each order's, the earliest received first, each in one set of words once.

        `Missing` where there is no such order, `Failed` where a tier that had to be asked did not answer.
        """
        kept = self._each(self._late.load, order_ids)
        archived = self._each(self._late_archive.load, order_ids)
        answers = [_merged(*pair) for pair in zip(kept, archived, strict=True)]
        without = [order_id for order_id, answer in zip(order_ids, answers, strict=True) if answer == []]
        unknown = self._unknown(without) if without else {}
        return [unknown.get(order_id, answer) for order_id, answer in zip(order_ids, answers, strict=True)]

    def _unknown(self, order_ids: Sequence[str]) -> dict[str, Missing | Failed]:
        """Those of the orders that are in neither database, or of which that cannot be known."""
        here = self._each(self._hot.load, order_ids)
        found: dict[str, Order | TierError | None] = dict(zip(order_ids, here, strict=True))
        elsewhere = [order_id for order_id, order in found.items() if not isinstance(order, Order)]
        if elsewhere:
            there = self._each(self._archive.load, elsewhere)
            for order_id, order in zip(elsewhere, there, strict=True):
                # Not found in one and away in the other is not known; a failure of either says so.
                found[order_id] = order or found[order_id]
        return {
            order_id: Failed(order) if isinstance(order, TierError) else Missing()
            for order_id, order in found.items()
            if not isinstance(order, Order)
        }

    def _each(self, load: Callable[[Sequence[str]], list[T]], order_ids: Sequence[str]) -> Sequence[T | TierError]:
        try:
            return load(order_ids)
        except PartlyRead as partly:
            answers: Sequence[T | TierError] = partly.outcomes
        except TierError as error:
            answers = [error] * len(order_ids)
        for why in {id(answer): answer for answer in answers if isinstance(answer, TierError)}.values():
            self._metrics.tier_errors.labels(why.tier, type(why).__name__).inc()
        return answers


def _result(change: Change, now_us: int) -> LateResult:
    return LateResult(change.order_id, change.status, change.status_reason, now_us)


def _merged(*answers: list[LateResult] | TierError) -> list[LateResult] | Failed:
    found: list[LateResult] = []
    for answer in answers:
        if isinstance(answer, TierError):
            return Failed(answer)
        found += answer
    return earliest(found)
