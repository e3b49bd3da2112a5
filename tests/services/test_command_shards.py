"""Creating and changing where one shard is away: its orders' merchants are told so, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orderctl.errors import OutcomeUnknown, TierError
from orderctl.order import Change, Status
from orderctl.services.answers import Failed, Stored
from orderctl.stores.hot import ChangeOutcome, CreateOutcome, Draft, HotStore, do_nothing
from orderctl.stores.record import Kind, Record
from orderctl.stores.sharded import PartlyWritten
from tests.services.tiers import Bench, asking, away


class HalfAway:
    """A hot store whose every second item is of a shard that fails."""

    def __init__(self, store: HotStore, error: TierError) -> None:
        self._store = store
        self._error = error

    def create(self, drafts: Sequence[Draft], *, before_commit: Callable[[], None] = do_nothing) -> list[CreateOutcome]:
        raise PartlyWritten(self._mixed(self._store.create(drafts[::2], before_commit=before_commit), len(drafts)))

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        raise PartlyWritten(self._mixed(self._store.change(changes[::2], now_us=now_us), len(changes)))

    def _mixed(self, outcomes: Sequence[Any], number: int) -> list[Any]:
        return [self._error if place % 2 else outcomes[place // 2] for place in range(number)]


REQUESTS = [asking(f"r{number}") for number in range(4)]
UNKNOWN = OutcomeUnknown("mysql")


@pytest.mark.parametrize(("error", "kind"), [(away("mysql"), "failed"), (UNKNOWN, "unknown")], ids=["away", "unknown"])
def test_each_creation_is_answered_by_its_own_shard(bench: Bench, error: TierError, kind: str) -> None:
    """Those of the other shard are created, and their records promoted; no tentative of a failed one is left to be served."""
    answers = bench.command(HalfAway(bench.tiers.hot, error)).create(REQUESTS)
    assert [type(answer) for answer in answers] == [Stored, Failed, Stored, Failed]
    assert answers[1] == answers[3] == Failed(error)
    stored = [answer.record for answer in answers if isinstance(answer, Stored)]
    entries = bench.tiers.cache.get([record.order_id for record in stored])
    assert [entry.kind for entry in entries if entry] == [Kind.RECORD] * 2
    assert (bench.counted("creates_total", outcome="created"), bench.counted("creates_total", outcome=kind)) == (2, 2)
    assert bench.counted("tier_errors_total", tier="mysql", kind=type(error).__name__) == 1
    assert "invalidate" in bench.cache.calls


@pytest.mark.parametrize(("error", "is_kept"), [(away("mysql"), True), (UNKNOWN, False)], ids=["away", "unknown"])
def test_each_change_is_answered_by_its_own_shard(bench: Bench, error: TierError, *, is_kept: bool) -> None:
    """What may have changed is taken out of the cache; what has not stays."""
    ids = [answer.record.order_id for answer in bench.command().create(REQUESTS) if isinstance(answer, Stored)]
    changes = [Change(order_id, Status.SUCCESS) for order_id in ids]
    answers = bench.command(HalfAway(bench.tiers.hot, error)).change(changes)
    assert [type(answer) for answer in answers] == [Record, Failed, Record, Failed]
    statuses = [entry.status if entry else None for entry in bench.tiers.cache.get(ids)]
    assert statuses == [Status.SUCCESS, Status.PENDING if is_kept else None] * 2
