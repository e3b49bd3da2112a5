"""Orders that have moved to the archive: asked for again, changed again, and what is said while the archive is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orderctl import body
from orderctl.errors import TierRejected, TierUnavailable
from orderctl.order import Change, Refusal, Refused, Status
from orderctl.services.answers import Failed, Stored
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.stores.cache import Put
from orderctl.stores.hot import Ref, ReferenceReused, Removal
from orderctl.stores.record import Record, record_of
from tests.services.tiers import Bench, asking, away, open_bench

DAY_S = 86_400
NOBODYS = "0199bd6e-5c00-7abc-8000-0123456789ab"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_bench() as opened:
        yield opened


def stored(bench: Bench, ref: str = "r", **wish: Any) -> Stored:
    """The answer to a creation."""
    (answer,) = bench.command().create([asking(ref, **wish)])
    assert isinstance(answer, Stored)
    return answer


def archive_all(bench: Bench) -> None:
    """Let the archiver take what is final."""
    mover = Mover(
        bench.tiers.hot, bench.tiers.archive, clock=bench.clock, metrics=bench.metrics, settings=ArchiverSettings()
    )
    while mover.step(None):
        pass


def an_archived(bench: Bench, ref: str = "r") -> Record:
    """An order that has moved, as it was when it ended."""
    order_id = stored(bench, ref).record.order_id
    (ended,) = bench.command().change([Change(order_id, Status.SUCCESS, "captured")])
    assert isinstance(ended, Record)
    archive_all(bench)
    assert bench.tiers.hot.load([order_id]) == [None]
    return ended


def purge(bench: Bench) -> None:
    """Forget the references whose window is over, as the archiver does."""
    bench.tiers.hot.purge_references(moved_before_us=bench.clock.now_us() - DAY_S * 1_000_000, limit=100)


def test_a_replay_is_the_archived_order(bench: Bench) -> None:
    """As it ended, in the same bytes; another body is refused without asking the archive."""
    ended = an_archived(bench)
    assert stored(bench) == Stored(ended, replayed=True)
    asked = len(bench.archive.calls)
    assert bench.command().create([asking(amount=2)]) == [ReferenceReused(ended.order_id)]
    assert len(bench.archive.calls) == asked


def test_a_batch_asks_the_archive_once(bench: Bench) -> None:
    """And only for what has moved; its other items are as ever."""
    one, two = an_archived(bench, "1"), an_archived(bench, "2")
    bench.archive.calls.clear()
    first, fresh, second, again = bench.command().create([asking("1"), asking("3"), asking("2"), asking("1")])
    assert [first, second, again] == [Stored(one, True), Stored(two, True), Stored(one, True)]
    assert isinstance(fresh, Stored)
    assert not fresh.replayed
    assert bench.archive.calls == ["load"]


def newest(bench: Bench) -> object:
    """The order that the reference stands for, as a process sees it that remembers nothing."""
    references = bench.references()
    (found,) = references.resolve([Ref("m", "r")])
    return references.resolve_archived([Ref("m", "r")])[0] if found is None else found


def test_within_the_window_a_reference_stands_for_its_order_and_after_it_is_free(bench: Bench) -> None:
    """A new order is made then; look-ups by reference get the newest."""
    ended = an_archived(bench)
    bench.clock.advance(DAY_S - 1)
    purge(bench)
    assert stored(bench).replayed
    bench.clock.advance(2)
    purge(bench)
    assert newest(bench) == ended.order_id
    fresh = stored(bench, amount=2)
    assert not fresh.replayed
    assert fresh.record.order_id != ended.order_id
    assert newest(bench) == fresh.record.order_id
    bench.command().change([Change(fresh.record.order_id, Status.FAILED)])
    archive_all(bench)
    bench.clock.advance(DAY_S + 1)
    purge(bench)
    assert newest(bench) == fresh.record.order_id


@pytest.mark.parametrize("if_versions", [None, (1,), (2,)])
def test_the_same_words_again_change_nothing(bench: Bench, if_versions: tuple[int, ...] | None) -> None:
    """Whatever version they name: the answer to the first asking may have been lost."""
    ended = an_archived(bench)
    change = Change(ended.order_id, Status.SUCCESS, "captured", if_versions=if_versions)
    assert bench.command().change([change]) == [ended]
    assert bench.tiers.hot.load([ended.order_id]) == [None]


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"status": Status.FAILED}, Refusal.ILLEGAL_TRANSITION),
        ({"status": Status.SUCCESS, "status_reason": "other words"}, Refusal.ILLEGAL_TRANSITION),
        ({"status": Status.PROCESSING, "if_versions": (2,)}, Refusal.ILLEGAL_TRANSITION),
        ({"status": Status.PROCESSING, "if_versions": (1,)}, Refusal.VERSION_MISMATCH),
        ({"status": Status.CANCELLED, "merchant_id": "m"}, Refusal.ILLEGAL_TRANSITION),
    ],
    ids=str,
)
def test_any_other_change_is_refused_with_how_the_order_stands(
    bench: Bench, wish: dict[str, Any], why: Refusal
) -> None:
    """Final is final."""
    ended = an_archived(bench)
    (answer,) = bench.command().change([Change(ended.order_id, **wish)])
    assert isinstance(answer, Refused)
    assert answer.why is why
    assert answer.order is not None
    assert body.render(answer.order) == ended.body


def test_somebody_elses_archived_order_is_as_none(bench: Bench) -> None:
    """Also for the same words, and for a version that does not match."""
    ended = an_archived(bench)
    wishes = [
        Change(ended.order_id, Status.SUCCESS, "captured", "n"),
        Change(ended.order_id, Status.CANCELLED, None, "n", (1,)),
        Change(NOBODYS, Status.CANCELLED, None, "n"),
    ]
    assert bench.command().change(wishes) == [Refused(Refusal.NOT_FOUND)] * 3


def test_with_the_archive_away_nothing_is_said_of_what_has_moved(bench: Bench) -> None:
    """Never "not found", never a second order; what the hot store has is decided as ever."""
    ended, open_ = an_archived(bench), stored(bench, "open").record
    bench.archive.error = away("cassandra")
    service = bench.command()
    replay, fresh, reused = service.create([asking(), asking("new"), asking(amount=2)])
    assert isinstance(replay, Failed)
    assert isinstance(replay.error, TierUnavailable)
    assert isinstance(fresh, Stored)
    assert reused == ReferenceReused(ended.order_id)
    change, moved_on, unknown = service.change(
        [Change(ended.order_id, Status.FAILED), Change(open_.order_id, Status.FAILED), Change(NOBODYS, Status.FAILED)]
    )
    assert isinstance(change, Failed)
    assert isinstance(moved_on, Record)
    assert isinstance(unknown, Failed)
    assert bench.counted("creates_total", outcome="failed") == 1
    assert bench.counted("changes_total", outcome="failed") == 2
    bench.archive.error = None
    assert stored(bench) == Stored(ended, replayed=True)


def test_an_order_that_moves_while_it_is_asked_for_is_found(bench: Bench) -> None:
    """The hot store had it no more, and the archive, asked later, has it."""
    order_id = stored(bench).record.order_id
    bench.tiers.hot.change([Change(order_id, Status.SUCCESS)], now_us=0)

    class MovesFirst:
        """A hot store whose orders move right before it is asked."""

        def __getattr__(self, name: str) -> Any:
            archive_all(bench)
            return getattr(bench.tiers.hot, name)

    (replay,) = bench.command(MovesFirst()).create([asking()])
    assert isinstance(replay, Stored)
    assert replay.replayed
    (answer,) = bench.command(MovesFirst()).change([Change(order_id, Status.FAILED)])
    assert isinstance(answer, Refused)
    assert answer.why is Refusal.ILLEGAL_TRANSITION


def test_an_order_that_is_gone_from_the_archive_is_a_fault_and_not_a_second_order(bench: Bench) -> None:
    """Its reference says that it is there."""
    order_id = stored(bench).record.order_id
    bench.tiers.hot.change([Change(order_id, Status.SUCCESS)], now_us=0)
    assert bench.tiers.hot.remove([Removal(order_id, 2)], now_us=bench.clock.now_us()) == [True]
    (answer,) = bench.command().create([asking()])
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, TierRejected)


def test_a_change_of_an_archived_order_mends_the_cache(bench: Bench) -> None:
    """An old record may have been left there by a process that died."""
    order_id = stored(bench).record.order_id
    (open_,) = bench.tiers.hot.load([order_id])
    assert open_ is not None
    bench.tiers.hot.change([Change(order_id, Status.SUCCESS)], now_us=0)
    archive_all(bench)
    assert [str(done) for done in bench.tiers.cache.apply([Put(record_of(open_), 1_000)])] == ["replaced"]
    bench.command().change([Change(order_id, Status.FAILED)])
    (entry,) = bench.tiers.cache.get([order_id])
    assert entry is not None
    assert entry.status is Status.SUCCESS
