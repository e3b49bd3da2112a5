"""Moving late results to the archive: at no instant is one in neither database, whatever fails, dies or loses its power."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from typing import Any

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry

from orderctl.clock import ManualClock
from orderctl.errors import TierError, TierRejected, TierUnavailable
from orderctl.ids import group_of
from orderctl.metrics import Metrics
from orderctl.services.late_moving import RESCAN_S, LateMover, LateMoverSettings
from orderctl.stores.late import LateResult
from orderctl.stores.sqlite.archive import open_embedded_archive
from orderctl.stores.sqlite.embedded import open_embedded_hot
from orderctl.stores.sqlite.late import SqliteLateStore
from orderctl.stores.sqlite.late_archive import SqliteLateArchive
from tests.contract.hot_harness import GROUPS
from tests.contract.late_harness import a_late
from tests.services.moving import Killed, Watched
from tests.services.tiers import Failing

SYNC_S = 10.0
STEPS_MAX = 200


class LossyArchive:
    """An archive that acknowledges before it syncs: what was written within the last `SYNC_S` goes with the power."""

    def __init__(self, store: SqliteLateArchive, clock: ManualClock) -> None:
        self._synced = store
        self._clock = clock
        self._unsynced: list[tuple[float, Sequence[LateResult]]] = []

    def write(self, results: Sequence[LateResult]) -> None:
        self._sync()
        self._unsynced.append((self._clock.monotonic_s(), results))

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        self._sync()
        seen = [results for _, results in self._unsynced]
        own = [[result for results in seen for result in results if result.order_id == id_] for id_ in order_ids]
        return [[*found, *more] for found, more in zip(self._synced.load(order_ids), own, strict=True)]

    def lose_power(self) -> None:
        """What was not synced is gone."""
        self._sync()
        self._unsynced.clear()

    def _sync(self) -> None:
        while self._unsynced and self._unsynced[0][0] + SYNC_S <= self._clock.monotonic_s():
            self._synced.write(self._unsynced.pop(0)[1])


class Stage:
    """A hot store and an archive in memory, and eyes on every call: after each, every result is in one of the two."""

    def __init__(self, late: SqliteLateStore, archive: SqliteLateArchive, clock: ManualClock) -> None:
        self.late = late
        self.archive = archive
        self.lossy = LossyArchive(archive, clock)
        self.clock = clock
        self.metrics = Metrics(CollectorRegistry())
        self.results: list[LateResult] = []
        self.moments: list[str] = []
        self.power_fails_at: set[int] = set()
        self.killed_at: set[int] = set()

    def keep(self, number: int) -> list[LateResult]:
        """That many more late results, each received later than the one before."""
        more = [a_late(at=len(self.results) + n) for n in range(number)]
        self.late.keep(more)
        self.results += more
        return more

    def mover(self, *, late: Any = None, archive: Any = None, **settings: Any) -> LateMover:
        """A mover; a new one stands for another process."""
        return LateMover(
            late or Watched(self.late, self._moment),
            archive or Watched(self.lossy, self._moment),
            clock=self.clock,
            metrics=self.metrics,
            settings=LateMoverSettings(**({"settle_s": 2 * SYNC_S, "batch": 3} | settings)),
        )

    def run(self, **settings: Any) -> None:
        """Let a mover work until nothing is left to move; one that dies is followed by another."""
        mover = self.mover(**settings)
        for _ in range(STEPS_MAX):
            try:
                if not mover.step(None):
                    self.clock.advance(5)
            except Killed:
                mover = self.mover(**settings)
            if not self.late.oldest(None, after=None, limit=1):
                return
        raise AssertionError("the move does not come to an end")

    def look(self) -> None:
        """See that no result is in neither database."""
        order_ids = [result.order_id for result in self.results]
        found = zip(self.results, self.late.load(order_ids), self.lossy.load(order_ids), strict=True)
        assert not [result for result, *stores in found if not any(result in store for store in stores)]

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"orderctl_{name}", labels) or 0.0

    def _moment(self, name: str) -> None:
        number = len(self.moments)
        self.moments.append(name)
        self.look()
        if number in self.power_fails_at:
            self.lossy.lose_power()
            self.look()
        if number in self.killed_at:
            raise Killed


@pytest.fixture
def stage() -> Iterator[Stage]:
    clock = ManualClock()
    with (
        closing(open_embedded_hot(None, groups=GROUPS, clock=clock)) as hot,
        closing(open_embedded_archive(None, clock=clock)) as archive,
    ):
        yield Stage(hot.late, archive.late(), clock)


def left(stage: Stage) -> list[LateResult]:
    """What is still in the hot store."""
    return stage.late.oldest(None, after=None, limit=1000)


def test_all_move_and_none_is_lost(stage: Stage) -> None:
    """Each only when its write has settled."""
    stage.keep(10)
    stage.run()
    assert left(stage) == []
    assert stage.archive.load([result.order_id for result in stage.results]) == [[result] for result in stage.results]
    assert stage.counted("late_results_archived_total") == 10


def test_one_stays_until_its_write_has_settled(stage: Stage) -> None:
    """By the mover's own clock, from the acknowledgement on."""
    stage.keep(1)
    mover = stage.mover()
    mover.step(None)
    for seconds in (0, SYNC_S, 2 * SYNC_S - 0.1 - SYNC_S):
        stage.clock.advance(seconds)
        mover.step(None)
        assert left(stage) == stage.results
    stage.clock.advance(0.2)
    mover.step(None)
    assert left(stage) == []


@pytest.mark.parametrize("at", range(14))
def test_a_loss_of_power_at_any_moment_loses_none(stage: Stage, at: int) -> None:
    """What was read back too early would be gone from both."""
    stage.keep(4)
    stage.power_fails_at = {at}
    stage.run()
    stage.look()


def test_without_settling_the_same_loss_loses_one(stage: Stage) -> None:
    """So that the test above can fail: power fails right after the first removal."""
    stage.keep(4)
    stage.power_fails_at = {7}
    with pytest.raises(AssertionError):
        stage.run(settle_s=0.0)
    assert stage.moments[-1] == "after remove"


@pytest.mark.parametrize("at", range(14))
def test_a_mover_that_dies_at_any_moment_is_followed_by_another(stage: Stage, at: int) -> None:
    """Which begins anew; power fails as well."""
    stage.keep(4)
    stage.killed_at, stage.power_fails_at = {at, at + 3}, {at + 5}
    stage.run()
    assert stage.archive.load([result.order_id for result in stage.results]) == [[result] for result in stage.results]


def test_a_failing_archive_leaves_them_where_they_are(stage: Stage) -> None:
    """Whether it fails to write or to read back; they move when it is there again."""
    stage.keep(5)
    archive = Failing(stage.archive)
    mover = stage.mover(archive=archive, settle_s=0.0)
    archive.error = TierUnavailable("archive")
    with pytest.raises(TierError):
        mover.step(None)
    archive.error = None
    mover.step(None)
    archive.error = TierUnavailable("archive")
    with pytest.raises(TierError):
        mover.step(None)
    assert left(stage) == stage.results
    archive.error = None
    while mover.step(None):
        pass
    assert left(stage) == []


def test_one_that_the_archive_cannot_hold_keeps_no_other_back(stage: Stage) -> None:
    """It stays, and is counted."""
    bad = stage.keep(4)[1]

    class Picky:
        """Refuses one result."""

        def write(self, results: Sequence[LateResult]) -> None:
            if bad in results:
                raise TierRejected("archive")
            stage.archive.write(results)

        def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
            return stage.archive.load(order_ids)

    mover = stage.mover(archive=Picky(), settle_s=0.0)
    while mover.step(None):
        pass
    assert left(stage) == [bad]
    assert stage.counted("tier_errors_total", tier="archive", kind="TierRejected") > 0


def test_the_same_words_again_after_the_move_are_removed_again(stage: Stage) -> None:
    """The archive keeps them as they were first received."""
    [result] = stage.keep(1)
    stage.run()
    again = structs.replace(result, received_at=result.received_at + 60_000_000)
    stage.late.keep([again])
    stage.run()
    assert left(stage) == []
    assert stage.archive.load([result.order_id]) == [[result]]
    assert stage.counted("archive_read_back_differs_total") == 0


def test_one_that_turns_up_behind_is_found(stage: Stage) -> None:
    """It was received by a clock that is behind, after the mover had looked further."""
    stage.keep(4)
    mover = stage.mover(settle_s=1000.0)
    while mover.step(None):
        pass
    early = a_late(at=-5)
    stage.late.keep([early])
    stage.clock.advance(RESCAN_S)
    while mover.step(None):
        pass
    assert stage.lossy.load([early.order_id]) == [[early]]


def test_more_than_a_batch_settle_at_once(stage: Stage) -> None:
    """The settling time is one wait for all, not one for each batch; and memory is bounded."""
    stage.keep(20)
    mover = stage.mover(settling_max=15)
    while mover.step(None):
        pass
    written = [found for found in stage.lossy.load([r.order_id for r in stage.results]) if found]
    assert len(written) == 15
    stage.clock.advance(2 * SYNC_S)
    for _ in count():
        if not mover.step(None):
            break
    assert left(stage) == stage.results[15:]


def test_movers_share_the_groups(stage: Stage) -> None:
    """Each moves its own; what a mover has written is forgotten when its group is taken from it."""
    stage.keep(30)
    even, odd = (frozenset(range(first, GROUPS, 2)) for first in (0, 1))
    one, other = stage.mover(settle_s=5.0), stage.mover(settle_s=5.0)
    while one.step(None):
        pass
    stage.clock.advance(5)
    while one.step(even) or other.step(odd):
        pass
    # All had settled, and yet nothing was removed: the other half is another's now, and so may be the copies.
    assert left(stage) == stage.results
    stage.clock.advance(5)
    while one.step(even):
        pass
    assert {group_of(result.order_id, GROUPS) % 2 for result in left(stage)} == {1}
    while other.step(odd):
        pass
    assert left(stage) == []
