"""What `LateStore.oldest` promises: the earliest received first, in pages, and of these groups only."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderctl.ids import group_of
from orderctl.order import Status
from orderctl.stores.late import LateResult, LateStore
from tests.contract.hot_harness import GROUPS
from tests.contract.late_harness import REASONS, a_late, an_id

SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""Every backend runs the test on a store that lives for all its examples; each example begins by emptying it."""


def pages(late: LateStore, size: int, groups: frozenset[int] | None = None) -> list[LateResult]:
    """All there is, asked for page by page."""
    found: list[LateResult] = []
    while page := late.oldest(groups, after=found[-1] if found else None, limit=size):
        assert len(page) <= size
        found += page
    return found


class PagingContract:
    """`LateStore.oldest`."""

    def test_the_earliest_received_comes_first(self, late: LateStore) -> None:
        """Whatever the ids say, in whatever order they were kept."""
        results = [a_late(at=at) for at in (5, 3, 9, 1, 7)]
        late.keep(results)
        expected = sorted(results, key=lambda result: result.received_at)
        assert late.oldest(None, after=None, limit=10) == expected
        assert late.oldest(None, after=None, limit=2) == expected[:2]
        assert late.oldest(None, after=expected[1], limit=2) == expected[2:4]
        assert late.oldest(None, after=expected[-1], limit=2) == []
        assert late.oldest(None, after=None, limit=0) == []

    def test_pages_leave_out_nothing_received_at_one_moment(self, late: LateStore) -> None:
        """A batch has one time for all, and one order may have several results in it."""
        order_ids = [an_id() for _ in range(4)]
        results = [
            a_late(order_id, status=status, status_reason=reason)
            for order_id in order_ids
            for status in (Status.FAILED, Status.SUCCESS, Status.CANCELLED)
            for reason in REASONS
        ]
        late.keep(results)
        for size in (1, 7, len(results), 1000):
            found = pages(late, size)
            assert len(found) == len(results)
            assert set(found) == set(results)

    def test_a_place_whose_result_has_gone_is_still_a_place(self, late: LateStore) -> None:
        """The mover removes what it has paged past."""
        results = [a_late(at=at) for at in range(4)]
        late.keep(results)
        late.remove(results[:2])
        assert late.oldest(None, after=results[1], limit=10) == results[2:]
        assert late.oldest(None, after=a_late(at=2), limit=10) == results[3:]

    def test_only_these_groups(self, late: LateStore) -> None:
        """Every group's results are found by whoever asks for it, and by nobody else."""
        results = [a_late(at=at) for at in range(100)]
        late.keep(results)
        by_group = {group: [r for r in results if group_of(r.order_id, GROUPS) == group] for group in range(GROUPS)}
        assert [late.oldest(frozenset({group}), after=None, limit=100) for group in range(GROUPS)] == [
            *by_group.values()
        ]
        half = frozenset(range(0, GROUPS, 2))
        assert pages(late, 9, half) == [result for result in results if group_of(result.order_id, GROUPS) in half]
        assert late.oldest(frozenset(), after=None, limit=100) == []
        assert pages(late, 9, frozenset(range(GROUPS))) == results

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12), st.integers(1, 5))
    @settings(deadline=None, max_examples=25, suppress_health_check=SHARED)
    def test_pages_of_any_size_are_the_whole(self, late: LateStore, wishes: list[tuple[int, int]], size: int) -> None:
        """Each once, by time."""
        late.remove(late.oldest(None, after=None, limit=1000))
        order_ids = [an_id() for _ in range(3)]
        results = {(at, which): a_late(order_ids[which], at=at, status_reason=str(at)) for at, which in wishes}
        late.keep(list(results.values()))
        found = pages(late, size)
        assert sorted(found, key=str) == sorted(results.values(), key=str)
        assert [result.received_at for result in found] == sorted(result.received_at for result in found)
