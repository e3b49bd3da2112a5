"""The cache's contract, fifth part: following the log, group by group (sync, marks, reset_group), and going back in time."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from msgspec import structs

from orderctl.errors import TierRejected
from orderctl.order import Order
from orderctl.stores.cache import Advance, Applied, CacheStore, Granted, Promotion, Put
from orderctl.stores.record import Kind
from tests.contract.cache_contract_batches import ROUNDS, race
from tests.contract.cache_harness import (
    GROUPS,
    TTL_MS,
    CacheHarness,
    CacheSuite,
    at_version,
    entry_of,
    filled,
    not_found,
    orders_of,
    put,
    sync,
    token,
)

GROUP, NEIGHBOUR = 5, 6
MARK = 10
MINE, OTHER = token(1), token(2)
STATES = ["nothing", "absent", "rubbish", "lease", "tentative", "record"]
OFFSET_MAX = 2**53 - 1


class SyncingContract(CacheSuite):
    """sync and its mark, reset_group, and what happens when a node is put back in time."""

    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("version", [4, 5, 6])
    @pytest.mark.parametrize("reason", [None, "other words"])
    def test_sync_applies_as_apply_does(
        self, cache: CacheStore, harness: CacheHarness, state: str, version: int, reason: str | None
    ) -> None:
        """On every state, with an older, an equal and a newer version, of the same bytes and of others."""
        twins = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        outcomes = []
        for number, order in enumerate(twins):
            five = structs.replace(order, version=5)
            self.make(state, cache, harness, five)
            news = [put(structs.replace(five, version=version, status_reason=reason), ttl_ms=1_000)]
            outcomes.append(sync(cache, GROUP, news, expected=MARK, reached=MARK) if number else cache.apply(news))
        assert outcomes[0] == outcomes[1]
        applied, synced = cache.get([order.order_id for order in twins])
        assert (applied is None) == (synced is None)
        if applied is not None and synced is not None:
            assert structs.replace(applied, body=b"") == structs.replace(synced, body=b"")
            theirs, ours = (harness.peek(order.order_id) for order in twins)
            assert theirs is not None
            assert ours is not None
            assert abs(theirs[1] - ours[1]) < 500_000

    @pytest.mark.parametrize(("expected", "follows"), [(0, True), (MARK, True), (MARK + 1, False), (OFFSET_MAX, False)])
    def test_a_mark_below_what_is_expected_stops_everything(
        self, cache: CacheStore, expected: int, follows: bool
    ) -> None:
        """The node went back in time: what it holds is not added to. A mark that is higher says that others were here."""
        [order] = orders_of(GROUP, 1)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, order)
        newer = at_version(order, 2)
        outcome = sync(cache, GROUP, [put(newer)], expected=expected, reached=expected + 1)
        assert outcome == ([Applied.REPLACED] if follows else None)
        assert cache.marks([GROUP]) == [max(MARK, expected + 1) if follows else MARK]
        self.assert_holds(cache, newer if follows else order)

    @pytest.mark.parametrize("mark", [None, MARK])
    def test_where_the_node_went_back_nothing_is_touched(
        self, cache: CacheStore, harness: CacheHarness, mark: int | None
    ) -> None:
        """No entry in whatever state, no floor, no expiry, no drop; also where there is no mark and nothing is expected."""
        orders = orders_of(GROUP, len(STATES))
        if mark is not None:
            cache.reset_group(GROUP, mark=mark)
        for state, order in zip(STATES, orders, strict=True):
            self.make(state, cache, harness, order)
        before = [harness.peek(order.order_id) for order in orders]
        news, ids = [put(at_version(order, 2)) for order in orders], [order.order_id for order in orders]
        expected = 0 if mark is None else mark + 1
        assert sync(cache, GROUP, news, expected=expected, reached=99, drops=ids) is None
        assert cache.marks([GROUP]) == [mark]
        assert [harness.peek(order.order_id) for order in orders] == before

    def test_a_mark_is_never_lowered_by_a_sync(self, cache: CacheStore) -> None:
        """A process that hangs and goes on later repeats what another one has done: by version it changes nothing."""
        [order] = orders_of(GROUP, 1)
        cache.reset_group(GROUP, mark=0)
        self.make_record(cache, at_version(order, 3))
        assert sync(cache, GROUP, [], expected=0, reached=MARK) == []
        assert sync(cache, GROUP, [put(order)], expected=0, reached=1) == [Applied.KEPT_NEWER]
        assert cache.marks([GROUP]) == [MARK]
        self.assert_holds(cache, at_version(order, 3))

    def test_nothing_to_apply_moves_the_mark_all_the_same(self, cache: CacheStore) -> None:
        """A batch may hold nothing but deletions, and they count as done. An offset is exact up to where a double ends."""
        cache.reset_group(GROUP, mark=0)
        for offset in (1, 2**32, OFFSET_MAX - 1, OFFSET_MAX):
            assert sync(cache, GROUP, [], expected=0, reached=offset) == []
            assert cache.marks([GROUP]) == [offset]
        assert sync(cache, GROUP, [], expected=OFFSET_MAX, reached=OFFSET_MAX) == []

    @pytest.mark.parametrize("state", STATES)
    def test_drops_delete_whatever_is_there(self, cache: CacheStore, harness: CacheHarness, state: str) -> None:
        """Before anything is applied; of the others' entries none is touched."""
        gone, stays = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        self.make(state, cache, harness, gone)
        self.make_record(cache, stays)
        outcome = sync(cache, GROUP, [put(at_version(gone, 2))], expected=MARK, reached=MARK + 1, drops=[gone.order_id])
        assert outcome == [Applied.NOTHING]
        assert harness.peek(gone.order_id) is None
        self.assert_holds(cache, stays)
        assert cache.marks([GROUP]) == [MARK + 1]

    def test_a_drop_fences_a_fill_in_flight(self, cache: CacheStore) -> None:
        """What was loaded before may be older than what the log could not tell; the next reader loads anew."""
        [order] = orders_of(GROUP, 1)
        cache.reset_group(GROUP, mark=MARK)
        self.make_lease(cache, order, MINE)
        assert sync(cache, GROUP, [], expected=MARK, reached=MARK + 1, drops=[order.order_id]) == []
        assert cache.fill([filled(order, MINE)]) == [False]
        assert cache.lookup([order.order_id], tokens=[OTHER]) == [Granted(OTHER)]

    def test_duplicates_in_one_sync_act_one_after_another(self, cache: CacheStore) -> None:
        """As in every batch; an item that is dropped twice is no error."""
        one, two = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, one, two)
        puts = [put(at_version(one, version)) for version in (3, 2, 3)]
        assert sync(cache, GROUP, puts, expected=MARK, reached=MARK, drops=[two.order_id] * 2) == [
            Applied.REPLACED,
            Applied.KEPT_NEWER,
            Applied.REPLACED,
        ]
        assert cache.get([one.order_id, two.order_id]) == [entry_of(at_version(one, 3)), None]

    def test_groups_in_one_call_fare_each_by_itself(self, cache: CacheStore) -> None:
        """One whose node went back in time keeps nobody else from going on; none is to be brought on twice at a time."""
        groups = (GROUP, NEIGHBOUR, NEIGHBOUR + 1)
        orders = [orders_of(group, 1)[0] for group in groups]
        for group, mark in zip(groups, (MARK, MARK - 1, MARK), strict=True):
            cache.reset_group(group, mark=mark)
        self.make_record(cache, orders[0], orders[1])
        advances = [
            Advance(group, [put(at_version(order, 2))], MARK, MARK + 1)
            for group, order in zip(groups, orders, strict=True)
        ]
        with pytest.raises(TierRejected, match="twice"):
            cache.sync([*advances, advances[0]])
        assert cache.sync(advances) == [[Applied.REPLACED], None, [Applied.NOTHING]]
        assert cache.marks(groups) == [MARK + 1, MARK - 1, MARK + 1]
        assert cache.get([order.order_id for order in orders]) == [
            *(entry_of(at_version(orders[0], 2)), entry_of(orders[1]), None),
        ]
        assert cache.sync([]) == []

    def test_five_hundred_orders_in_one_sync(self, cache: CacheStore) -> None:
        """A whole batch of the log, with as many drops."""
        orders = orders_of(GROUP, 1_000)
        kept, dropped = orders[:500], orders[500:]
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, *orders)
        newer = [at_version(order, 2) for order in kept]
        outcome = sync(
            cache,
            GROUP,
            list(map(put, newer)),
            expected=MARK,
            reached=2_000,
            drops=[order.order_id for order in dropped],
        )
        assert outcome == [Applied.REPLACED] * 500
        entries = cache.get([order.order_id for order in orders])
        assert entries == [entry_of(order) for order in newer] + [None] * 500

    @pytest.mark.parametrize("what", ["puts", "drops"])
    def test_another_groups_order_is_refused(self, cache: CacheStore, what: str) -> None:
        """Its group's mark would say nothing of it. Nothing is written, though the others were in order."""
        [ours], [theirs] = orders_of(GROUP, 1), orders_of(NEIGHBOUR, 1)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, ours, theirs)
        both = [at_version(ours, 2), at_version(theirs, 2)]
        puts, drops = ([put(o) for o in both], []) if what == "puts" else ([], [o.order_id for o in both])
        with pytest.raises(TierRejected, match="cache"):
            sync(cache, GROUP, puts, expected=MARK, reached=MARK + 1, drops=drops)
        assert cache.marks([GROUP]) == [MARK]
        self.assert_holds(cache, ours)
        self.assert_holds(cache, theirs)

    @pytest.mark.parametrize("group", [-1, GROUPS])
    def test_there_are_no_other_groups_than_the_deployments(self, cache: CacheStore, group: int) -> None:
        """Nobody would ever ask for such a group's mark again."""
        with pytest.raises(TierRejected, match="cache"):
            sync(cache, group, [], expected=0, reached=1)
        with pytest.raises(TierRejected, match="cache"):
            cache.marks([0, group])
        with pytest.raises(TierRejected, match="cache"):
            cache.reset_group(group, mark=0)

    def test_marks_come_in_the_order_asked(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Each group has its own, the same for every store on the cache."""
        for group in range(0, GROUPS, 2):
            cache.reset_group(group, mark=group * 100)
        asked = [*reversed(range(GROUPS)), 2, 2]
        assert harness.open().marks(asked) == [None if group % 2 else group * 100 for group in asked]
        assert cache.marks([]) == []

    def test_only_sync_and_reset_write_marks(self, cache: CacheStore, harness: CacheHarness) -> None:
        """What readers and creators do is not of the log's doing, and says nothing about how far the log was followed."""
        orders = orders_of(GROUP, 3)
        ids = [order.order_id for order in orders]
        cache.reset_group(GROUP, mark=MARK)
        self.make_tentative(cache, harness, orders[0], MINE)
        cache.promote([Promotion(ids[0], MINE, TTL_MS)])
        self.make_absent(cache, orders[1])
        self.make_record(cache, orders[2])
        cache.apply([put(at_version(order, 2)) for order in orders])
        cache.invalidate(ids)
        assert cache.marks([GROUP, NEIGHBOUR]) == [MARK, None]

    def test_a_reset_drops_its_group_and_no_other(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Entries of every kind, though not those that have expired by themselves; the mark is as told, also a lower one."""
        orders = orders_of(GROUP, len(STATES))
        others = [order for group in (GROUP - 1, NEIGHBOUR) for order in orders_of(group, 2)]
        cache.reset_group(GROUP, mark=MARK)
        cache.reset_group(NEIGHBOUR, mark=7)
        for state, order in zip(STATES, orders, strict=True):
            self.make(state, cache, harness, order)
        self.make_record(cache, *others)
        short = orders_of(GROUP, 3)
        self.make_record(cache, *short, ttl_ms=1)
        harness.pass_time(0.02)
        assert cache.reset_group(GROUP, mark=3) == len(STATES) - 1
        assert [harness.peek(order.order_id) for order in [*orders, *short]] == [None] * (len(orders) + 3)
        assert cache.get([order.order_id for order in others]) == [entry_of(order) for order in others]
        assert cache.marks([GROUP, NEIGHBOUR]) == [3, 7]
        assert cache.reset_group(GROUP, mark=4) == 0
        assert cache.marks([GROUP]) == [4]

    def test_a_reset_fences_fills_in_flight(self, cache: CacheStore) -> None:
        """Their floor may be one that went back in time."""
        order, missing = orders_of(GROUP, 2)
        self.make_lease(cache, order, MINE)
        self.make_lease(cache, missing, MINE)
        assert cache.reset_group(GROUP, mark=MARK) == 2
        assert cache.fill([filled(order, MINE), not_found(missing, MINE)]) == [False, False]

    def test_a_node_that_is_put_back_is_noticed(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Entries and mark go back together; after a reset nothing old is left, and the log is followed again."""
        cached, loading = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, cached)
        self.make_lease(cache, loading, MINE)
        past = harness.snapshot()
        newer = [put(at_version(order, 2)) for order in (cached, loading)]
        assert sync(cache, GROUP, newer, expected=MARK, reached=MARK + 2) == [Applied.REPLACED, Applied.FLOOR_RAISED]
        harness.put_back(past)
        self.assert_holds(cache, cached)
        assert cache.marks([GROUP]) == [MARK]
        assert sync(cache, GROUP, [], expected=MARK + 2, reached=MARK + 3) is None
        assert cache.reset_group(GROUP, mark=MARK + 2) == 2
        assert cache.fill([filled(loading, MINE)]) == [False]
        assert sync(cache, GROUP, [], expected=MARK + 2, reached=MARK + 3) == []
        assert cache.get([cached.order_id, loading.order_id]) == [None, None]

    def test_an_emptied_cache_has_no_marks(self, cache: CacheStore, harness: CacheHarness) -> None:
        """What comes after that, a late creation for one, is not taken for something that was followed."""
        emptied = harness.snapshot()
        cache.reset_group(GROUP, mark=MARK)
        harness.put_back(emptied)
        assert cache.marks([GROUP]) == [None]
        assert sync(cache, GROUP, [], expected=0, reached=1) is None


class SyncingRaceContract(CacheSuite):
    """sync and each step of a reset are atomic for their group, whoever else writes."""

    def test_syncs_at_once_end_at_the_highest_mark(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Two processes that both believe that the group is theirs: the newest version stands, and the mark covers it."""
        neighbour = harness.open()
        cache.reset_group(GROUP, mark=0)
        for round_ in range(ROUNDS):
            orders, start = orders_of(GROUP, 3), round_ * 2
            self.make_record(cache, *orders)
            batches = [[put(at_version(order, version)) for order in orders] for version in (2, 3)]
            outcomes = race(
                [
                    partial(self.follow, cache, batches[0], start, start + 1),
                    partial(self.follow, neighbour, batches[1], start, start + 2),
                ]
            )
            assert outcomes[1] == [Applied.REPLACED] * 3
            assert outcomes[0] in ([Applied.REPLACED] * 3, [Applied.KEPT_NEWER] * 3)
            assert cache.marks([GROUP]) == [start + 2]
            assert cache.get([order.order_id for order in orders]) == [entry_of(at_version(o, 3)) for o in orders]

    def test_a_sync_and_going_back_never_mix(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Whichever comes first: a mark is never there without what was applied with it."""
        one, two = orders_of(GROUP, 2)
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, one, two)
        past = harness.snapshot()
        newer = [at_version(order, 2) for order in (one, two)]
        for _ in range(ROUNDS):
            harness.put_back(past)
            assert sync(cache, GROUP, [], expected=MARK, reached=MARK + 5) == []
            race(
                [
                    partial(self.follow, cache, list(map(put, newer)), MARK + 5, MARK + 7),
                    partial(self.put_back, harness, past),
                ]
            )
            assert cache.marks([GROUP]) == [MARK]
            assert cache.get([one.order_id, two.order_id]) == [entry_of(one), entry_of(two)]

    def test_a_sync_among_other_writers(self, cache: CacheStore, harness: CacheHarness) -> None:
        """Readers that fill, a command server that applies, an operator that deletes: the newest stands, or nothing."""
        cache.reset_group(GROUP, mark=0)
        for round_ in range(ROUNDS):
            orders = orders_of(GROUP, 4)
            ids, newest = [order.order_id for order in orders], [at_version(order, 3) for order in orders]
            self.make_record(cache, *orders[:2])
            for order in orders[2:]:
                self.make_lease(cache, order, MINE)
            race(
                [
                    partial(self.follow, cache, list(map(put, newest)), round_, round_ + 1),
                    partial(cache.apply, [put(at_version(order, 2)) for order in orders]),
                    partial(cache.fill, [filled(order, MINE) for order in orders[2:]]),
                    partial(self.invalidate, harness.open(), ids[1:3]),
                ]
            )
            assert cache.marks([GROUP]) == [round_ + 1]
            for entry, order in zip(cache.get(ids), newest, strict=True):
                assert entry in (None, entry_of(order))

    def test_a_reset_and_going_back_never_mix(self, cache: CacheStore, harness: CacheHarness) -> None:
        """A node may go back between two steps of a reset; what comes back with it is not there under the new mark."""
        orders = orders_of(GROUP, 1_200)
        ids = [order.order_id for order in orders]
        cache.reset_group(GROUP, mark=MARK)
        self.make_record(cache, *orders)
        past = harness.snapshot()
        for _ in range(ROUNDS // 2):
            race([partial(self.reset, cache, MARK + 5), partial(self.put_back, harness, past)])
            [mark] = cache.marks([GROUP])
            held = sum(entry is not None for entry in cache.get(ids))
            assert (mark, held) in ((MARK + 5, 0), (MARK, len(ids)))

    def test_a_reset_among_readers_ends(self, cache: CacheStore) -> None:
        """What was loaded before is fenced, what is loaded after is kept; however many readers there are, it ends."""
        for _ in range(ROUNDS):
            orders = orders_of(GROUP, 10)
            self.make_record(cache, *orders[:5])
            for order in orders[5:]:
                self.make_lease(cache, order, MINE)
            race(
                [
                    partial(self.reset, cache, MARK),
                    partial(cache.fill, [filled(order, MINE) for order in orders[5:]]),
                    partial(self.read_again, cache, orders[:5]),
                ]
            )
            assert cache.marks([GROUP]) == [MARK]
            entries = cache.get([order.order_id for order in orders])
            assert entries[5:] == [None] * 5
            assert all(entry is None or entry.kind in {Kind.RECORD, Kind.LEASE} for entry in entries[:5])

    def follow(self, cache: CacheStore, batch: list[Put], expected: int, reached: int) -> list[Applied]:
        return sync(cache, GROUP, batch, expected=expected, reached=reached) or []

    def reset(self, cache: CacheStore, mark: int) -> list[int]:
        return [cache.reset_group(GROUP, mark=mark)]

    def put_back(self, harness: CacheHarness, past: Any) -> list[None]:
        harness.put_back(past)
        return []

    def invalidate(self, cache: CacheStore, ids: list[str]) -> list[int]:
        return [cache.invalidate(ids)]

    def read_again(self, cache: CacheStore, orders: list[Order]) -> list[bool]:
        ids = [order.order_id for order in orders]
        cache.lookup(ids, tokens=[OTHER] * len(ids))
        return cache.fill([filled(order, OTHER) for order in orders])
