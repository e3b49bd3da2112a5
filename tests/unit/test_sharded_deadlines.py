"""Deadlines on several shards: what is said where they fare differently, and that one which hangs keeps nobody back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from orderctl.clock import ManualClock, SystemClock
from orderctl.errors import OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.ids import group_of
from orderctl.stores.deadlines import DeadlineStore, TimedOut
from orderctl.stores.hot import do_nothing
from orderctl.stores.sharded import PartlyRead, PartlyWritten
from orderctl.stores.sharded_deadlines import DeadlineShard, ShardedDeadlineStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.deadlines import SqliteDeadlineStore
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.registry import found_deployment
from orderctl.stores.sqlite.schema import HOT
from tests.contract.hot_harness import GROUPS, PATIENCE_S, a_draft

SPLIT = 32
RANGES = (range(SPLIT), range(SPLIT, GROUPS))
AWAY = TierUnavailable("hot", "no route")


class Fragile:
    """A shard's store that raises `error` while there is one, and runs `before` before each call."""

    def __init__(self, store: DeadlineStore) -> None:
        self._store = store
        self.error: TierError | None = None
        self.before: Callable[[], object] = do_nothing
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            self.before()
            if self.error is not None:
                raise self.error
            return method(*args, **kwargs)

        return call


class Shards:
    """Two shards in memory, forty orders that are due, and a router that waits for no shard longer than 0.2 s."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._databases = [Database(None, HOT) for _ in RANGES]
        hots = [self._hot(database) for database in self._databases]
        self.fragile = [Fragile(SqliteDeadlineStore(database, self._clock)) for database in self._databases]
        stores: list[Any] = list(self.fragile)
        shards = [DeadlineShard(*part) for part in zip(("a", "b"), RANGES, stores, strict=True)]
        self.store = ShardedDeadlineStore(shards, groups=GROUPS, patience_s=0.2)
        drafts = [a_draft(deadline_at=self._clock.now_us() - 1_000) for _ in range(40)]
        self.ids = [draft.order.order_id for draft in drafts]
        for number, hot in enumerate(hots):
            hot.create([draft for draft in drafts if shard_of(draft.order.order_id) == number])

    def ids_of(self, shard: int) -> list[str]:
        """The orders of one shard."""
        return [order_id for order_id in self.ids if shard_of(order_id) == shard]

    def close(self) -> None:
        """Let go of it all."""
        self.store.close()
        for database in self._databases:
            database.release()

    def _hot(self, database: Database) -> SqliteHotStore:
        found_deployment(database, GROUPS)
        return SqliteHotStore(database)


def shard_of(order_id: str) -> int:
    """Where an order lies."""
    return int(group_of(order_id, GROUPS) >= SPLIT)


@pytest.fixture
def shards() -> Iterator[Shards]:
    """Two shards."""
    shards = Shards()
    yield shards
    for fragile in shards.fragile:
        fragile.error = None
    shards.close()


class TestPartly:
    """One shard is away."""

    def test_the_other_s_orders_are_timed_out(self, shards: Shards) -> None:
        """Each order is answered by its shard: timed out, or with the error."""
        shards.fragile[1].error = AWAY
        with pytest.raises(PartlyWritten) as caught:
            shards.store.time_out(shards.ids)
        for order_id, outcome in zip(shards.ids, caught.value.outcomes, strict=True):
            assert outcome is AWAY if shard_of(order_id) else isinstance(outcome, TimedOut)

    def test_a_sweep_says_what_it_did(self, shards: Shards) -> None:
        """Beside why the rest was not done."""
        shards.fragile[0].error = AWAY
        with pytest.raises(PartlyWritten) as caught:
            shards.store.time_out_overdue(None, limit=100)
        done = [outcome.order.order_id for outcome in caught.value.outcomes if isinstance(outcome, TimedOut)]
        assert sorted(done) == sorted(shards.ids_of(1))
        assert [outcome for outcome in caught.value.outcomes if isinstance(outcome, TierError)] == [AWAY]

    def test_the_oldest_is_that_of_the_shards_that_answer(self, shards: Shards) -> None:
        """With the others' errors beside it."""
        shards.fragile[0].error = AWAY
        with pytest.raises(PartlyRead) as caught:
            shards.store.oldest_overdue_us()
        assert set(caught.value.outcomes) == {AWAY, 1_000}

    def test_all_failing_alike_is_one_error(self, shards: Shards) -> None:
        """Nothing was written, or it was refused."""
        for error in (AWAY, TierRejected("hot")):
            for fragile in shards.fragile:
                fragile.error = error
            with pytest.raises(type(error)) as caught:
                shards.store.time_out_overdue(None, limit=100)
            assert caught.value is error

    def test_only_those_are_asked_who_have_to_be(self, shards: Shards) -> None:
        """By the ids, and by the groups."""
        shards.store.time_out(shards.ids_of(0))
        shards.store.time_out_overdue(frozenset(RANGES[0]), limit=100)
        assert shards.fragile[1].calls == 0


class TestHanging:
    """One shard does not answer."""

    def test_it_is_not_waited_for(self, shards: Shards) -> None:
        """Nobody knows what became of its orders; those of the other are timed out, now and in the calls after it."""
        answered = Event()
        shards.fragile[1].before = lambda: answered.wait(PATIENCE_S)
        clock = SystemClock()
        began_s = clock.monotonic_s()
        for turn in range(3):
            with pytest.raises(PartlyWritten) as caught:
                shards.store.time_out_overdue(None, limit=20)
            [error] = [outcome for outcome in caught.value.outcomes if isinstance(outcome, TierError)]
            # What was asked once may be done; afterwards the shard is left alone.
            assert isinstance(error, TierUnavailable if turn else OutcomeUnknown)
        assert clock.monotonic_s() - began_s < PATIENCE_S / 2
        assert shards.fragile[1].calls == 1
        answered.set()

    def test_it_is_asked_again_once_it_has_answered(self, shards: Shards) -> None:
        """And what it did meanwhile is settled."""
        answered, done = Event(), Event()
        shards.fragile[1].before = lambda: answered.wait(PATIENCE_S)
        mine = shards.ids_of(1)
        with pytest.raises(OutcomeUnknown):
            shards.store.time_out(mine)
        shards.fragile[1].before = do_nothing
        answered.set()
        for _ in range(500):
            try:
                outcomes = shards.store.time_out(mine)
            except TierUnavailable:
                done.wait(0.01)
                continue
            break
        assert not any(isinstance(outcome, TimedOut) for outcome in outcomes)

    def test_closed_is_away(self, shards: Shards) -> None:
        """It says so and does nothing."""
        shards.store.close()
        with pytest.raises(TierUnavailable):
            shards.store.time_out(shards.ids)
