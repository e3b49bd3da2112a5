"""Promotion: planned, carried out, stopped at every step and gone on with, and what every tier says afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from orderctl import event
from orderctl.admin.audit import audit_log
from orderctl.admin.shard_list import ShardState, shard_list
from orderctl.admin.shard_promote import PAGE, PASSES_MAX, FeedState, Promoter, Promotion, plan_promotion
from orderctl.errors import NotFound, OutcomeUnknown, TierError, TierUnavailable, UsageRefused
from orderctl.order import Change, Order, Status
from orderctl.services.invalidation import GroupInvalidated, read
from orderctl.services.pump import Checkpoint, Pump
from orderctl.stores.cache import Fill, Put
from orderctl.stores.feed import FeedPurged
from orderctl.stores.log import CHANGES, CHECKPOINTS, INVALIDATED, LogStore, Outgoing, Place
from orderctl.stores.record import Record, record_of
from orderctl.stores.tiers import SHARD
from orderctl.version import EPOCH_MAX, EPOCH_SHIFT
from tests.services.promoting import archived, opened
from tests.services.tiers import Bench, away, open_bench

GROUPS = 64
TTL_MS = 60_000


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_bench() as opened_bench:
        yield opened_bench


class Stops:
    """Stops everything at its `at`th call to any of the stores that it stands before, before or after the call was made."""

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self._left = at
        self._after = after
        self.calls = 0

    def before(self, store: object) -> Any:
        """`store`, with this before it."""
        stops = self

        class Stopped:
            def __getattr__(self, name: str) -> Any:
                method = getattr(store, name)
                return stops.guarded(method) if callable(method) else method

        return Stopped()

    def guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, which may not be reached, or not be heard of."""

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self._left and not self._after:
                raise TierUnavailable("hot", "stopped")
            found = method(*arguments, **options)
            if self.calls == self._left:
                raise OutcomeUnknown("hot", "stopped")
            return found

        return call


def promote(bench: Bench, folder: Path, stops: Stops | None = None, plan: Promotion | None = None) -> Promotion:
    """`shard promote --execute`."""
    stops = stops or Stops()
    whole = bench.tiers
    shard = structs.replace(whole.shards[0], hot=stops.before(whole.hot), registry=stops.before(whole.registry))
    tiers = structs.replace(
        whole,
        archive=stops.before(bench.archive),
        cache=stops.before(bench.cache),
        log=stops.before(bench.log),
        shards=(shard,),
    )
    with audit_log(folder / "audit.jsonl", bench.clock) as audit:
        promoter = Promoter(tiers, audit, bench.clock, metrics=bench.metrics, record_ttl_ms=TTL_MS)
        return promoter.promote(plan or plan_promotion(tiers, SHARD), reason="db1 burnt", progress=lambda _: None)


def cached(bench: Bench, *orders: Order) -> None:
    """Have the cache hold these, which may be newer than what the hot store has."""
    for order in orders:
        bench.tiers.cache.invalidate([order.order_id])
        bench.tiers.cache.lookup([order.order_id], tokens=[b"t" * 16])
        bench.tiers.cache.fill([Fill(order.order_id, b"t" * 16, record_of(order), TTL_MS)])


def invalidated(log: LogStore) -> set[int]:
    """The groups that every process was told to forget."""
    found: set[int] = set()
    for group, (first, end) in enumerate(log.ends(INVALIDATED)):
        for message in log.read(Place(INVALIDATED, group), first, end - first) if end > first else []:
            asked = read(message, GROUPS)
            assert isinstance(asked, GroupInvalidated)
            found.add(asked.group)
    return found


def a_lagging_copy(bench: Bench) -> tuple[list[Order], list[Order], list[Order]]:
    """Open rows: some that are archived as final, some that the cache knows in a final version which was lost, some as ever."""
    orders = opened(bench, *map(str, range(9)))
    ends = archived(bench, *orders[:3])
    lost = [structs.replace(order, status=Status.FAILED, version=order.version + 2) for order in orders[3:6]]
    cached(bench, *lost)
    return ends, orders[3:6], orders[6:]


def assert_promoted(bench: Bench, ends: list[Order], going_on: list[Order], *, epoch: int = 1) -> None:
    """What a promotion has to leave behind, however often it was stopped."""
    hot, cache = bench.tiers.hot, bench.tiers.cache
    assert hot.load([end.order_id for end in ends]) == [None] * len(ends)
    touched = [structs.replace(order, version=epoch << EPOCH_SHIFT) for order in going_on]
    assert hot.load([order.order_id for order in going_on]) == touched
    for order in (*ends, *touched):
        [entry] = cache.get([order.order_id])
        assert entry is None or (entry.version, entry.body) == (order.version, record_of(order).body)
    assert invalidated(bench.tiers.log) == set(range(GROUPS))
    deployment = bench.tiers.registry.deployment()
    assert (deployment.epoch, deployment.epoch_settled) == (epoch, epoch)


def test_a_plan_says_what_would_be_done_and_does_nothing(bench: Bench) -> None:
    """How many rows are open, and from which epoch to which."""
    opened(bench, "1", "2")
    assert plan_promotion(bench.tiers, SHARD) == Promotion(SHARD, "0-63", 0, 1, None, None, 2, FeedState.SAME)
    assert bench.tiers.registry.deployment().epoch == 0
    with pytest.raises(NotFound, match="no shard other"):
        plan_promotion(bench.tiers, "other")


def test_a_promotion_settles_every_open_row(bench: Bench, tmp_path: Path) -> None:
    """The archive's final states stand, all others go on, and nobody keeps what only the lost server knew."""
    ends, lost, others = a_lagging_copy(bench)
    done = promote(bench, tmp_path)
    assert (done.executed, done.discarded, done.touched) == (True, 3, 6)
    assert_promoted(bench, ends, lost + others)
    records = bench.tiers.cache.get([order.order_id for order in lost])
    assert [entry and entry.version for entry in records] == [1 << EPOCH_SHIFT] * 3
    begun, ended = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (begun["action"], begun["done"], begun["epoch"], begun["reason"]) == ("shard promote", False, 1, "db1 burnt")
    assert (ended["done"], ended["touched"], ended["discarded"]) == (True, 6, 3)


@pytest.mark.parametrize("after", [False, True], ids=["not reached", "not heard of"])
def test_stopped_anywhere_the_same_command_goes_on(tmp_path: Path, *, after: bool) -> None:
    """At every call to a store in turn, before it was made or after; the epoch is raised once."""
    with open_bench() as whole:
        a_lagging_copy(whole)
        promote(whole, tmp_path, counting := Stops())
    assert counting.calls > 12
    for at in range(1, counting.calls + 1):
        with open_bench() as bench:
            ends, lost, others = a_lagging_copy(bench)
            with suppress(TierError):
                promote(bench, tmp_path, Stops(at, after=after))
            unfinished = shard_list(bench.tiers.shards)[0].state is not ShardState.CURRENT
            if unfinished or bench.tiers.registry.deployment().epoch == 0:
                promote(bench, tmp_path)
            follow(bench, lost + others)
            assert_promoted(bench, ends, lost + others)


def follow(bench: Bench, going_on: list[Order]) -> None:
    """What cache-sync does by itself: the touched rows' events come to the cache."""
    orders = [order for order in bench.tiers.hot.load([order.order_id for order in going_on]) if order]
    bench.tiers.cache.apply([Put(record_of(order), TTL_MS) for order in orders])


def test_it_takes_as_many_pages_as_it_needs(bench: Bench, tmp_path: Path) -> None:
    """And says how far it is after each."""
    orders = opened(bench, *map(str, range(PAGE + 3)))
    done = promote(bench, tmp_path)
    assert done.touched == PAGE + 3
    assert_promoted(bench, [], orders)


def test_a_second_promotion_is_another_epoch(bench: Bench, tmp_path: Path) -> None:
    """After one that came to its end; it does no harm."""
    orders = opened(bench, "1")
    promote(bench, tmp_path)
    again = promote(bench, tmp_path)
    assert (again.epoch_from, again.epoch_to, again.touched) == (1, 2, 1)
    assert_promoted(bench, [], orders, epoch=2)


def test_two_at_once_raise_the_epoch_by_one(bench: Bench, tmp_path: Path) -> None:
    """The second's plan is refused; what it would have done is the first's."""
    opened(bench, "1")
    stale = plan_promotion(bench.tiers, SHARD)
    promote(bench, tmp_path)
    with pytest.raises(UsageRefused, match="no longer 0"):
        promote(bench, tmp_path, plan=stale)
    assert bench.tiers.registry.deployment().epoch == 1


def test_without_the_cache_writes_are_open_and_the_rest_waits(bench: Bench, tmp_path: Path) -> None:
    """A lost cache does not hold back the merchants; and no row is settled that the cache would not hear of."""
    [order] = opened(bench, "1")
    bench.cache.error = away("cache")
    with pytest.raises(TierUnavailable):
        promote(bench, tmp_path)
    [view] = shard_list(bench.tiers.shards)
    assert (view.state, view.epoch, view.open_orders) == (ShardState.PROMOTING, 1, 1)
    assert bench.tiers.hot.load([order.order_id]) == [order]
    bench.cache.error = None
    assert plan_promotion(bench.tiers, SHARD).goes_on
    assert promote(bench, tmp_path).touched == 1
    assert shard_list(bench.tiers.shards)[0].state is ShardState.CURRENT


def test_changes_while_it_runs_are_settled_by_whoever_changes(bench: Bench, tmp_path: Path) -> None:
    """The epoch is raised first, so a merchant need not wait until the last row was looked at."""
    one, two = opened(bench, "1", "2")
    bench.cache.error = away("cache")
    with pytest.raises(TierUnavailable):
        promote(bench, tmp_path)
    [answer] = bench.command().change([Change(one.order_id, Status.SUCCESS)])
    assert isinstance(answer, Record)
    bench.cache.error = None
    assert promote(bench, tmp_path).touched == 1
    assert bench.tiers.hot.load([two.order_id]) == [structs.replace(two, version=1 << EPOCH_SHIFT)]


def test_rows_that_cannot_be_settled_end_in_an_error(bench: Bench, tmp_path: Path) -> None:
    """Instead of in a promotion that says it is over: here the archive's word stands, and the row may not be removed."""
    archived(bench, *opened(bench, "1"))
    asked: list[str] = []

    class MayNotDelete:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            if name == "discard":
                raise TierUnavailable("hot", "denied")
            return getattr(bench.tiers.hot, name)

    shard = structs.replace(bench.tiers.shards[0], hot=MayNotDelete())
    tiers = structs.replace(bench.tiers, shards=(shard,))
    with audit_log(tmp_path / "audit.jsonl", bench.clock) as audit:
        promoter = Promoter(tiers, audit, bench.clock, metrics=bench.metrics, record_ttl_ms=TTL_MS)
        with pytest.raises(UsageRefused, match="again and again"):
            promoter.promote(plan_promotion(tiers, SHARD), reason=None, progress=lambda _: None)
    assert asked.count("discard") == PASSES_MAX
    assert bench.tiers.registry.deployment().epoch_settled == 0


def test_the_last_epoch_has_no_next(bench: Bench) -> None:
    """Versions stay exact in a double."""
    [shard] = bench.tiers.shards

    class AtTheEnd:
        def deployment(self) -> Any:
            return structs.replace(bench.tiers.registry.deployment(), epoch=EPOCH_MAX, epoch_settled=EPOCH_MAX)

    tiers = structs.replace(bench.tiers, shards=(structs.replace(shard, registry=AtTheEnd()),))
    with pytest.raises(UsageRefused, match="no room"):
        plan_promotion(tiers, SHARD)


class TestFeed:
    """cdc after a promotion."""

    def pump(self, bench: Bench) -> Pump:
        """Whoever leads the shard."""
        [feed] = bench.tiers.feeds
        return Pump(feed, bench.tiers.log, partition=0, groups=GROUPS, clock=bench.clock)

    def published(self, bench: Bench) -> dict[str, set[int]]:
        """Each order's versions in the log."""
        found: dict[str, set[int]] = {}
        for group, (first, end) in enumerate(bench.tiers.log.ends(CHANGES)):
            for message in bench.tiers.log.read(Place(CHANGES, group), first, end - first) if end > first else []:
                order = event.decode(message.value).order
                found.setdefault(order.order_id, set()).add(order.version)
        return found

    def test_the_same_history_is_gone_on_with(self, bench: Bench, tmp_path: Path) -> None:
        """By position: nothing comes again."""
        [order] = opened(bench, "1")
        pump = self.pump(bench)
        assert pump.step(0) == 1
        assert promote(bench, tmp_path).feed is FeedState.SAME
        assert pump.step(0) == 1
        assert self.published(bench) == {order.order_id: {1, 1 << EPOCH_SHIFT}}
        pump.close()

    def test_another_history_is_followed_from_its_oldest_change(self, bench: Bench, tmp_path: Path) -> None:
        """The checkpoint is a lost server's, which had come further: cdc says so, and goes on after the promotion."""
        [order] = opened(bench, "1")
        lost = Checkpoint(SHARD, "1000", bench.clock.now_us())
        checkpoint = Outgoing(Place(CHECKPOINTS, 0), SHARD.encode(), msgspec.json.encode(lost))
        bench.tiers.log.publish([checkpoint])
        pump = self.pump(bench)
        with pytest.raises(FeedPurged):
            pump.step(0)
        assert promote(bench, tmp_path).feed is FeedState.ANOTHER
        assert pump.step(0) == 2
        assert self.published(bench) == {order.order_id: {1, 1 << EPOCH_SHIFT}}
        assert plan_promotion(bench.tiers, SHARD).feed is FeedState.SAME
        pump.close()

    def test_a_feed_that_may_not_be_looked_at_holds_nothing_up(self, bench: Bench, tmp_path: Path) -> None:
        """An operator may have no rights to it; the plan says that nobody looked."""

        class Denied:
            def open(self, _position: str | None) -> Any:
                raise TierUnavailable("hot", "denied")

        denied = structs.replace(bench.tiers, feeds=(Denied(),))
        assert plan_promotion(denied, SHARD).feed is FeedState.UNKNOWN
        assert promote(bench, tmp_path, plan=plan_promotion(denied, SHARD)).executed


class TestList:
    """`shard list`."""

    def test_a_shard_says_its_epoch_and_who_answers(self, bench: Bench) -> None:
        """A file is on no server, and is its own."""
        opened(bench, "1")
        [view] = shard_list(bench.tiers.shards)
        assert (view.name, view.groups, view.state, view.epoch) == (SHARD, "0-63", ShardState.CURRENT, 0)
        assert (view.server, view.epoch_server, view.open_orders) == (None, None, 1)

    def test_another_server_than_the_epochs_is_not_promoted(self, bench: Bench) -> None:
        """Also where an earlier promotion was stopped: that one was another server's."""
        [shard] = bench.tiers.shards

        class Elsewhere:
            def deployment(self) -> Any:
                return structs.replace(bench.tiers.registry.deployment(), server="b", epoch_server="a", epoch=2)

        other = structs.replace(shard, registry=Elsewhere())
        assert shard_list([other])[0].state is ShardState.NOT_PROMOTED
        plan = plan_promotion(structs.replace(bench.tiers, shards=(other,)), SHARD)
        assert (plan.epoch_from, plan.epoch_to, plan.goes_on) == (2, 3, False)

    def test_a_shard_that_is_away_hides_no_other(self, bench: Bench) -> None:
        """It says why."""
        [shard] = bench.tiers.shards
        bench.hot.error = away("hot")
        gone = structs.replace(shard, name="gone", hot=bench.hot)
        away_view, view = shard_list([gone, shard])
        assert (away_view.state, view.state) == (ShardState.AWAY, ShardState.CURRENT)
        assert away_view.error is not None
