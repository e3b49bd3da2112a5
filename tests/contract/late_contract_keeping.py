"""What keeping late results promises: each set of words once, as it was first received, and nothing of it lost."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec import structs

from orderctl.errors import TierRejected, TierUnavailable
from orderctl.order import FINAL, Status
from orderctl.stores.hot import Removal
from orderctl.stores.late import LateStore
from tests.contract.hot_harness import at_once, create, to
from tests.contract.late_harness import REASONS, LateHarness, a_late, an_id


class KeepingContract:
    """`LateStore.keep`, `load` and `remove`."""

    @pytest.mark.parametrize("status", sorted(FINAL))
    def test_a_result_comes_back_as_it_was(self, late: LateStore, status: Status) -> None:
        """Whatever its status, and whatever is in its reason."""
        order_id = an_id()
        results = [a_late(order_id, at=n, status=status, status_reason=reason) for n, reason in enumerate(REASONS)]
        late.keep(results)
        assert late.load([order_id]) == [results]

    def test_the_same_words_again_are_the_same_result(self, late: LateStore) -> None:
        """It stays as it was first received, in another batch and in one, also where a clock went back meanwhile."""
        for reason in REASONS:
            first = a_late(at=10, status_reason=reason)
            later, earlier = structs.replace(first, received_at=first.received_at + 5), a_late(first.order_id)
            late.keep([first, later])
            late.keep([later])
            late.keep([structs.replace(earlier, status_reason=reason)])
            assert late.load([first.order_id]) == [[first]]

    def test_other_words_are_another_result(self, late: LateStore) -> None:
        """They come in the order in which they were received, and not in that in which they were kept."""
        order_id = an_id()
        results = [
            a_late(order_id, at=3, status=Status.FAILED),
            a_late(order_id, at=1, status=Status.SUCCESS),
            a_late(order_id, at=2, status=Status.SUCCESS, status_reason="captured"),
        ]
        late.keep(results[:2])
        late.keep(results[2:])
        assert late.load([order_id]) == [[results[1], results[2], results[0]]]

    def test_results_are_in_the_order_asked(self, late: LateStore) -> None:
        """None is an empty list, and what was asked twice is there twice."""
        one, two = a_late(), a_late()
        late.keep([one, two])
        assert late.load([two.order_id, an_id(), one.order_id, two.order_id]) == [[two], [], [one], [two]]

    def test_nothing_asked_is_nothing_done(self, late: LateStore) -> None:
        """Empty batches are answered by empty batches."""
        late.keep([])
        late.remove([])
        assert late.load([]) == []

    def test_a_batch_of_1200_is_one(self, late: LateStore) -> None:
        """However many statements it takes."""
        results = [a_late(at=number) for number in range(1200)]
        late.keep(results)
        assert late.load([result.order_id for result in results]) == [[result] for result in results]
        late.remove(results[:700])
        assert late.oldest(None, after=None, limit=2000) == results[700:]

    def test_only_the_very_result_is_removed(self, late: LateStore) -> None:
        """Not one of other words, nor one that was received at another time; a second time there is nothing to do."""
        order_id = an_id()
        kept = [a_late(order_id, at=n, status_reason=reason) for n, reason in enumerate(REASONS)]
        late.keep(kept)
        late.remove([structs.replace(result, received_at=result.received_at + 1) for result in kept])
        late.remove([structs.replace(result, status=Status.FAILED) for result in kept])
        assert late.load([order_id]) == [kept]
        late.remove([kept[1], kept[1]])
        late.remove([kept[1]])
        assert late.load([order_id]) == [[kept[0], *kept[2:]]]

    def test_what_was_removed_may_be_kept_again(self, late: LateStore) -> None:
        """The same words may come after they have moved to the archive."""
        result = a_late()
        again = structs.replace(result, received_at=result.received_at + 7)
        late.keep([result])
        late.remove([result])
        late.keep([again])
        late.remove([result])
        assert late.load([result.order_id]) == [[again]]

    def test_they_outlive_their_order(self, harness: LateHarness) -> None:
        """They are no part of it: its removal leaves them, and theirs leaves it."""
        late, hot = harness.open(), harness.hot()
        order = create(hot)
        hot.change([to(order, Status.TIMEOUT)], now_us=0)
        [final] = hot.load([order.order_id])
        assert final is not None
        result = a_late(order.order_id)
        late.keep([result, a_late(order.order_id, status_reason="captured")])
        late.remove([result])
        assert hot.load([order.order_id]) == [final]
        assert hot.remove([Removal(order.order_id, final.version)], now_us=0) == [True]
        assert [len(results) for results in late.load([order.order_id])] == [1]

    def test_threads_that_keep_the_same_words_keep_one(self, harness: LateHarness) -> None:
        """Whoever was first: forwards and backwards, nobody fails, and each finds its words kept when it returns."""
        order_ids = [an_id() for _ in range(40)]

        def keep(number: int) -> bool:
            late = harness.open()
            results = [a_late(order_id, at=number) for order_id in order_ids]
            late.keep(results[:: 1 if number % 2 else -1])
            return all(len(found) == 1 for found in late.load(order_ids))

        assert all(at_once([partial(keep, number) for number in range(6)]))
        assert [len(found) for found in harness.open().load(order_ids)] == [1] * 40

    def test_what_cannot_be_held_is_rejected(self, late: LateStore) -> None:
        """Such a value is the caller's mistake, and nothing of its batch is kept; the store goes on."""
        order_id = an_id()
        good, bad = a_late(order_id), a_late(order_id, status_reason="half a pair: \ud800")
        with pytest.raises(TierRejected):
            late.keep([good, bad])
        assert late.load([order_id]) == [[]]
        late.keep([good])
        assert late.load([order_id]) == [[good]]

    def test_it_is_closed_with_its_orders(self, harness: LateHarness) -> None:
        """Then it says that it cannot be reached."""
        late = harness.open()
        harness.restart()
        result = a_late()
        for call in (
            partial(late.keep, [result]),
            partial(late.load, [result.order_id]),
            partial(late.oldest, None, after=None, limit=1),
            partial(late.remove, [result]),
        ):
            with pytest.raises(TierUnavailable, match="closed"):
                call()


class DurableContract:
    """What is not in the memory of one process."""

    def test_what_was_kept_is_there_for_everybody(self, harness: LateHarness) -> None:
        """At once, and after all have gone and come back."""
        result = a_late()
        harness.open().keep([result])
        assert harness.open().load([result.order_id]) == [[result]]
        harness.restart()
        assert harness.open().load([result.order_id]) == [[result]]
