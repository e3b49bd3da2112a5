"""Outcomes that come after their order is final: refused, and kept before they are refused."""

from __future__ import annotations

from typing import Any

import pytest

from orderctl.errors import OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.order import Change, Refusal, Refused, Status
from orderctl.services.answers import Failed, Missing, Stored
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.stores.late import LateResult
from orderctl.stores.record import Record
from orderctl.stores.sharded import PartlyRead, PartlyWritten
from tests.services.moving import Watched
from tests.services.tiers import Bench, Failing, asking, away

NOBODYS = "0199bd6e-5c00-7abc-8000-0123456789ab"


def an_order(bench: Bench, ref: str = "r", *, ended: Status | None = Status.TIMEOUT) -> str:
    """The id of an order that has ended so, or is open."""
    (answer,) = bench.command().create([asking(ref)])
    assert isinstance(answer, Stored)
    order_id = answer.record.order_id
    if ended is not None:
        bench.tiers.hot.change([Change(order_id, ended)], now_us=0)
    return order_id


def archive_all(bench: Bench) -> None:
    """Let the archiver take the orders that are final."""
    mover = Mover(
        bench.tiers.hot, bench.tiers.archive, clock=bench.clock, metrics=bench.metrics, settings=ArchiverSettings()
    )
    while mover.step(None):
        pass


def refused(answer: Any) -> Refusal:
    """Why it was refused."""
    assert isinstance(answer, Refused)
    return answer.why


def errors_of(answers: list[Any]) -> list[type[TierError] | None]:
    """The kind of error that each answer carries, None where it failed by none."""
    return [type(answer.error) if isinstance(answer, Failed) else None for answer in answers]


@pytest.mark.parametrize("is_archived", [False, True])
def test_a_late_outcome_is_refused_and_kept(bench: Bench, is_archived: bool) -> None:
    """With the time at which it came, also where the order was decided on the archive's copy."""
    order_id = an_order(bench)
    if is_archived:
        archive_all(bench)
    bench.clock.advance(7)
    (answer,) = bench.command().change([Change(order_id, Status.SUCCESS, "captured")])
    assert refused(answer) is Refusal.ILLEGAL_TRANSITION
    late = LateResult(order_id, Status.SUCCESS, "captured", bench.clock.now_us())
    assert bench.tiers.late.load([order_id]) == [[late]]
    assert bench.counted("late_results_total") == 1


def test_one_that_was_asked_for_with_another_version_is_kept_too(bench: Bench) -> None:
    """412 protects the order; the money has moved all the same, and nobody can be heard on a final order later."""
    order_id = an_order(bench)
    (answer,) = bench.command().change([Change(order_id, Status.SUCCESS, if_versions=(1,))])
    assert refused(answer) is Refusal.VERSION_MISMATCH
    assert [late.status for late in bench.tiers.late.load([order_id])[0]] == [Status.SUCCESS]


@pytest.mark.parametrize(
    ("ended", "wish"),
    [
        (Status.TIMEOUT, {"status": Status.TIMEOUT}),
        (Status.SUCCESS, {"status": Status.SUCCESS}),
        (Status.SUCCESS, {"status": Status.TIMEOUT}),
        (Status.SUCCESS, {"status": Status.PROCESSING}),
        (Status.SUCCESS, {"status": Status.CANCELLED, "merchant_id": "m"}),
        (Status.SUCCESS, {"status": Status.CANCELLED, "merchant_id": "somebody else"}),
        (None, {"status": Status.SUCCESS}),
        (None, {"status": Status.SUCCESS, "if_versions": (7,)}),
    ],
    ids=str,
)
def test_what_is_no_late_outcome_is_not_kept(bench: Bench, ended: Status | None, wish: dict[str, Any]) -> None:
    """The same words, a time-out, what is not final, a merchant's wish, and whatever meets an open order."""
    order_id = an_order(bench, ended=ended)
    bench.command().change([Change(order_id, **wish)])
    assert bench.tiers.late.load([order_id]) == [[]]
    assert "keep" not in bench.late.calls


def test_an_order_that_is_not_there_has_no_late_result(bench: Bench) -> None:
    """Nobody's money is known to be meant."""
    (answer,) = bench.command().change([Change(NOBODYS, Status.SUCCESS)])
    assert refused(answer) is Refusal.NOT_FOUND
    assert "keep" not in bench.late.calls


def test_asking_again_keeps_one(bench: Bench) -> None:
    """In the same words: as it was first received; other words are another one."""
    order_id = an_order(bench)
    first_us = bench.clock.now_us()
    for reason in (None, None, "captured"):
        bench.command().change([Change(order_id, Status.SUCCESS, reason)])
        bench.clock.advance(1)
    assert bench.tiers.late.load([order_id]) == [
        [
            LateResult(order_id, Status.SUCCESS, None, first_us),
            LateResult(order_id, Status.SUCCESS, "captured", first_us + 2_000_000),
        ]
    ]


def test_the_second_outcome_of_a_batch_is_late(bench: Bench) -> None:
    """Items act one after another; a batch keeps all of its late ones by one call."""
    orders = [an_order(bench, ref, ended=None) for ref in "ab"]
    changes = [Change(order_id, status) for order_id in orders for status in (Status.SUCCESS, Status.FAILED)]
    answers = bench.command().change(changes)
    assert [isinstance(answer, Record) for answer in answers] == [True, False, True, False]
    assert [[late.status for late in found] for found in bench.tiers.late.load(orders)] == [[Status.FAILED]] * 2
    assert bench.late.calls.count("keep") == 1


@pytest.mark.parametrize(
    "error", [away("hot"), OutcomeUnknown("hot"), TierRejected("hot")], ids=lambda e: type(e).__name__
)
def test_what_could_not_be_kept_is_not_refused(bench: Bench, error: TierError) -> None:
    """The caller hears that it failed, or that nobody knows, and asks again; the others of its batch are answered."""
    order_id, open_ = an_order(bench), an_order(bench, "open", ended=None)
    bench.late.error = error
    answers = bench.command().change([Change(order_id, Status.SUCCESS), Change(open_, Status.SUCCESS)])
    assert errors_of(answers) == [type(error), None]
    assert isinstance(answers[1], Record)
    assert bench.counted("late_results_total") == 0
    assert bench.counted("tier_errors_total", tier="hot", kind=type(error).__name__) == 1
    bench.late.error = None
    again = bench.command().change([Change(order_id, Status.SUCCESS), Change(open_, Status.SUCCESS)])
    assert refused(again[0]) is Refusal.ILLEGAL_TRANSITION
    assert again[1] == answers[1]
    assert len(bench.tiers.late.load([order_id])[0]) == 1


def test_of_several_shards_one_that_fails_is_its_orders_alone(bench: Bench) -> None:
    """The others' late results are kept, and refused."""
    orders = [an_order(bench, ref) for ref in "ab"]

    class OneShardAway:
        """Keeps the first and not the second."""

        def keep(self, results: list[LateResult]) -> None:
            bench.tiers.late.keep(results[:1])
            raise PartlyWritten([None, TierUnavailable("hot")])

    bench.late = Failing(OneShardAway())
    answers = bench.command().change([Change(order_id, Status.SUCCESS) for order_id in orders])
    assert errors_of(answers) == [None, TierUnavailable]
    assert [len(found) for found in bench.tiers.late.load(orders)] == [1, 0]
    assert bench.counted("late_results_total") == 1


def test_one_that_cannot_be_held_is_nobody_elses_trouble(bench: Bench) -> None:
    """A batch that is rejected is kept one at a time."""
    good, bad = an_order(bench, "good"), an_order(bench, "bad")
    unfit = "half a pair: \ud800"
    answers = bench.command().change([Change(bad, Status.FAILED, unfit), Change(good, Status.FAILED, "why")])
    assert errors_of(answers) == [TierRejected, None]
    assert [len(found) for found in bench.tiers.late.load([good, bad])] == [1, 0]


def test_the_cache_is_mended_all_the_same(bench: Bench) -> None:
    """Where the result could not be kept, how the order stands is known."""
    order_id = an_order(bench)
    bench.late.error = away("hot")
    bench.command().change([Change(order_id, Status.SUCCESS)])
    (entry,) = bench.tiers.cache.get([order_id])
    assert entry is not None
    assert entry.status is Status.TIMEOUT


class TestReader:
    """`LateReader`."""

    def test_both_databases_are_read_as_one(self, bench: Bench) -> None:
        """By time; what is in both is there once, as it was first received."""
        order_id, other = an_order(bench), an_order(bench, "other")
        one, two, three = (
            LateResult(order_id, Status.SUCCESS, text, at) for at, text in enumerate((None, "a", "b"), 1)
        )
        bench.tiers.late.keep([three, LateResult(order_id, Status.SUCCESS, None, 9)])
        bench.tiers.late_archive.write([two, one, LateResult(other, Status.FAILED, None, 5)])
        found = bench.late_reader().read([order_id, other, order_id])
        assert found == [[one, two, three], [LateResult(other, Status.FAILED, None, 5)], [one, two, three]]

    @pytest.mark.parametrize("tier", ["late", "late_archive"])
    def test_with_a_tier_away_nothing_is_said(self, bench: Bench, tier: str) -> None:
        """Half of the truth about money would be taken for the whole."""
        order_id = an_order(bench)
        bench.tiers.late.keep([LateResult(order_id, Status.SUCCESS, None, 1)])
        bench.tiers.late_archive.write([LateResult(order_id, Status.FAILED, None, 1)])
        getattr(bench, tier).error = away("the tier")
        assert errors_of(bench.late_reader().read([order_id])) == [TierUnavailable]
        assert bench.counted("tier_errors_total", tier="the tier", kind="TierUnavailable") == 1

    def test_a_shard_that_is_away_is_its_orders_alone(self, bench: Bench) -> None:
        """The others' results are answered."""
        orders = [an_order(bench, ref) for ref in "ab"]
        kept = [LateResult(order_id, Status.SUCCESS, None, 1) for order_id in orders]
        bench.late.error = PartlyRead([TierUnavailable("hot"), [kept[1]]])
        first, second = bench.late_reader().read(orders)
        assert errors_of([first]) == [TierUnavailable]
        assert second == [kept[1]]

    def test_what_moves_meanwhile_is_not_missed(self, bench: Bench) -> None:
        """The hot store is read first, and the mover copies before it removes."""
        order_id = an_order(bench)
        result = LateResult(order_id, Status.SUCCESS, None, 1)
        bench.tiers.late.keep([result])

        asked: list[str] = []

        def moves_before_the_second(name: str) -> None:
            asked.append(name)
            if name == "before load" and asked.count(name) == 2:
                bench.tiers.late_archive.write([result])
                bench.tiers.late.remove([result])

        bench.late = Watched(bench.tiers.late, moves_before_the_second)  # type: ignore[assignment]
        bench.late_archive = Watched(bench.tiers.late_archive, moves_before_the_second)  # type: ignore[assignment]
        assert bench.late_reader().read([order_id]) == [[result]]

    def test_an_order_without_any_is_told_from_none(self, bench: Bench) -> None:
        """In whichever database it is."""
        archived = an_order(bench, "archived")
        archive_all(bench)
        here = an_order(bench, "here")
        assert bench.late_reader().read([archived, NOBODYS, here]) == [[], Missing(), []]

    @pytest.mark.parametrize("tier", ["hot", "archive"])
    def test_what_cannot_be_known_is_not_said(self, bench: Bench, tier: str) -> None:
        """An order that the other database does not have may be there; one that was found is found."""
        archived = an_order(bench, "archived")
        archive_all(bench)
        here = an_order(bench, "here")
        getattr(bench, tier).error = away("the tier")
        answers = bench.late_reader().read([archived, here, NOBODYS])
        found = 0 if tier == "hot" else 1
        assert answers[found] == []
        assert errors_of(answers) == [None if place == found else TierUnavailable for place in range(3)]
