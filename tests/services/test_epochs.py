"""Changing orders of an older epoch: the archive is asked first, and what is final there stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orderctl.errors import OutcomeUnknown
from orderctl.order import Change, Order, Refusal, Refused, Status
from orderctl.services.answers import Failed, Stored
from orderctl.services.epochs import ROUNDS_MAX, OlderEpochs
from orderctl.stores.hot import ChangeOutcome, HotStore, OldEpoch, Removal
from orderctl.stores.record import Record, record_of
from orderctl.stores.sharded import PartlyWritten
from tests.contract.hot_harness import an_order
from tests.services.promoting import archived, opened, raise_epoch
from tests.services.tiers import Bench, asking, away


class Remembers:
    """A hot store on which the epoch is raised again before each change."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench.tiers.hot, name)

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        raise_epoch(self._bench)
        return self._bench.tiers.hot.change(changes, now_us=now_us)


class LosesReplies:
    """A hot store that does not know whether it discarded, touched, or changed for the second time."""

    def __init__(self, store: HotStore) -> None:
        self._store = store
        self._changes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def touch(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        self._store.touch(removals, now_us=now_us)
        raise OutcomeUnknown("hot")

    def discard(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        self._store.discard(removals, now_us=now_us)
        raise OutcomeUnknown("hot")

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        outcomes = self._store.change(changes, now_us=now_us)
        self._changes += 1
        if self._changes > 1:
            raise OutcomeUnknown("hot")
        return outcomes


def success(order: Order, reason: str | None = None) -> Change:
    """The wish to end it well."""
    return Change(order.order_id, Status.SUCCESS, reason)


def test_an_order_that_the_archive_does_not_have_goes_on_in_the_new_epoch(bench: Bench) -> None:
    """Touched, and then changed: two versions, both of the new epoch; the cache has the second."""
    [order] = opened(bench, "r")
    first = raise_epoch(bench)
    [answer] = bench.command().change([success(order)])
    assert isinstance(answer, Record)
    assert (answer.status, answer.version) == (Status.SUCCESS, first + 1)
    assert bench.counted("changes_total", outcome="changed") == 1
    [entry] = bench.tiers.cache.get([order.order_id])
    assert entry is not None
    assert entry.version == first + 1


def test_an_archived_final_state_stands(bench: Bench) -> None:
    """Asked for by the same words it is answered, by others refused; the row is gone, and the cache has what stands."""
    orders = opened(bench, "1", "2", "3")
    ends = archived(bench, *orders)
    raise_epoch(bench)
    same, other, cancelled = bench.command().change(
        [
            success(orders[0], "captured"),
            Change(orders[1].order_id, Status.FAILED),
            Change(orders[2].order_id, Status.CANCELLED, merchant_id="m"),
        ]
    )
    assert same == record_of(ends[0])
    assert [other, cancelled] == [Refused(Refusal.ILLEGAL_TRANSITION, end) for end in ends[1:]]
    ids = [order.order_id for order in orders]
    assert bench.tiers.hot.load(ids) == [None] * 3
    assert [entry and entry.version for entry in bench.tiers.cache.get(ids)] == [end.version for end in ends]
    assert bench.command().create([asking("1")]) == [Stored(record_of(ends[0]), replayed=True)]


def test_with_the_archive_away_nothing_is_changed(bench: Bench) -> None:
    """Nobody can tell whether it is final; orders of the new epoch are changed all the same."""
    [old] = opened(bench, "old")
    raise_epoch(bench)
    [new] = opened(bench, "new")
    bench.archive.error = away("archive")
    failed, changed = bench.command().change([success(old), success(new)])
    assert failed == Failed(bench.archive.error)
    assert isinstance(changed, Record)
    assert bench.tiers.hot.load([old.order_id]) == [old]


def test_somebody_elses_order_is_as_one_that_does_not_exist(bench: Bench) -> None:
    """By the same answer, and by the same questions to the tiers; nothing is settled for a stranger."""
    [order] = opened(bench, "r")
    raise_epoch(bench)
    bench.hot.calls.clear()
    bench.archive.calls.clear()
    for order_id in (order.order_id, an_order().order_id):
        [answer] = bench.command().change([Change(order_id, Status.CANCELLED, merchant_id="other")])
        assert answer == Refused(Refusal.NOT_FOUND)
    assert (bench.hot.calls, bench.archive.calls) == (["change"] * 2, ["load"] * 2)
    assert bench.tiers.hot.load([order.order_id]) == [order]


def test_changes_of_one_order_act_one_after_another(bench: Bench) -> None:
    """As in any batch, though all of them met the old row."""
    one, two = opened(bench, "1", "2")
    [end] = archived(bench, two)
    first = raise_epoch(bench)
    answers = bench.command().change(
        [
            Change(one.order_id, Status.PROCESSING),
            success(two, "captured"),
            success(one),
            Change(one.order_id, Status.FAILED),
        ]
    )
    assert [answer.version for answer in answers if isinstance(answer, Record)] == [first + 1, end.version, first + 2]
    assert isinstance(answers[3], Refused)


def test_a_lost_reply_to_settling_is_asked_again_and_one_to_the_change_is_unknown(bench: Bench) -> None:
    """What was settled is settled; whether the order was changed nobody knows, so nothing of it stays in the cache."""
    one, two = opened(bench, "1", "2")
    [end] = archived(bench, two)
    first = raise_epoch(bench)
    unknown, stands = bench.command(LosesReplies(bench.tiers.hot)).change([success(one), success(two, "captured")])
    assert isinstance(unknown, Failed)
    assert isinstance(unknown.error, OutcomeUnknown)
    assert stands == record_of(end)
    assert bench.tiers.cache.get([one.order_id]) == [None]
    [changed] = [order for order in bench.tiers.hot.load([one.order_id]) if order]
    assert (changed.status, changed.version) == (Status.SUCCESS, first + 1)


def test_an_epoch_that_is_raised_again_and_again_ends_in_an_error(bench: Bench) -> None:
    """Instead of in a loop; the order is as it was but for its version."""
    [order] = opened(bench, "r")
    [answer] = bench.command(Remembers(bench)).change([success(order)])
    assert isinstance(answer, Failed)
    assert f"{ROUNDS_MAX} times" in str(answer.error)
    [row] = bench.tiers.hot.load([order.order_id])
    assert row is not None
    assert row.status is Status.PENDING


class TestSettling:
    """`OlderEpochs.settle`, which time-outs and promotions use too."""

    def test_each_order_is_settled_once(self, bench: Bench) -> None:
        """The answers are in the order asked, also where the same order comes twice; again, there is nothing to do."""
        one, two = opened(bench, "1", "2")
        [end] = archived(bench, two)
        first = raise_epoch(bench)
        older = OlderEpochs(bench.hot, bench.archive, bench.metrics)
        for _ in range(2):
            assert older.settle([two, one, two], now_us=bench.clock.now_us()) == [end, None, end]
        [row, gone] = bench.tiers.hot.load([one.order_id, two.order_id])
        assert row is not None
        assert (row.version, gone) == (first, None)
        assert older.settle([], now_us=0) == []

    def test_a_shard_that_is_away_fails_its_own_rows(self, bench: Bench) -> None:
        """The archive's word is good without the row's leaving; who was to be touched is not known to be."""
        one, two = opened(bench, "1", "2")
        [end] = archived(bench, two)
        raise_epoch(bench)
        older = OlderEpochs(bench.hot, bench.archive, bench.metrics)
        bench.hot.error = away("hot")
        assert older.settle([one, two], now_us=0) == [Failed(bench.hot.error), end]
        assert bench.counted("tier_errors_total", tier="hot", kind="TierUnavailable") == 2
        bench.hot.error = PartlyWritten([away("hot")])
        [failed] = older.settle([one], now_us=0)
        assert isinstance(failed, Failed)
        bench.hot.error = None
        assert bench.tiers.hot.load([one.order_id, two.order_id]) == [one, two]

    def test_a_row_that_moved_on_meanwhile_is_to_be_asked_for_again(self, bench: Bench) -> None:
        """Somebody else settled it; what we saw of it is history."""
        [order] = opened(bench, "r")
        raise_epoch(bench)
        bench.command().change([Change(order.order_id, Status.PROCESSING)])
        older = OlderEpochs(bench.hot, bench.archive, bench.metrics)
        assert older.settle([order], now_us=0) == [None]
        assert bench.tiers.hot.change([success(order)], now_us=0) != [OldEpoch(order)]
