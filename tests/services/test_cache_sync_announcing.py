"""Cache-sync tells every process what it has repaired, before anything counts as done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec import structs

from orderctl.errors import TierUnavailable
from orderctl.stores.cache import Advance, Applied, CacheStore, NodesAway
from orderctl.stores.log import CHANGES, Place
from tests.contract.cache_harness import CacheSuite, at_version, entry_of, orders_of
from tests.services.following import Following, message_of, open_following
from tests.services.poison import POISON, with_key

GROUP, OTHER_GROUP = 5, 6
HERE = Place(CHANGES, GROUP)


@pytest.fixture
def flow() -> Iterator[Following]:
    """A cache and a log."""
    with open_following() as opened:
        yield opened


class TestOrders(CacheSuite):
    """Single orders."""

    def test_what_is_applied_is_nobodys_concern(self, flow: Following) -> None:
        """Copies of open orders live for moments, and final ones are right."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.publish(message_of(at_version(order, 2)), message_of(at_version(order, 3)))
        flow.follow(flow.process())
        assert flow.announced() == set()
        assert flow.log.calls == []

    def test_orders_whose_message_was_parked_are_announced(self, flow: Following) -> None:
        """All that it may be about, of whichever group."""
        [ours], [theirs] = flow.cached_orders(GROUP, 1), flow.cached_orders(OTHER_GROUP, 1)
        flow.publish(with_key(ours, theirs.order_id.encode()))
        flow.follow(flow.process())
        assert flow.announced() == {ours.order_id, theirs.order_id}

    def test_wrong_bytes_that_were_replaced_are_announced(self, flow: Following) -> None:
        """They may have been copied, and the version is the right one, so that nobody else would notice."""
        one, two = flow.cached_orders(GROUP, 2)
        flow.publish(message_of(structs.replace(one, status_reason="as committed")), message_of(at_version(two, 2)))
        flow.follow(flow.process())
        assert flow.announced() == {one.order_id}

    def test_the_cache_is_repaired_before(self, flow: Following) -> None:
        """Whoever forgets, and looks again, is to find the repair."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.publish(POISON["empty"](order))
        flow.log.at = 1
        with pytest.raises(TierUnavailable):
            flow.process().apply(flow.poll())
        assert flow.entry(order) is None
        assert flow.announced() == set()

    @pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
    def test_a_batch_is_not_done_until_it_is_announced(self, flow: Following, *, dies: bool) -> None:
        """It comes again, and then it is; it makes no difference which process repeats it."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.publish(POISON["empty"](order))
        process, messages = flow.process(), flow.poll()
        flow.log.at = 1
        with pytest.raises(TierUnavailable):
            process.apply(messages)
        assert (flow.process() if dies else process).apply(messages) == {HERE: 1}
        assert flow.announced() == {order.order_id}

    def test_a_repair_that_leaves_no_trace_is_remembered(self, flow: Following) -> None:
        """When the batch comes again the bytes are right already; what was to be announced is, with whatever comes next."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.publish(message_of(structs.replace(order, status_reason="as committed")))
        process, messages = flow.process(), flow.poll()
        flow.log.at = 0
        with pytest.raises(TierUnavailable):
            process.apply(messages)
        process.apply(messages)
        assert flow.announced() == {order.order_id}
        process.apply(messages)
        assert flow.log.calls == ["publish"] * 2

    def test_repairs_are_remembered_where_another_node_was_away(self, flow: Following) -> None:
        """The call failed, and some of it was done: it is counted and announced once, when the batch has come again."""
        [ours], [theirs] = flow.cached_orders(GROUP, 1), flow.cached_orders(OTHER_GROUP, 1)
        flow.publish(*(message_of(structs.replace(order, status_reason="as committed")) for order in (ours, theirs)))
        cache = OneGroupAway(flow.store, OTHER_GROUP)
        process, messages = flow.process(cache), flow.poll()
        with pytest.raises(NodesAway):
            process.apply(messages)
        assert flow.store.marks([GROUP, OTHER_GROUP]) == [1, 0]
        assert (flow.counted("equal_version_conflicts_total"), flow.announced()) == (1, set())
        cache.away = None
        process.apply(messages)
        assert flow.store.marks([GROUP, OTHER_GROUP]) == [1, 1]
        assert (flow.counted("equal_version_conflicts_total"), flow.announced()) == (
            2,
            {ours.order_id, theirs.order_id},
        )

    def test_what_went_back_is_dropped_though_another_node_is_away(self, flow: Following) -> None:
        """Readers are sent old records by a node that went back, however long the other one stays away."""
        [ours], [theirs] = flow.cached_orders(GROUP, 1), flow.cached_orders(OTHER_GROUP, 1)
        past = flow.harness.snapshot()
        flow.publish(*(message_of(at_version(order, 2)) for order in (ours, theirs)))
        flow.follow(flow.process())
        flow.harness.put_back(past)
        flow.publish(*(message_of(order) for order in orders_of(GROUP, 1) + orders_of(OTHER_GROUP, 1)))
        with pytest.raises(NodesAway):
            flow.process(OneGroupAway(flow.store, OTHER_GROUP)).apply(flow.poll())
        assert (flow.entry(ours), flow.entry(theirs)) == (None, entry_of(theirs))
        assert (flow.announced(), flow.store.marks([GROUP, OTHER_GROUP])) == ({GROUP}, [2, 0])


class OneGroupAway:
    """A cache one of whose groups is on a node that is away."""

    def __init__(self, store: CacheStore, away: int | None) -> None:
        self._store = store
        self.away = away

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def sync(self, advances: Sequence[Advance]) -> list[list[Applied] | None]:
        outcomes = [
            TierUnavailable("cache") if advance.group == self.away else self._store.sync([advance])[0]
            for advance in advances
        ]
        if any(isinstance(outcome, TierUnavailable) for outcome in outcomes):
            raise NodesAway(outcomes)
        return [outcome for outcome in outcomes if not isinstance(outcome, TierUnavailable)]


class TestGroups(CacheSuite):
    """Groups whose node went back in time."""

    def gone_back(self, flow: Following, *groups: int) -> None:
        """Let something be applied in each, and be undone."""
        process, past = flow.process(), flow.harness.snapshot()
        flow.publish(*(message_of(orders_of(group, 1)[0]) for group in groups for _ in range(3)))
        flow.follow(process)
        flow.harness.put_back(past)

    def test_groups_that_were_dropped_are_announced(self, flow: Following) -> None:
        """All of them in one call."""
        self.gone_back(flow, GROUP, OTHER_GROUP)
        assert flow.process().watch() == 2
        assert flow.announced() == {GROUP, OTHER_GROUP}
        assert flow.log.calls == ["publish"]

    def test_a_process_that_dies_before_it_has_announced(self, flow: Following) -> None:
        """The next one finds the mark too low, and does all of it."""
        self.gone_back(flow, GROUP)
        flow.log.at = 0
        with pytest.raises(TierUnavailable):
            flow.process().watch()
        assert flow.announced() == set()
        assert flow.process().watch() == 1
        assert flow.announced() == {GROUP}
        assert flow.store.marks([GROUP]) == [3]

    def test_what_readers_have_loaded_meanwhile_stays(self, flow: Following) -> None:
        """While the log is away the group is not dropped again and again; in the end it is, once."""
        self.gone_back(flow, GROUP)
        process = flow.process()
        for at in range(3):
            flow.log.at = at
            with pytest.raises(TierUnavailable):
                process.watch()
            if at == 0:
                loaded = flow.cached_orders(GROUP, 1)[0]
            assert flow.entry(loaded) is not None
        assert process.watch() == 1
        assert flow.entry(loaded) is None
        assert process.watch() == 0

    def test_one_that_goes_back_again_meanwhile_is_dropped_again(self, flow: Following) -> None:
        """Although its dropping was not announced yet."""
        past = flow.harness.snapshot()
        self.gone_back(flow, GROUP)
        process = flow.process()
        flow.log.at = 0
        with pytest.raises(TierUnavailable):
            process.watch()
        flow.harness.put_back(past)
        [old] = flow.cached_orders(GROUP, 1)
        flow.log.at = 1
        with pytest.raises(TierUnavailable):
            process.watch()
        assert flow.entry(old) is None
        assert process.watch() == 1
        assert flow.store.marks([GROUP]) == [3]

    def test_a_batch_announces_its_group_too(self, flow: Following) -> None:
        """Whoever notices first."""
        self.gone_back(flow, GROUP)
        flow.publish(message_of(orders_of(GROUP, 1)[0]))
        assert flow.follow(flow.process()) == {HERE: 4}
        assert flow.announced() == {GROUP}
