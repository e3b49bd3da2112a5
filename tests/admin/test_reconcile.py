"""The cache against the databases: every damage among many orders is found, and nothing else; what can be mended is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from orderctl.admin.audit import audit_log
from orderctl.admin.reconcile import Audit, Reconcile, Reconciliation, exit_code
from orderctl.clock import ManualClock
from orderctl.errors import UsageRefused
from orderctl.ids import group_of
from orderctl.order import Status
from orderctl.services.invalidation import OrderInvalidated, read
from orderctl.services.reconciling import ReconcileSettings
from orderctl.services.reconciling_scope import Place, Scope
from orderctl.stores.cache import NodesAway
from orderctl.stores.log import INVALIDATED
from orderctl.stores.log import Place as Partition
from orderctl.stores.tiers import Tiers
from tests.admin.many_orders import Damage, ManyOrders
from tests.services.tiers import Failing, away

GROUPS = 64
MANY = 5_000
SHAPE = ["compared", "equal", "diverged", "absent", "unknown", "repaired", "seconds", "differences"]


def a_run(tiers: Tiers, clock: ManualClock, **settings: Any) -> Reconcile:
    """A run that looks at everything."""
    values = ReconcileSettings(**{"groups": GROUPS, "record_ttl_ms": 600_000, **settings})
    return Reconcile(tiers, clock, values, settle_s=0)


def reconciled(
    tiers: Tiers, clock: ManualClock, scope: Scope | None = None, *, archive: bool = False, **settings: Any
) -> Reconciliation:
    """What a run of the whole finds."""
    return a_run(tiers, clock, **settings).run(scope or Scope(), Place(), archive=archive, audit=None)


def differences(found: Reconciliation) -> dict[str, tuple[str | None, str | None]]:
    """By the order's id: source and repair."""
    assert len({one.order_id for one in found.differences}) == len(found.differences)
    return {one.order_id: (one.source, one.repair) for one in found.differences}


def faults(found: Reconciliation) -> dict[str, str]:
    """By the order's id: what is wrong between the databases."""
    listed = msgspec.to_builtins(found)["archive"]["differences"]
    assert len({one["order_id"] for one in listed}) == len(listed)
    return {one["order_id"]: one["why"] for one in listed}


def told(tiers: Tiers) -> set[str]:
    """The orders that processes were told to forget."""
    messages = [
        message
        for group, (first, end) in enumerate(tiers.log.ends(INVALIDATED))
        for message in tiers.log.read(Partition(INVALIDATED, group), first, end - first)
    ]
    asked = [read(message, GROUPS) for message in messages]
    return {one.order_id for one in asked if isinstance(one, OrderInvalidated)}


@pytest.fixture
def many(tiers: Tiers, clock: ManualClock) -> ManyOrders:
    """A few hundred orders, all as they should be, and a minute old."""
    made = ManyOrders(tiers, clock).fill_up(300)
    clock.advance(60)
    return made


# --- what is found ---------------------------------------------------------------------------------------------------


def test_what_is_as_it_should_be_is_equal(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """Each record once, and each open order that is not cached; the members are those that programs rely on."""
    found = reconciled(tiers, clock)
    assert (found.compared, found.equal, found.absent) == (270, 240, 30)
    assert (found.diverged, found.unknown, found.repaired, found.differences) == (0, 0, 0, [])
    assert list(msgspec.to_builtins(found)) == SHAPE
    assert exit_code(found, failed=False) == 0


@pytest.mark.parametrize("hot_first_s", [960.0, 0.0])
def test_all_damages_are_found_among_thousands_and_mended(tiers: Tiers, clock: ManualClock, hot_first_s: float) -> None:
    """And nothing else is; without `execute` nothing is written; what cannot be mended is said, and kept."""
    many = ManyOrders(tiers, clock).fill_up(MANY)
    damage = Damage(many).do()
    clock.advance(60)
    found = reconciled(tiers, clock, archive=True, hot_first_s=hot_first_s)
    assert differences(found) == damage.differences
    assert faults(found) == damage.faults
    assert (found.unknown, found.absent, found.repaired) == (0, MANY // 10 + damage.more_absent, 0)
    assert exit_code(found, failed=False) == 1
    assert not told(tiers)

    mended = reconciled(tiers, clock, hot_first_s=hot_first_s, execute=True)
    assert differences(mended) == damage.differences
    mendable = {one for one, (_, repair) in damage.differences.items() if repair is not None}
    assert told(tiers) == mendable
    assert mended.repaired == len(mendable)
    assert exit_code(mended, failed=False) == 1

    left = reconciled(tiers, clock, hot_first_s=hot_first_s, execute=True)
    lost = {one: seen for one, seen in damage.differences.items() if one not in mendable}
    assert differences(left) == lost
    assert [entry is not None for entry in tiers.cache.get(list(lost))] == [True] * len(lost)
    assert left.repaired == 0


def test_each_difference_says_what_was_seen(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """Both versions; where no database has the order, null, and no repair."""
    behind, gone = many.open_cached[:2]
    many.finish([behind])
    many.remove(many.finish([gone]))
    found = msgspec.to_builtins(reconciled(tiers, clock))
    by_id = {one["order_id"]: one for one in found["differences"]}
    assert by_id[behind.order_id] == {
        "order_id": behind.order_id, "cache_version": 1, "source_version": 2, "source": "hot", "repair": "apply",
    }  # fmt: skip
    assert by_id[gone.order_id] == {
        "order_id": gone.order_id, "cache_version": 1, "source_version": None, "source": None, "repair": None,
    }  # fmt: skip


def test_what_is_mended_is_right_in_the_cache(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """An entry that was behind holds the source's version; one that was newer is gone. The next run finds nothing."""
    behind, newer = many.open_cached[:2]
    many.move([behind], Status.PROCESSING)
    many.cache([newer], version=9)
    found = reconciled(tiers, clock, execute=True)
    assert (found.diverged, found.repaired, exit_code(found, failed=False)) == (2, 2, 0)
    entry, dropped = tiers.cache.get([behind.order_id, newer.order_id])
    assert entry is not None
    assert (entry.version, entry.status, dropped) == (2, Status.PROCESSING, None)
    assert reconciled(tiers, clock).differences == []


def test_entries_that_go_by_themselves_are_passed_over(tiers: Tiers, clock: ManualClock) -> None:
    """Leases, tentatives and `absent`: they are no records, and an order behind one is not absent either."""
    many = ManyOrders(tiers, clock)
    orders = many.create(2)
    tiers.cache.lookup([order.order_id for order in orders], tokens=[b"1" * 16, b"2" * 16])
    found = reconciled(tiers, clock, Scope())
    assert found.compared == 0


# --- what is looked at again -----------------------------------------------------------------------------------------


class Catching:
    """A cache that is told of an order between the first look and the second."""

    def __init__(self, tiers: Tiers, catch_up: Any) -> None:
        self._cache = tiers.cache
        self._catch_up = catch_up
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def get(self, order_ids: list[str]) -> Any:
        self.looks += 1
        if self.looks > 1:
            self._catch_up(self.looks)
        return self._cache.get(order_ids)


def test_what_the_cache_hears_of_within_the_lag_is_no_difference(tiers: Tiers, clock: ManualClock) -> None:
    """It was only a little behind."""
    many = ManyOrders(tiers, clock)
    [order] = many.cache(many.create(1))
    [moved] = many.move([order], Status.PROCESSING)
    cache = Catching(tiers, lambda _: many.cache([moved]))
    began_s = clock.monotonic_s()
    found = reconciled(structs.replace(tiers, cache=cache), clock, lag_s=3.0)
    assert (found.equal, found.diverged) == (1, 0)
    assert clock.monotonic_s() - began_s >= 3.0


def test_an_order_that_keeps_moving_is_no_difference_while_the_cache_follows(tiers: Tiers, clock: ManualClock) -> None:
    """A change behind at each look; the version of the look before has come."""
    many = ManyOrders(tiers, clock)
    history = many.cache(many.create(1))
    history += many.move(history[-1:], Status.PROCESSING)

    def catch_up(look: int) -> None:
        # The second look is at open orders.
        if look == 3:
            many.cache(history[-1:])
            history.extend(many.finish(history[-1:]))
        elif look == 4:
            many.cache(history[-1:])

    cache = Catching(tiers, catch_up)
    found = reconciled(structs.replace(tiers, cache=cache), clock)
    assert (found.equal, found.diverged, cache.looks) == (1, 0, 4)


# --- tiers that fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cache", "hot", "archive"])
def test_a_tier_that_is_away_makes_unknown_and_never_equal(
    many: ManyOrders, tiers: Tiers, clock: ManualClock, name: str
) -> None:
    """Exit 4, and the error is told; nothing of it counts as a difference, and nothing is repaired."""
    Damage(many, of_each=1).do()
    whole = reconciled(tiers, clock)
    failing = Failing(getattr(tiers, name))
    failing.error = away(name)
    run = a_run(structs.replace(tiers, **{name: failing}), clock, execute=True)
    found = run.run(Scope(), Place(), archive=True, audit=None)
    assert exit_code(found, failed=bool(run.errors)) == 4
    assert [error.tier for error in run.errors] == [name]
    assert found.unknown > 0
    if name == "cache":
        assert (found.equal, found.diverged, found.repaired) == (0, 0, 0)
    else:
        assert found.equal < whole.equal
        assert found.diverged < whole.diverged


class PartlyAway:
    """A cache of which one group's node is away."""

    def __init__(self, tiers: Tiers, group: int, *, comes_back: bool = False) -> None:
        self._cache = tiers.cache
        self._group = group
        self._comes_back = comes_back

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def scan_group(self, group: int, **paging: Any) -> Any:
        if group == self._group:
            raise away("cache")
        return self._cache.scan_group(group, **paging)

    def get(self, order_ids: list[str]) -> Any:
        lost = [group_of(order_id, GROUPS) == self._group and not self._comes_back for order_id in order_ids]
        found = [away("cache") if gone else e for gone, e in zip(lost, self._cache.get(order_ids), strict=True)]
        if any(lost):
            raise NodesAway(found)
        return found


def test_a_node_that_is_away_hides_no_other(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """Its open orders are unknown, and everybody else's are compared."""
    behind = many.finish(many.open_cached[:40])
    groups = [group_of(order.order_id, GROUPS) for order in behind]
    lost = groups[0]
    run = a_run(structs.replace(tiers, cache=PartlyAway(tiers, lost)), clock, execute=True)
    found = run.run(Scope(), Place(), archive=False, audit=None)
    still_open = [*many.open_cached[40:], *many.open_bare]
    assert found.unknown == sum(group_of(order.order_id, GROUPS) == lost for order in still_open)
    assert found.diverged == found.repaired == sum(group != lost for group in groups)
    assert exit_code(found, failed=bool(run.errors)) == 4


def test_records_that_could_not_be_listed_are_compared_by_their_orders(
    many: ManyOrders, tiers: Tiers, clock: ManualClock
) -> None:
    """Those of open orders, should their node be back by then: that there are others is unknown, and exit 4."""
    [behind] = many.move(many.open_cached[:1], Status.PROCESSING)
    group = group_of(behind.order_id, GROUPS)
    run = a_run(structs.replace(tiers, cache=PartlyAway(tiers, group, comes_back=True)), clock)
    found = run.run(Scope(), Place(), archive=False, audit=None)
    assert list(differences(found)) == [behind.order_id]
    assert exit_code(found, failed=bool(run.errors)) == 4


def test_a_log_that_is_away_keeps_a_repair_from_counting(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """The cache is right, and somebody must still tell the processes: which orders, is said."""
    many.finish(many.open_cached[:1])
    failing = Failing(tiers.log)
    failing.error = away("log")
    run = a_run(structs.replace(tiers, log=failing), clock, execute=True)
    found = run.run(Scope(), Place(), archive=False, audit=None)
    assert (found.diverged, found.repaired, run.untold) == (1, 0, [many.open_cached[0].order_id])
    assert failing.calls.count("publish") == 3
    assert exit_code(found, failed=bool(run.errors)) == 4


class HalfDone:
    """A cache that does what it is asked to write, and says that it failed."""

    def __init__(self, tiers: Tiers) -> None:
        self._cache = tiers.cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def apply(self, puts: Any) -> Any:
        self._cache.apply(puts)
        raise away("cache")


def test_a_repair_whose_answer_is_lost_does_not_count(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """The next run finds it done."""
    many.finish(many.open_cached[:1])
    run = a_run(structs.replace(tiers, cache=HalfDone(tiers)), clock, execute=True)
    found = run.run(Scope(), Place(), archive=False, audit=None)
    assert (found.diverged, found.repaired, exit_code(found, failed=bool(run.errors))) == (1, 0, 4)
    assert reconciled(tiers, clock).diverged == 0


# --- part of it ------------------------------------------------------------------------------------------------------


def test_groups_split_the_whole(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """What halves find is what the whole does."""
    Damage(many).do()
    clock.advance(60)
    halves = [frozenset(range(32)), frozenset(range(32, 64))]
    parts = [reconciled(tiers, clock, Scope(groups=half), archive=True) for half in halves]
    whole = reconciled(tiers, clock, archive=True)
    assert sum(part.compared for part in parts) == whole.compared
    assert differences(parts[0]) | differences(parts[1]) == differences(whole)
    assert faults(parts[0]) | faults(parts[1]) == faults(whole)
    assert not set(differences(parts[0])) & set(differences(parts[1]))


def test_a_sample_is_the_same_each_time_and_part_of_a_larger_one(
    many: ManyOrders, tiers: Tiers, clock: ManualClock
) -> None:
    """By the order's id; about the share that was asked for."""
    many.finish(many.open_cached)
    found = {share: differences(reconciled(tiers, clock, Scope(sample=share))) for share in (0.1, 0.5, 1.0, 0.0)}
    assert differences(reconciled(tiers, clock, Scope(sample=0.1))) == found[0.1]
    assert set(found[0.1]) < set(found[0.5]) < set(found[1.0])
    assert len(found[1.0]) == len(many.open_cached)
    assert 0.3 < len(found[0.5]) / len(found[1.0]) < 0.7
    assert found[0.0] == {}


def test_since_leaves_older_orders_out(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """By when they were created, in every part of the comparison."""
    Damage(many).do()
    clock.advance(60)
    since_ms = clock.now_us() // 1000
    fresh = many.cache(many.create(3))
    many.finish(fresh[:1])
    found = reconciled(tiers, clock, Scope(since_ms=since_ms), archive=True)
    assert (found.compared, found.equal, list(differences(found))) == (3, 2, [fresh[0].order_id])
    assert faults(found) == {}


class Interrupting:
    """A hot store at which somebody presses Ctrl-C after so many loads."""

    def __init__(self, tiers: Tiers, after: int) -> None:
        self._hot = tiers.hot
        self._left = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hot, name)

    def load(self, order_ids: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return self._hot.load(order_ids)


@pytest.mark.parametrize("after", [0, 3, 20, 40, 55])
def test_an_interrupted_run_goes_on_where_it_was(
    many: ManyOrders, tiers: Tiers, clock: ManualClock, after: int
) -> None:
    """Both parts together find all, what waited to be looked at again too."""
    Damage(many).do()
    whole = differences(reconciled(tiers, clock))
    first = a_run(structs.replace(tiers, hot=Interrupting(tiers, after)), clock)
    with pytest.raises(KeyboardInterrupt):
        first.run(Scope(), Place(), archive=False, audit=None)
    place = Place.parse(str(first.place))
    rest = a_run(tiers, clock).run(Scope(), place, archive=False, audit=None)
    found = {one.order_id for one in rest.differences}
    found |= {one.order_id for one in first.found.differences}
    assert found == set(whole)
    assert str(place) != "cache:0" or after < 3


def test_a_rate_is_kept(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """So many orders a second, over the whole."""
    began_s = clock.monotonic_s()
    found = reconciled(tiers, clock, rps=100)
    assert found.compared == 270
    assert clock.monotonic_s() - began_s >= 270 / 100


def test_progress_tells_of_orders_and_of_how_many(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """It ends at all of them."""
    said: list[tuple[int, int]] = []
    values = ReconcileSettings(groups=GROUPS, record_ttl_ms=600_000)
    run = Reconcile(tiers, clock, values, settle_s=0, progress=lambda done, of: said.append((done, of)))
    run.run(Scope(), Place(), archive=False, audit=None)
    assert said[-1] == (390, 390)
    assert [done for done, _ in said] == sorted(done for done, _ in said)
    assert all(done <= of for done, of in said)


def test_a_run_that_repairs_leaves_two_lines(
    many: ManyOrders, tiers: Tiers, clock: ManualClock, tmp_path: Path
) -> None:
    """Before and after, however it ends."""
    many.finish(many.open_cached[:1])
    path = tmp_path / "audit.jsonl"
    with audit_log(path, clock) as log:
        audit = Audit(log, reason="why not", groups=None)
        a_run(tiers, clock, execute=True).run(Scope(), Place(), archive=False, audit=audit)
        broken = a_run(structs.replace(tiers, hot=Interrupting(tiers, 1)), clock, execute=True)
        with pytest.raises(KeyboardInterrupt):
            broken.run(Scope(), Place(), archive=False, audit=audit)
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    assert [(line["action"], line["done"], line["reason"]) for line in lines] == [
        ("reconcile", False, "why not"),
        ("reconcile", True, "why not"),
        ("reconcile", False, "why not"),
        ("reconcile", False, "why not"),
    ]
    assert (lines[1]["diverged"], lines[1]["repaired"]) == (1, 1)
    assert lines[3]["place"].startswith("cache:")


@pytest.mark.parametrize("text", ["", "cache", "cache:x", "cache:-1", "open:x", "archive:1", "nowhere:3"])
def test_what_is_no_place_is_refused(text: str) -> None:
    """With what one looks like."""
    with pytest.raises(UsageRefused, match="no place"):
        Place.parse(text)


class AppliesWithoutAReply:
    """A cache that does what it is asked to, and whose answer is lost."""

    def __init__(self, tiers: Tiers) -> None:
        self._cache = tiers.cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def apply(self, puts: Any) -> Any:
        self._cache.apply(puts)
        raise away("cache")


def test_a_repair_whose_reply_was_lost_is_told_of(many: ManyOrders, tiers: Tiers, clock: ManualClock) -> None:
    """It does not count, and the next run would find nothing to tell processes of."""
    [behind] = many.finish(many.open_cached[:1])
    run = a_run(structs.replace(tiers, cache=AppliesWithoutAReply(tiers)), clock, execute=True)
    found = run.run(Scope(), Place(), archive=False, audit=None)
    assert (found.diverged, found.repaired) == (1, 0)
    assert told(tiers) == {behind.order_id}
