"""Cache-sync: what the log says reaches the cache, whatever comes twice, late, or from a cache that went back in time."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from msgspec import structs

from orderctl.errors import TierUnavailable
from orderctl.event import Op
from orderctl.order import Status
from orderctl.services.cache_sync import GROUP_EVENTS_MAX
from orderctl.stores.log import CHANGES, Outgoing, Place
from orderctl.stores.record import Entry, Kind
from tests.contract.cache_harness import (
    CacheSuite,
    at_version,
    entry_of,
    filled,
    orders_of,
    token,
)
from tests.services.following import Following, message_of, open_following, value_of
from tests.services.poison import POISON, with_key, with_value

GROUP, OTHER_GROUP = 5, 6
HERE = Place(CHANGES, GROUP)
MINE = token(1)


@pytest.fixture
def flow() -> Iterator[Following]:
    """A cache and a log."""
    with open_following() as opened:
        yield opened


class TestFollowing(CacheSuite):
    """What events do to the cache."""

    def test_cached_orders_follow_the_log(self, flow: Following) -> None:
        """Through all their versions; what is returned is the offset behind the batch."""
        [order] = flow.cached_orders(GROUP, 1)
        process = flow.process()
        for version, status in ((2, Status.PROCESSING), (3, Status.SUCCESS)):
            newer = at_version(order, version, status=status)
            flow.publish(message_of(newer))
            assert flow.follow(process) == {HERE: version - 1}
            assert flow.entry(order) == entry_of(newer)
            assert flow.store.marks([GROUP]) == [version - 1]

    def test_a_final_record_lives_for_the_records_time(self, flow: Following) -> None:
        """An open one until its deadline, and that long after it."""
        orders = flow.cached_orders(GROUP, 2)
        now_us = flow.clock.now_us()
        final = structs.replace(at_version(orders[0], 2, status=Status.FAILED), deadline_at=now_us + 900_000_000)
        still_open = structs.replace(at_version(orders[1], 2), deadline_at=now_us + 900_000_000)
        flow.publish(message_of(final), message_of(still_open))
        flow.follow(flow.process())
        kept = [flow.harness.peek(order.order_id) for order in orders]
        assert [entry and entry[1] - now_us for entry in kept] == [3_600_000_000, 4_500_000_000]

    def test_an_order_that_nobody_asks_for_is_not_cached(self, flow: Following) -> None:
        """A change is no reason."""
        [order] = orders_of(GROUP, 1)
        flow.publish(message_of(order, Op.CREATE))
        assert flow.follow(flow.process()) == {HERE: 1}
        assert flow.entry(order) is None

    def test_a_batch_is_one_call_for_all_groups(self, flow: Following) -> None:
        """However the messages of several groups are mixed, and however many versions of an order there are."""
        ours, theirs = flow.cached_orders(GROUP, 2), flow.cached_orders(OTHER_GROUP, 2)
        flow.publish(*(message_of(at_version(o, v)) for v in range(2, 7) for o in (*ours, *theirs)))
        messages = sorted(flow.poll(), key=lambda message: message.offset)
        assert flow.process().apply(messages) == {HERE: 10, Place(CHANGES, OTHER_GROUP): 10}
        assert flow.cache.calls == ["sync"]
        for order in (*ours, *theirs):
            assert flow.entry(order) == entry_of(at_version(order, 6))

    def test_what_comes_again_changes_nothing(self, flow: Following) -> None:
        """The same batch, by the same process and by the next one, which begins at an older commit."""
        orders = flow.cached_orders(GROUP, 3)
        flow.publish(*(message_of(at_version(order, version)) for version in (2, 3) for order in orders))
        process, messages = flow.process(), flow.poll()
        process.apply(messages)
        before = flow.harness.snapshot()
        for again in (messages, messages[2:], messages[:3]):
            process.apply(again)
            flow.process().apply(again)
        assert flow.harness.snapshot() == before
        assert flow.counted("equal_version_conflicts_total") == flow.counted("cache_groups_dropped_total") == 0

    def test_an_old_event_after_a_newer_one_changes_nothing(self, flow: Following) -> None:
        """Nor does it after the record was evicted: it is not put back as it was."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.publish(message_of(at_version(order, 2)), message_of(at_version(order, 3)))
        process = flow.process()
        old, new = flow.poll()
        process.apply([old, new])
        assert process.apply([old]) == {HERE: 1}
        assert flow.entry(order) == entry_of(at_version(order, 3))
        flow.harness.evict(order.order_id)
        process.apply([old])
        assert flow.entry(order) is None

    def test_an_old_event_does_not_lower_a_floor(self, flow: Following) -> None:
        """Whoever loaded the version before the newest event may not fill it in."""
        [order] = orders_of(GROUP, 1)
        flow.publish(message_of(at_version(order, 2)), message_of(at_version(order, 3)))
        old, new = flow.poll()
        process = flow.process()
        self.make_lease(flow.store, order, MINE)
        process.apply([old, new])
        process.apply([old])
        assert flow.entry(order) == Entry(Kind.LEASE, 3, token=MINE)
        assert flow.store.fill([filled(at_version(order, 2), MINE)]) == [False]

    def test_deletions_say_nothing_about_the_order(self, flow: Following) -> None:
        """They are the archiver's: the record stays, and the offset goes on, also where there is nothing else."""
        [order] = flow.cached_orders(GROUP, 1)
        final = at_version(order, 2, status=Status.SUCCESS)
        flow.publish(message_of(final))
        process = flow.process()
        flow.follow(process)
        flow.publish(message_of(final, Op.DELETE), message_of(order, Op.DELETE))
        assert flow.follow(process) == {HERE: 3}
        assert flow.entry(order) == entry_of(final)
        assert flow.store.marks([GROUP]) == [3]
        assert flow.parked() == []

    def test_debeziums_ids_are_understood(self, flow: Following) -> None:
        """It writes binary columns as base64."""
        [order] = flow.cached_orders(GROUP, 1)
        newer = at_version(order, 2)
        raw = bytes.fromhex(order.order_id.replace("-", ""))
        value = value_of(newer).replace(order.order_id.encode(), base64.b64encode(raw))
        flow.publish(with_value(newer, value))
        flow.follow(flow.process())
        assert flow.entry(order) == entry_of(newer)

    def test_the_right_version_with_other_bytes_is_repaired_and_counted(self, flow: Following) -> None:
        """The log's content stands."""
        [order] = flow.cached_orders(GROUP, 1)
        committed = structs.replace(order, status_reason="as committed")
        flow.publish(message_of(committed))
        flow.follow(flow.process())
        assert flow.entry(order) == entry_of(committed)
        assert flow.counted("equal_version_conflicts_total") == 1

    def test_two_contents_of_one_version_in_one_batch_are_counted(self, flow: Following) -> None:
        """Neither hides the other; the same twice is none."""
        [order] = flow.cached_orders(GROUP, 1)
        one, two = at_version(order, 2), structs.replace(at_version(order, 2), amount=5)
        flow.publish(*map(message_of, (one, one, two, two, order)))
        flow.follow(flow.process())
        assert flow.entry(order) == entry_of(two)
        assert flow.counted("equal_version_conflicts_total") == 1

    def test_contents_of_an_older_version_are_no_conflict(self, flow: Following) -> None:
        """Where the batch has a newer version the cache never sees them, however many there were."""
        [order] = flow.cached_orders(GROUP, 1)
        one, newer = at_version(order, 2), at_version(order, 3)
        rivals = [one, structs.replace(one, amount=5), one]
        flow.publish(*map(message_of, (*rivals, newer, *rivals)))
        flow.follow(flow.process())
        assert flow.entry(order) == entry_of(newer)
        assert flow.counted("equal_version_conflicts_total") == 0

    def test_many_events_of_a_group_are_several_steps(self, flow: Following) -> None:
        """The node is not kept busy by one call for as long as a backlog is; other groups go along with the first step."""
        [order], [other] = flow.cached_orders(GROUP, 1), flow.cached_orders(OTHER_GROUP, 1)
        count = 2 * GROUP_EVENTS_MAX + 1
        flow.publish(*(message_of(at_version(order, 2 + number)) for number in range(count)))
        flow.publish(message_of(at_version(other, 2)))
        messages = [*flow.broker.read(HERE, 0, count), *flow.broker.read(Place(CHANGES, OTHER_GROUP), 0, 1)]
        assert flow.process().apply(messages) == {HERE: count, Place(CHANGES, OTHER_GROUP): 1}
        assert flow.cache.calls == ["sync"] * 3
        assert [flow.entry(order), flow.entry(other)] == [
            entry_of(at_version(order, count + 1)),
            entry_of(at_version(other, 2)),
        ]
        assert flow.store.marks([GROUP, OTHER_GROUP]) == [count, 1]

    def test_the_lag_is_measured_from_the_commit_to_the_cache(self, flow: Following) -> None:
        """Of each change, of those that name their commit's time; a clock that is behind makes no negative lag."""
        orders, now_us = orders_of(GROUP, 4), flow.clock.now_us()
        times = [now_us - 2_000_000, now_us - 1_000_000, now_us + 5_000_000, 0]
        flow.publish(*(message_of(order, committed_us=us) for order, us in zip(orders, times, strict=True)))
        flow.publish(message_of(orders[0], Op.DELETE, committed_us=now_us - 9_000_000))
        flow.follow(flow.process())
        assert flow.counted("cache_lag_seconds_count") == 3
        assert flow.counted("cache_lag_seconds_sum") == 3.0


class TestParking(CacheSuite):
    """A message that cannot be processed is put aside, and holds nobody up."""

    @pytest.mark.parametrize("kind", POISON)
    def test_poison_is_parked_and_the_rest_flows_on(self, flow: Following, kind: str) -> None:
        """Its order's record is dropped, since it may be old by now; those before and behind it in the log are applied."""
        bad, first, last = flow.cached_orders(GROUP, 3)
        poison = POISON[kind](at_version(bad, 2))
        flow.publish(message_of(at_version(first, 2)), poison, message_of(at_version(last, 2)))
        done = flow.follow(flow.process())
        assert done[HERE] == (2 if poison.place != HERE else 3)
        [parked] = flow.parked()
        assert (parked.topic, parked.partition, parked.daemon) == (CHANGES, poison.place.partition, "cache-sync")
        assert parked.order_id == poison.key.decode(errors="replace")
        assert parked.reason
        assert base64.b64decode(parked.value) == poison.value
        assert flow.counted("parked_total") == 1
        assert flow.entry(bad) is None
        assert [flow.entry(order) for order in (first, last)] == [entry_of(at_version(o, 2)) for o in (first, last)]
        assert flow.store.marks([GROUP]) == [done[HERE]]

    @pytest.mark.parametrize("kind", POISON)
    def test_a_fill_in_flight_is_fenced(self, flow: Following, kind: str) -> None:
        """What was loaded before the change that nobody can read may be what it changed."""
        [bad] = orders_of(GROUP, 1)
        self.make_lease(flow.store, bad, MINE)
        flow.publish(POISON[kind](at_version(bad, 2)))
        flow.follow(flow.process())
        assert flow.store.fill([filled(bad, MINE)]) == [False]

    def test_both_orders_that_a_message_names_are_dropped(self, flow: Following) -> None:
        """Nobody knows which of them it was that changed; one may be of another group."""
        [ours], [theirs] = flow.cached_orders(GROUP, 1), flow.cached_orders(OTHER_GROUP, 1)
        flow.publish(with_key(ours, theirs.order_id.encode()))
        flow.follow(flow.process())
        assert (flow.entry(ours), flow.entry(theirs)) == (None, None)

    def test_a_message_that_names_no_order_drops_none(self, flow: Following) -> None:
        """It is put aside with all that it holds, bytes that are no text as well."""
        [order] = flow.cached_orders(GROUP, 1)
        poison = Outgoing(HERE, b"\xff", b"\xfe", (("version", b"\xfd"), ("ts_us", b"7")))
        flow.publish(poison)
        flow.clock.advance(5)
        assert flow.follow(flow.process()) == {HERE: 1}
        [parked] = flow.parked()
        assert (parked.order_id, parked.headers) == ("\ufffd", {"version": "\ufffd", "ts_us": "7"})
        assert (parked.offset, parked.parked_at) == (0, flow.clock.now_us())
        assert flow.entry(order) == entry_of(order)

    def test_a_newer_event_behind_the_poison_is_not_lost_on_a_reader(self, flow: Following) -> None:
        """The record is gone all the same, and the next reader loads the order anew."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.publish(POISON["not JSON"](at_version(order, 2)), message_of(at_version(order, 3)))
        flow.follow(flow.process())
        assert flow.entry(order) is None

    def test_nothing_moves_until_the_copy_is_acknowledged(self, flow: Following) -> None:
        """A message whose copy may be lost is not behind us: neither the offset nor the mark goes past it."""
        [order] = flow.cached_orders(GROUP, 1)
        flow.publish(POISON["not JSON"](at_version(order, 2)))
        process, messages = flow.process(), flow.poll()
        flow.log.at = 0
        with pytest.raises(TierUnavailable):
            process.apply(messages)
        assert flow.cache.calls == []
        assert flow.counted("parked_total") == 0
        assert process.apply(messages) == {HERE: 1}
        assert len(flow.parked()) == flow.counted("parked_total") == 1

    def test_a_flood_of_poison_is_parked_in_one_call(self, flow: Following) -> None:
        """One acknowledgement for all of them, and one for all that is to be forgotten."""
        orders = flow.cached_orders(GROUP, 50)
        flow.publish(*(POISON["empty"](order) for order in orders))
        process, messages = flow.process(), flow.poll()
        process.apply(messages)
        assert flow.log.calls == ["publish", "publish"]
        assert flow.cache.calls == ["sync"]
        assert len(flow.parked()) == 50
        assert flow.announced() == {order.order_id for order in orders}
        assert {flow.entry(order) for order in orders} == {None}
