"""The router over shards: who is asked what, side by side, and what a caller hears when shards fare differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import pytest

from orderctl.errors import ConfigError, OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Change, Status
from orderctl.stores.hot import Changed, Created, CreateOutcome, Cursor, Draft, Ref, Removal, do_nothing
from orderctl.stores.sharded import PartlyRead, PartlyWritten, Shard, ShardedHotStore
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.hot import SqliteHotStore
from orderctl.stores.sqlite.registry import found_deployment
from orderctl.stores.sqlite.schema import HOT
from tests.contract.hot_harness import GROUPS, PATIENCE_S, drafts, to

SPLIT = 24
RANGES = (range(SPLIT), range(SPLIT, GROUPS))
AWAY = TierUnavailable("hot", "no route")


class Fragile:
    """A shard's store whose calls raise `error` while there is one."""

    def __init__(self, store: SqliteHotStore) -> None:
        self.store = store
        self.error: TierError | None = None
        self.calls: list[str] = []
        self.before: Callable[[], None] = do_nothing

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            self.before()
            if self.error is not None:
                raise self.error
            return method(*args, **kwargs)

        return call


class Shards:
    """Two shards in memory, and a router over them."""

    def __init__(self) -> None:
        self.fragile = [Fragile(SqliteHotStore(self._database())) for _ in RANGES]
        pairs = zip(("a", "b"), RANGES, self.fragile, strict=True)
        self.store = ShardedHotStore([Shard(name, own, store) for name, own, store in pairs], groups=GROUPS)

    @staticmethod
    def _database() -> Database:
        database = Database(None, HOT)
        found_deployment(database, GROUPS)
        return database


@pytest.fixture
def shards() -> Iterator[Shards]:
    shards = Shards()
    yield shards
    for fragile in shards.fragile:
        fragile.error = None
    shards.store.close()


def of_shard(shard: int, order_id: str) -> bool:
    return group_of(order_id, GROUPS) in RANGES[shard]


def mixed(number: int = 40) -> list[Draft]:
    """Drafts of which some are each shard's."""
    batch = drafts(number)
    assert {of_shard(0, draft.order.order_id) for draft in batch} == {True, False}
    return batch


def is_as_expected(outcomes: Sequence[object], ids: Sequence[str], failed: int, error: TierError, good: type) -> bool:
    """Whether the items of shard `failed` have its error, and all others what they asked for."""
    return all(
        outcome is error if of_shard(failed, order_id) else isinstance(outcome, good)
        for outcome, order_id in zip(outcomes, ids, strict=True)
    )


class TestRouting:
    """Which shard is asked."""

    def test_an_order_lies_on_its_groups_shard(self, shards: Shards) -> None:
        """And on no other; what was written comes back through the router."""
        batch = mixed()
        shards.store.create(batch)
        for number, fragile in enumerate(shards.fragile):
            own = [of_shard(number, draft.order.order_id) for draft in batch]
            assert [order is not None for order in fragile.load([draft.order.order_id for draft in batch])] == own

    def test_only_those_are_asked_who_have_to_be(self, shards: Shards) -> None:
        """A batch of one shard's orders leaves the other alone; so it can be away without anybody's noticing."""
        shards.fragile[1].error = AWAY
        mine = [draft for draft in drafts(60) if of_shard(0, draft.order.order_id)]
        ids = [draft.order.order_id for draft in mine]
        refs = [Ref(draft.order.merchant_id, draft.order.merchant_ref) for draft in mine]
        assert all(isinstance(outcome, Created) for outcome in shards.store.create(mine))
        changed = shards.store.change([Change(order_id, Status.SUCCESS) for order_id in ids], now_us=0)
        orders = [outcome.order for outcome in changed if isinstance(outcome, Changed)]
        assert shards.store.load(ids) == orders
        assert shards.store.resolve(refs) == ids
        assert len(shards.store.finals(frozenset(RANGES[0]), after=None, limit=99)) == len(ids)
        assert all(shards.store.remove([Removal(order.order_id, order.version) for order in orders], now_us=1))
        assert shards.fragile[1].calls == []

    def test_a_page_of_finals_is_of_all_shards(self, shards: Shards) -> None:
        """Merged by time and id, and cut to the limit as a whole."""
        batch = mixed()
        shards.store.create(batch)
        shards.store.change([Change(draft.order.order_id, Status.FAILED) for draft in reversed(batch)], now_us=0)
        found = shards.store.finals(None, after=None, limit=7)
        assert [order.order_id for order in found] == [draft.order.order_id for draft in batch[:7]]
        found = shards.store.finals(None, after=Cursor.behind(found[-1]), limit=99)
        assert [order.order_id for order in found] == [draft.order.order_id for draft in batch[7:]]

    def test_every_shard_gets_its_turn_to_purge_first(self, shards: Shards) -> None:
        """A limit that one shard alone would use up does not keep the others' references for ever."""
        batch = mixed(100)
        ids = [draft.order.order_id for draft in batch]
        shards.store.create(batch)
        shards.store.change([Change(order_id, Status.FAILED) for order_id in ids], now_us=0)
        shards.store.remove([Removal(order_id, 2) for order_id in ids], now_us=1)
        refs = [Ref(draft.order.merchant_id, draft.order.merchant_ref) for draft in batch]
        assert [shards.store.purge_references(moved_before_us=2, limit=3) for _ in range(2)] == [3, 3]
        gone = [
            draft.order.order_id for draft, id_ in zip(batch, shards.store.resolve(refs), strict=True) if id_ is None
        ]
        assert sorted(of_shard(0, order_id) for order_id in gone) == [False] * 3 + [True] * 3

    def test_shards_work_side_by_side(self, shards: Shards) -> None:
        """Each of two that wait for the other to have begun gets through."""
        begun = [Event(), Event()]

        def meet(own: int) -> None:
            begun[own].set()
            assert begun[1 - own].wait(PATIENCE_S)

        for number, fragile in enumerate(shards.fragile):
            fragile.before = partial(meet, number)
        assert shards.store.load([draft.order.order_id for draft in mixed()]) == [None] * 40

    @pytest.mark.parametrize(
        ("ranges", "message"),
        [
            ([range(32)], "group 32 belongs to no shard"),
            ([range(40), range(32, 64)], "group 32 belongs to s0 and s1"),
            ([range(65)], "s0 has the group 64"),
            ([], "group 0 belongs to no shard"),
        ],
    )
    def test_each_group_has_one_shard(self, ranges: list[range], message: str) -> None:
        """A gap would lose orders, and an overlap would make two of one reference."""
        shards = [Shard(f"s{number}", own, Fragile.__new__(Fragile)) for number, own in enumerate(ranges)]
        with pytest.raises(ConfigError, match=message):
            ShardedHotStore(shards, groups=GROUPS)

    def test_a_closed_router_takes_no_calls(self, shards: Shards) -> None:
        """It has closed the shards' stores, too."""
        shards.store.close()
        shards.store.close()
        with pytest.raises(TierUnavailable, match="closed"):
            shards.store.load([draft.order.order_id for draft in mixed()])
        with pytest.raises(TierUnavailable, match="closed"):
            shards.fragile[0].load([drafts(1)[0].order.order_id])


class TestPartialFailure:
    """One shard does not do what it was asked."""

    @pytest.mark.parametrize("failed", [0, 1])
    @pytest.mark.parametrize(
        "error", [AWAY, OutcomeUnknown("hot"), TierRejected("hot", "no")], ids=lambda e: type(e).__name__
    )
    def test_each_item_has_its_own_outcome(self, shards: Shards, failed: int, error: TierError) -> None:
        """Created where the shard is well, its shard's error where not; for whoever does not look it is not known."""
        batch = mixed()
        ids = [draft.order.order_id for draft in batch]
        shards.fragile[failed].error = error
        with pytest.raises(PartlyWritten) as caught:
            shards.store.create(batch)
        assert isinstance(caught.value, OutcomeUnknown)
        assert is_as_expected(caught.value.outcomes, ids, failed, error, Created)
        assert shards.store.transactions == 1
        with pytest.raises(PartlyRead) as read:
            shards.store.load(ids)
        orders = [outcome.order for outcome in caught.value.outcomes if isinstance(outcome, Created)]
        assert [outcome for outcome in read.value.outcomes if not isinstance(outcome, TierError)] == orders
        changes = [to(draft.order, Status.SUCCESS) for draft in batch]
        with pytest.raises(PartlyWritten) as changed:
            shards.store.change(changes, now_us=0)
        assert is_as_expected(changed.value.outcomes, ids, failed, error, Changed)
        with pytest.raises(PartlyWritten) as removed:
            shards.store.remove([Removal(order_id, 2) for order_id in ids], now_us=1)
        assert is_as_expected(removed.value.outcomes, ids, failed, error, bool)
        with pytest.raises(type(error)):
            shards.store.finals(None, after=None, limit=9)

    def test_what_all_failed_alike_is_said_as_it_is(self, shards: Shards) -> None:
        """Nothing was written, so nothing is unknown."""
        for fragile in shards.fragile:
            fragile.error = AWAY
        batch = mixed()
        with pytest.raises(TierUnavailable, match="no route") as caught:
            shards.store.create(batch)
        assert caught.value is AWAY
        assert shards.store.transactions == 0

    def test_failures_of_two_kinds_are_told_apart(self, shards: Shards) -> None:
        """One shard's items were not written, and the other's nobody knows."""
        unknown = OutcomeUnknown("hot")
        shards.fragile[0].error, shards.fragile[1].error = AWAY, unknown
        batch = mixed()
        with pytest.raises(PartlyWritten) as caught:
            shards.store.create(batch)
        expected = [AWAY if of_shard(0, draft.order.order_id) else unknown for draft in batch]
        assert list(caught.value.outcomes) == expected


class TestHook:
    """What runs before the first COMMIT."""

    def test_it_runs_once_and_before_anything_is_committed(self, shards: Shards) -> None:
        """An answer that came after the first COMMIT was sent must not count, so nobody asks again for the second."""
        batch = mixed()
        seen: list[list[object]] = []

        def look() -> None:
            # The shard in whose transaction this runs cannot be asked, since in memory it has one connection.
            seen.append([shards.fragile[0].store.transactions, shards.fragile[1].store.transactions])

        shards.store.create(batch, before_commit=look)
        assert seen == [[0, 0]]

    def test_nobody_commits_before_it_has_run(self, shards: Shards) -> None:
        """A shard that is ready earlier waits."""
        batch = mixed()
        inside, leave = Event(), Event()

        def dawdle() -> None:
            inside.set()
            assert leave.wait(PATIENCE_S)

        with ThreadPoolExecutor(1) as pool:
            creating = pool.submit(shards.store.create, batch, before_commit=dawdle)
            assert inside.wait(PATIENCE_S)
            assert [fragile.store.transactions for fragile in shards.fragile] == [0, 0]
            leave.set()
            assert all(isinstance(outcome, Created) for outcome in creating.result(PATIENCE_S))

    @pytest.mark.parametrize("error", [ValueError("no"), TierRejected("cache", "no")], ids=["any", "of a tier"])
    def test_what_it_raises_leaves_nothing_anywhere(self, shards: Shards, error: Exception) -> None:
        """And goes on up as it is."""
        batch = mixed()

        def refuse() -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            shards.store.create(batch, before_commit=refuse)
        assert caught.value is error
        assert shards.store.load([draft.order.order_id for draft in batch]) == [None] * len(batch)

    def test_it_runs_where_a_shard_is_away(self, shards: Shards) -> None:
        """Before the commit of whoever is left."""
        shards.fragile[0].error = AWAY
        hooks: list[int] = []
        with pytest.raises(PartlyWritten) as caught:
            shards.store.create(mixed(), before_commit=lambda: hooks.append(1))
        created: list[CreateOutcome] = [outcome for outcome in caught.value.outcomes if isinstance(outcome, Created)]
        assert (bool(created), hooks) == (True, [1])
