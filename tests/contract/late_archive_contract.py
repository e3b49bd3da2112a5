"""The late archive's contract suite: one set of tests against the Protocol, which every backend inherits and none changes."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from orderctl.errors import TierRejected, TierUnavailable
from orderctl.order import FINAL, Status
from orderctl.stores.late import LateArchive
from tests.contract.hot_harness import at_once
from tests.contract.late_harness import REASONS, LateArchiveHarness, a_late, an_id

SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


class LateArchiveContract:
    """A backend's test class inherits this and gives a fixture named `harness`: a `LateArchiveHarness`."""

    @pytest.fixture
    def archive(self, harness: LateArchiveHarness) -> LateArchive:
        """The store under test."""
        return harness.open()

    @pytest.mark.parametrize("status", sorted(FINAL))
    def test_a_result_comes_back_as_it_was(self, archive: LateArchive, status: Status) -> None:
        """Whatever its status, and whatever is in its reason."""
        order_id = an_id()
        results = [a_late(order_id, at=n, status=status, status_reason=reason) for n, reason in enumerate(REASONS)]
        archive.write(results)
        assert archive.load([order_id]) == [results]

    def test_of_the_same_words_the_earliest_received_stays(self, archive: LateArchive) -> None:
        """In whatever order they come, in one batch and in several."""
        for reason in REASONS:
            order_id = an_id()
            early, middle, late = (a_late(order_id, at=at, status_reason=reason) for at in (1, 2, 3))
            archive.write([late])
            archive.write([early, middle])
            archive.write([late, middle])
            assert archive.load([order_id]) == [[early]]

    @given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, "a"])), max_size=4), max_size=5))
    @settings(deadline=None, max_examples=40, suppress_health_check=SHARED)
    def test_any_sequence_of_writes_ends_at_the_earliest(
        self, archive: LateArchive, history: list[list[tuple[int, str | None]]]
    ) -> None:
        """Of each set of words; writing again, or late, changes nothing."""
        order_id = an_id()
        for batch in history:
            archive.write([a_late(order_id, at=at, status_reason=reason) for at, reason in batch])
        earliest: dict[str | None, int] = {}
        for at, reason in (one for batch in history for one in batch):
            earliest[reason] = min(at, earliest.get(reason, at))
        [found] = archive.load([order_id])
        assert set(found) == {a_late(order_id, at=at, status_reason=reason) for reason, at in earliest.items()}
        assert [result.received_at for result in found] == sorted(result.received_at for result in found)

    def test_results_are_in_the_order_asked(self, archive: LateArchive) -> None:
        """None is an empty list, and what was asked twice is there twice."""
        one, two = a_late(), a_late()
        archive.write([one, two])
        assert archive.load([two.order_id, an_id(), one.order_id, two.order_id]) == [[two], [], [one], [two]]

    def test_nothing_asked_is_nothing_done(self, archive: LateArchive) -> None:
        """Empty batches are answered by empty batches."""
        archive.write([])
        assert archive.load([]) == []

    def test_a_batch_of_500_over_all_groups(self, archive: LateArchive) -> None:
        """Each is beside its order."""
        results = [a_late(at=number) for number in range(500)]
        archive.write(results)
        assert archive.load([result.order_id for result in results]) == [[result] for result in results]

    def test_what_was_written_is_there_for_everybody(self, harness: LateArchiveHarness) -> None:
        """As soon as it was acknowledged."""
        result = a_late()
        harness.open().write([result])
        assert harness.open().load([result.order_id]) == [[result]]

    def test_two_movers_of_the_same_results_are_harmless(self, harness: LateArchiveHarness) -> None:
        """They may write the same batch at once, one forwards and one backwards, also of different times."""
        order_ids = [an_id() for _ in range(50)]
        batches = [[a_late(order_id, at=number) for order_id in order_ids] for number in range(4)]
        stores = [harness.open() for _ in batches]
        at_once(
            [
                partial(s.write, batch[:: 1 - 2 * (n % 2)])
                for n, (s, batch) in enumerate(zip(stores, batches, strict=True))
            ]
        )
        assert stores[0].load(order_ids) == [[result] for result in batches[0]]

    def test_what_cannot_be_held_is_rejected(self, archive: LateArchive) -> None:
        """Nothing of its batch is written; the store goes on."""
        order_id = an_id()
        good, bad = a_late(order_id), a_late(order_id, status_reason="half a pair: \ud800")
        with pytest.raises(TierRejected):
            archive.write([good, bad])
        archive.write([good])
        assert archive.load([order_id]) == [[good]]

    def test_it_is_closed_with_its_archive(self, harness: LateArchiveHarness) -> None:
        """Then it says that it cannot be reached."""
        archive = harness.open()
        harness.close()
        result = structs.replace(a_late(), status=Status.FAILED)
        for call in (partial(archive.write, [result]), partial(archive.load, [result.order_id])):
            with pytest.raises(TierUnavailable, match="closed"):
                call()
