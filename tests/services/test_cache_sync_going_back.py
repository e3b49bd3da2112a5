"""Cache-sync when the cache goes back in time, and when a tier fails: nothing old is left, and nothing is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from orderctl.errors import TierUnavailable
from orderctl.services.cache_sync import CacheSync
from orderctl.stores.cache import CacheStore
from orderctl.stores.log import CHANGES, Message, Place
from orderctl.stores.record import decode
from tests.contract.cache_contract_following import GROUP as FOLLOWED
from tests.contract.cache_contract_following import Step, World, histories
from tests.contract.cache_harness import GROUPS, CacheHarness, CacheSuite, at_version, entry_of, orders_of
from tests.contract.cache_sqlite_harness import Past
from tests.services.following import Following, message_of, open_following, value_of
from tests.services.poison import POISON, with_key

GROUP, OTHER_GROUP = 5, 6
HERE = Place(CHANGES, GROUP)


@pytest.fixture
def flow() -> Iterator[Following]:
    """A cache and a log."""
    with open_following() as opened:
        yield opened


class TestGoingBack(CacheSuite):
    """A cache node that holds again what it held before."""

    def test_it_is_noticed_by_the_next_batch(self, flow: Following) -> None:
        """The group is dropped before anything is applied, with all that went back with it; other groups stay."""
        one, two = flow.cached_orders(GROUP, 2)
        [other] = flow.cached_orders(OTHER_GROUP, 1)
        process, past = flow.process(), flow.harness.snapshot()
        flow.publish(message_of(at_version(one, 2)))
        flow.follow(process)
        flow.harness.put_back(past)
        assert flow.entry(one) == entry_of(one)
        flow.publish(message_of(at_version(two, 2)))
        assert flow.follow(process) == {HERE: 2}
        assert (flow.entry(one), flow.entry(two), flow.entry(other)) == (None, None, entry_of(other))
        assert flow.store.marks([GROUP]) == [2]
        assert (flow.counted("cache_groups_dropped_total"), flow.counted("cache_records_dropped_total")) == (1, 2)

    def test_it_is_noticed_in_a_quiet_group(self, flow: Following) -> None:
        """By looking, once; what is read into the cache after that stays."""
        [order] = flow.cached_orders(GROUP, 1)
        process, past = flow.process(), flow.harness.snapshot()
        newer = at_version(order, 2)
        flow.publish(message_of(newer))
        flow.follow(process)
        assert process.watch() == 0
        flow.harness.put_back(past)
        assert process.watch() == 1
        assert flow.entry(order) is None
        self.make_record(flow.store, newer)
        assert process.watch() == 0
        assert flow.entry(order) == entry_of(newer)

    def test_a_cache_that_was_emptied_is_taken_for_one_that_went_back(self, flow: Following) -> None:
        """In every group that is followed; what came in since is dropped too, for nobody knows what it misses."""
        emptied: Past = {"entries": [], "marks": []}
        process = flow.process()
        flow.harness.put_back(emptied)
        [order] = flow.cached_orders(GROUP, 1)
        assert process.watch() == GROUPS
        assert flow.entry(order) is None
        assert flow.store.marks([GROUP, OTHER_GROUP]) == [0, 0]

    def test_the_dropping_of_poison_is_not_undone_unnoticed(self, flow: Following) -> None:
        """The mark went past the message together with the record, so a node without the one is without the other."""
        [order] = flow.cached_orders(GROUP, 1)
        process, past = flow.process(), flow.harness.snapshot()
        flow.publish(POISON["not JSON"](at_version(order, 2)))
        flow.follow(process)
        flow.harness.put_back(past)
        assert process.watch() == 1
        assert flow.entry(order) is None

    def test_a_group_begins_with_a_mark(self, flow: Following) -> None:
        """Where nobody has committed anything yet there is no past to go back to: nothing is alarmed about."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.harness.put_back({"entries": [], "marks": []})
        process = CacheSync(
            flow.cache, flow.log, groups=GROUPS, clock=flow.clock, metrics=flow.metrics, record_ttl_ms=1_000
        )
        process.take(HERE, None)
        assert flow.store.marks([GROUP]) == [0]
        assert process.watch() == 0
        assert flow.counted("cache_groups_dropped_total") == 0
        assert flow.entry(order) is None

    def test_a_process_that_takes_over_expects_what_was_committed(self, flow: Following) -> None:
        """A mark beyond that is no matter: the events come again, and change nothing."""
        [order] = flow.cached_orders(GROUP, 1)
        past = flow.harness.snapshot()
        flow.publish(message_of(at_version(order, 2)))
        flow.process().apply(flow.poll())
        successor = flow.process()
        assert successor.watch() == 0
        flow.follow(successor)
        assert flow.counted("cache_groups_dropped_total") == 0
        flow.harness.put_back(past)
        assert flow.process().watch() == 1

    def test_reading_on_from_an_offset_means_that_all_before_it_was_applied(self, flow: Following) -> None:
        """By another process, to which the partition went and from which it came back between two polls."""
        one, two = flow.cached_orders(GROUP, 2)
        mine, past = flow.process(), flow.harness.snapshot()
        flow.publish(message_of(at_version(one, 2)))
        flow.follow(flow.process())
        flow.harness.put_back(past)
        flow.publish(message_of(at_version(two, 2)))
        flow.follow(mine)
        assert flow.entry(one) is None

    def test_groups_that_went_to_others_are_not_looked_at(self, flow: Following) -> None:
        """They are theirs to drop."""
        process = flow.process()
        flow.publish(message_of(orders_of(GROUP, 1)[0]))
        past = flow.harness.snapshot()
        flow.follow(process)
        flow.harness.put_back(past)
        process.leave(HERE)
        process.leave(HERE)
        assert process.watch() == 0
        process.take(HERE, 1)
        assert process.watch() == 1

    def test_a_cache_that_goes_back_again_and_again_is_left_for_later(self, flow: Following) -> None:
        """The offset does not move, and nothing is applied."""
        [order] = flow.cached_orders(GROUP, 1)
        past = flow.harness.snapshot()
        flow.publish(message_of(at_version(order, 2)))
        flow.follow(flow.process())
        process = flow.process(GoesBackAfterAReset(flow.store, flow.harness, past))
        flow.harness.put_back(past)
        flow.publish(message_of(at_version(order, 3)))
        with pytest.raises(TierUnavailable, match="twice"):
            process.apply(flow.poll())
        assert flow.entry(order) == entry_of(order)
        flow.follow(flow.process())
        assert flow.entry(order) is None


class GoesBackAfterAReset:
    """A cache whose node fails over each time when a group was dropped."""

    def __init__(self, store: CacheStore, harness: CacheHarness, past: Any) -> None:
        self._store = store
        self._harness = harness
        self._past = past

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def reset_group(self, group: int, *, mark: int) -> int:
        dropped = self._store.reset_group(group, mark=mark)
        self._harness.put_back(self._past)
        return dropped


def everything_at_once(flow: Following) -> CacheSync:
    """Orders of two groups with news and poison among them, and a cache that has gone back in one of the groups."""
    one, two, bad = flow.cached_orders(GROUP, 3)
    other, odd = flow.cached_orders(OTHER_GROUP, 2)
    flow.publish(message_of(at_version(one, 2)))
    past = flow.harness.snapshot()
    process = flow.process()
    flow.follow(process)
    flow.harness.put_back(past)
    flow.publish(message_of(at_version(two, 2)), POISON["not JSON"](bad), message_of(at_version(one, 3)))
    flow.publish(message_of(at_version(other, 2)), with_key(odd, bad.order_id.encode()))
    flow.cache.calls.clear()
    return process


class TestFailures:
    """A tier that fails at any call, and everything again."""

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(("tier", "at"), [*(("cache", at) for at in range(6)), *(("log", at) for at in range(3))])
    @pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
    def test_a_batch_that_failed_anywhere_ends_the_same(self, *, tier: str, at: int, after: bool, dies: bool) -> None:
        """Whether the call was done or not, and whether the same process repeats it or the next one."""
        with open_following() as smooth:
            wanted = everything_at_once(smooth).apply(smooth.poll())
            expected = [smooth.store.marks(range(GROUPS)), self.versions(smooth)]
            dropped = ["marks", "reset_group", "reset_group"]
            assert smooth.cache.calls == ["invalidate", "sync", *dropped, "sync"]
            assert smooth.log.calls == ["publish"] * 3
        with open_following() as flow:
            process, messages = everything_at_once(flow), flow.poll()
            faulty = {"cache": flow.cache, "log": flow.log}[tier]
            faulty.at, faulty.after = at, after
            with pytest.raises(TierUnavailable):
                process.apply(messages)
            again = flow.process() if dies else process
            assert again.apply(messages) == wanted
            assert [flow.store.marks(range(GROUPS)), self.versions(flow)] == expected
            assert {(parked.partition, parked.offset) for parked in flow.parked()} == {(GROUP, 2), (OTHER_GROUP, 1)}
            told = flow.announced()
            assert (GROUP in told, sum(isinstance(each, str) for each in told), len(told)) == (True, 2, 3)

    @pytest.mark.parametrize("at", range(6))
    def test_a_watch_that_failed_goes_on_the_next_time(self, flow: Following, at: int) -> None:
        """Groups that it did not come to are looked at again."""
        process, past = flow.process(), flow.harness.snapshot()
        flow.publish(*(message_of(orders_of(group, 1)[0]) for group in (GROUP, OTHER_GROUP)))
        flow.follow(process)
        flow.harness.put_back(past)
        flow.cache.calls.clear()
        flow.cache.at = at
        with pytest.raises(TierUnavailable):
            process.watch()
        assert process.watch() == (1 if at == 5 else 2)
        assert flow.store.marks([GROUP, OTHER_GROUP]) == [1, 1]
        assert flow.announced() == {GROUP, OTHER_GROUP}
        assert flow.counted("cache_groups_dropped_total") == 2
        assert process.watch() == 0

    def versions(self, flow: Following) -> list[tuple[int, int]]:
        """Every entry's version, by group."""
        rows = flow.harness.snapshot()["entries"]
        return sorted((group, decode(value).version) for group, _, value, _ in rows)


class FollowedByTheService(World):
    """The contract's world, in which the service itself follows the log."""

    def __init__(self, flow: Following) -> None:
        super().__init__(flow.store, flow.harness)
        self.flow = flow
        self.place = Place(CHANGES, FOLLOWED)
        self.process = flow.process()

    def follow(self, limit: int) -> None:
        batch = list(enumerate(self.log))[self.reached :][:limit]
        messages = [
            Message(self.place, offset, order.order_id.encode(), value_of(order) if readable else b"?")
            for offset, (order, readable) in batch
        ]
        self.reached = self.process.apply(messages).get(self.place, self.reached)

    def watch(self) -> None:
        self.process.watch()

    def restart(self, uncommitted: int) -> None:
        super().restart(uncommitted)
        self.flow.committed[self.place] = self.reached
        self.process = self.flow.process()


@given(history=histories)
@settings(max_examples=60, deadline=None)
def test_the_service_leaves_nothing_old_once_it_has_caught_up(history: list[Step]) -> None:
    """Whatever was committed, read, lost, repeated and put back, in whatever order."""
    with open_following() as flow:
        world = FollowedByTheService(flow)
        for step in history:
            world.take(step)
        world.catch_up()
        world.assert_nothing_is_old()
