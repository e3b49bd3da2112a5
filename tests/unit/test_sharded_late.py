"""Late results over two shards of which one fails: the other's are kept, and each caller is told of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from orderctl.clock import ManualClock
from orderctl.errors import OutcomeUnknown, TierError, TierUnavailable
from orderctl.ids import group_of
from orderctl.stores.late import LateResult
from orderctl.stores.sharded import PartlyRead, PartlyWritten
from orderctl.stores.sharded_late import ShardedLateStore
from orderctl.stores.sqlite.embedded import open_embedded_hot
from tests.contract.hot_harness import GROUPS
from tests.contract.late_harness import a_late
from tests.services.tiers import Failing

RANGES = (range(40), range(40, GROUPS))


class Shards:
    """Two databases in memory, each made to fail at will, and results of which every other is the second's."""

    def __init__(self, stores: list[Failing]) -> None:
        self.stores = stores
        self.late = ShardedLateStore(list(zip(RANGES, stores, strict=True)), groups=GROUPS)
        results = [a_late(at=number) for number in range(400)]
        own: list[list[LateResult]] = [
            [r for r in results if group_of(r.order_id, GROUPS) in groups] for groups in RANGES
        ]
        self.first, self.second = own[0][:10], own[1][:10]
        self.all = [result for pair in zip(self.first, self.second, strict=True) for result in pair]
        self.order_ids = [result.order_id for result in self.all]

    def fail(self, *errors: TierError | None) -> None:
        """Let each shard fail so, or not."""
        for store, error in zip(self.stores, errors, strict=True):
            store.error = error


@pytest.fixture
def shards() -> Iterator[Shards]:
    with ExitStack() as stack:
        hots = [
            stack.enter_context(closing(open_embedded_hot(None, groups=GROUPS, clock=ManualClock()))) for _ in RANGES
        ]
        yield Shards([Failing(hot.late) for hot in hots])


def test_each_is_beside_its_order(shards: Shards) -> None:
    """A call that needs one shard asks no other."""
    shards.late.keep(shards.first)
    assert shards.stores[1].calls == []
    shards.late.keep(shards.all)
    for store, own in zip(shards.stores, (shards.first, shards.second), strict=True):
        assert store.oldest(None, after=None, limit=100) == sorted(own, key=lambda result: result.received_at)


@pytest.mark.parametrize("verb", ["keep", "remove"])
def test_what_the_other_shard_did_is_told(shards: Shards, verb: str) -> None:
    """Item by item: None for what was done, and each shard's own error."""
    error = OutcomeUnknown("hot", "lost")
    if verb == "remove":
        shards.late.keep(shards.all)
    shards.fail(None, error)
    with pytest.raises(PartlyWritten) as caught:
        getattr(shards.late, verb)(shards.all)
    assert caught.value.outcomes == (None, error) * 10
    shards.fail(None, None)
    is_there: list[Any] = [bool(found) for found in shards.late.load(shards.order_ids)]
    assert is_there == ([True, False] if verb == "keep" else [False, True]) * 10


def test_what_the_other_shard_has_is_read(shards: Shards) -> None:
    """Each order's results, or the error of its shard; a page of the oldest is whole or not to be had."""
    shards.late.keep(shards.all)
    error = TierUnavailable("hot", "away")
    shards.fail(error, None)
    with pytest.raises(PartlyRead) as caught:
        shards.late.load(shards.order_ids)
    assert list(caught.value.outcomes) == [part for result in shards.second for part in (error, [result])]
    with pytest.raises(TierUnavailable):
        shards.late.oldest(None, after=None, limit=1)
    assert shards.late.oldest(frozenset(RANGES[1]), after=None, limit=1)[0] in shards.second


def test_where_all_fail_alike_that_is_what_is_raised(shards: Shards) -> None:
    """Unknown together with unavailable is not alike: of some it is known."""
    shards.fail(TierUnavailable("hot", "one"), TierUnavailable("hot", "other"))
    with pytest.raises(TierUnavailable):
        shards.late.keep(shards.all)
    shards.fail(TierUnavailable("hot"), OutcomeUnknown("hot"))
    with pytest.raises(PartlyWritten):
        shards.late.keep(shards.all)


def test_a_fault_of_ours_is_raised(shards: Shards) -> None:
    """It is no shard's word."""
    shards.fail(None, ZeroDivisionError())  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        shards.late.keep(shards.all)
