"""The cache as a help that may fail: as a whole it is left alone for a while, a node's failure is its orders' alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orderctl.errors import TierError, TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Change, Status
from orderctl.services.answers import Stored
from orderctl.services.caching import PAUSE_S, BestEffort
from orderctl.stores.cache import CacheStore, NodesAway, Promotion, Put, Tentative
from orderctl.stores.record import Kind
from tests.services.tiers import Bench, Failing, asking

GROUPS = 64
GONE = TierUnavailable("cache", "the node is away")


class HalfAway:
    """A cache of two nodes, of which the one with the odd groups is away."""

    def __init__(self, cache: CacheStore) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def tentative(self, tentatives: Sequence[Tentative]) -> list[bool]:
        return self._half([one.record.order_id for one in tentatives], self._cache.tentative(tentatives))

    def promote(self, promotions: Sequence[Promotion]) -> list[bool]:
        return self._half([one.order_id for one in promotions], self._cache.promote(promotions))

    def apply(self, puts: Sequence[Put]) -> list[Any]:
        return self._half([one.record.order_id for one in puts], self._cache.apply(puts))

    def _half(self, order_ids: Sequence[str], found: list[Any]) -> list[Any]:
        outcomes = [GONE if is_away(o) else one for o, one in zip(order_ids, found, strict=True)]
        if GONE in outcomes:
            raise NodesAway(outcomes)
        return found


def is_away(order_id: str) -> bool:
    """Whether the order's node is the one that is away."""
    return group_of(order_id, GROUPS) % 2 == 1


@pytest.fixture
def best_effort(bench: Bench) -> BestEffort:
    """It, on the bench's clock."""
    return BestEffort(bench.clock, bench.metrics)


def failing(error: TierError) -> list[int]:
    """A call that fails."""
    raise error


def test_what_all_answer_is_returned(best_effort: BestEffort) -> None:
    """As it is, item by item or whole."""
    assert best_effort.run(lambda: [1, 2]) == [1, 2]
    assert best_effort.each(lambda: [1, 2], "ab") == [1, 2]


def test_a_whole_failure_leads_to_a_pause(bench: Bench, best_effort: BestEffort) -> None:
    """Each item is told why; for a while nobody asks again; then the cache is asked as before."""
    assert best_effort.each(lambda: failing(GONE), "ab") == [GONE, GONE]
    skipped = best_effort.each(lambda: [1], "a")
    assert isinstance(skipped[0], TierUnavailable)
    assert best_effort.run(lambda: [1]) is None
    bench.clock.advance(PAUSE_S)
    assert best_effort.each(lambda: [1], "a") == [1]
    assert bench.counted("tier_errors_total", tier="cache", kind="TierUnavailable") == 1


def test_a_node_s_failure_is_its_own_items(bench: Bench, best_effort: BestEffort) -> None:
    """The others' answers are kept, and nobody pauses; who wants all or nothing has nothing."""
    error = NodesAway([1, GONE, 3])
    assert best_effort.each(lambda: failing(error), "abc") == [1, GONE, 3]
    assert best_effort.run(lambda: failing(error)) is None
    assert best_effort.run(lambda: [1]) == [1]
    assert bench.counted("tier_errors_total", tier="cache", kind="NodesAway") == 2


def test_nothing_is_asked_for_nothing(best_effort: BestEffort) -> None:
    """A call without items would cost a round trip."""
    assert best_effort.each(lambda: failing(GONE), []) == []


def test_creates_and_changes_reach_the_nodes_that_are_there(bench: Bench) -> None:
    """With half of the cache away every order is stored, and those of the other half are cached as ever."""
    bench.cache = Failing(HalfAway(bench.tiers.cache))
    command = bench.command()
    stored = command.create([asking(f"r{i}") for i in range(40)])
    ids = [one.record.order_id for one in stored if isinstance(one, Stored)]
    assert len(ids) == 40
    here = [order_id for order_id in ids if not is_away(order_id)]
    assert 0 < len(here) < 40
    assert {entry.kind for entry in bench.tiers.cache.get(here) if entry} == {Kind.RECORD}
    command.change([Change(order_id, Status.PROCESSING) for order_id in ids])
    assert {entry.version for entry in bench.tiers.cache.get(here) if entry} == {2}
