"""One order in every tier: what each state of the tiers comes to, with the damage done straight in them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import structs

from orderctl.admin.inspection import ARCHIVER_ALLOWANCE_S, PAUSE_S
from orderctl.admin.verdict import Finding
from orderctl.clock import ManualClock
from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.stores.tiers import Tiers
from tests.admin.one_order import GROUPS, OneOrder
from tests.services.tiers import Failing, away

HELD_UP_S = 60


@pytest.fixture
def one(tiers: Tiers, clock: ManualClock) -> OneOrder:
    """An order that is in no tier yet."""
    return OneOrder(tiers, clock)


def shown(one: OneOrder, **settings: Any) -> dict[str, Any]:
    """The inspection as JSON has it."""
    inspection, _ = one.inspect(**settings)
    found: dict[str, Any] = msgspec.to_builtins(inspection)
    return found


def says(one: OneOrder, finding: Finding, **settings: Any) -> str:
    """The verdict, which is one sentence and comes to `finding`."""
    inspection, found = one.inspect(**settings)
    assert found is finding, inspection.verdict
    assert inspection.consistent is (finding in {Finding.CONSISTENT, Finding.NOWHERE})
    assert inspection.verdict.endswith(".")
    assert "\n" not in inspection.verdict
    return inspection.verdict


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_the_members_are_those_that_programs_rely_on(one: OneOrder) -> None:
    """Every tier's own, and what all have."""
    one.create()
    one.cache()
    one.pump()
    one.archive(status=Status.SUCCESS)
    found = shown(one)
    assert list(found) == ["order_id", "group", "created_at", "tiers", "late_results", "consistent", "verdict"]
    assert found["group"] == group_of(one.order.order_id, GROUPS)
    assert found["created_at"] == "2023-11-14T22:13:20.000000Z"
    tiers = found["tiers"]
    assert list(tiers) == ["cache", "hot", "archive", "log"]
    assert list(tiers["cache"]) == ["present", "version", "status", "kind", "ttl_s", "timer_ttl_s"]
    assert list(tiers["hot"]) == ["present", "version", "status", "status_reason", "updated_at", "deadline_at"]
    assert list(tiers["archive"]) == list(tiers["hot"])
    assert tiers["log"] == {
        "present": True,
        "version": 1,
        "status": "pending",
        "op": "c",
        "partition": one.place.partition,
        "offset": 0,
        "published_at": "2023-11-14T22:13:20.000000Z",
    }
    assert (tiers["cache"]["kind"], tiers["hot"]["version"], tiers["archive"]["status"]) == ("record", 1, "success")


def test_what_is_not_there(one: OneOrder) -> None:
    """Each tier says no and nothing else; when it was made is known from the id."""
    found = shown(one)
    assert set(map(str, found["tiers"].values())) == {"{'present': False}"}
    assert found["created_at"] == "2023-11-14T22:13:20.000000Z"


def test_how_long_the_cache_keeps_it(one: OneOrder, clock: ManualClock) -> None:
    """In seconds, by the cache's clock."""
    one.create()
    one.cache()
    clock.advance(12.5)
    assert shown(one)["tiers"]["cache"]["ttl_s"] == 47.5


def test_when_its_timer_goes_off(one: OneOrder, clock: ManualClock) -> None:
    """In seconds; null without one."""
    one.create()
    one.cache()
    clock.advance(12.5)
    assert shown(one)["tiers"]["cache"]["timer_ttl_s"] == 887.5
    clock.advance(900)
    one.cache()
    assert shown(one)["tiers"]["cache"]["timer_ttl_s"] is None


def test_the_last_event_is_shown(one: OneOrder) -> None:
    """Also behind others' events, and of an order that left the hot store: the removal is its last."""
    one.create()
    one.move(Status.SUCCESS)
    one.archive()
    one.remove()
    one.pump()
    one.publish(b"others'", key=b"another", times=2_500)
    log = shown(one)["tiers"]["log"]
    assert (log["version"], log["status"], log["op"], log["offset"]) == (2, "success", "d", 2)


# --- consistent ------------------------------------------------------------------------------------------------------


def test_all_agree(one: OneOrder) -> None:
    """On the version, by its name and status."""
    one.create()
    one.move(Status.PROCESSING)
    one.cache()
    one.pump()
    assert says(one, Finding.CONSISTENT) == "Hot, cache and log agree on version 2 (processing)."


def test_absent_from_the_cache_is_no_difference(one: OneOrder) -> None:
    """Any entry may vanish at any moment."""
    one.create()
    one.pump()
    one.set_timer()
    assert says(one, Finding.CONSISTENT) == "Hot and log agree on version 1 (pending)."


def test_a_missing_timer_is_said(one: OneOrder, clock: ManualClock) -> None:
    """Of an open order whose deadline is ahead, be there an entry or not; it is no difference, since the sweep does without."""
    one.create()
    one.pump()
    missing = "the cache has no timer for its deadline: at that time the sweep finds it."
    assert says(one, Finding.CONSISTENT) == f"Hot and log agree on version 1 (pending); {missing}"
    one.lease()
    assert says(one, Finding.CONSISTENT).endswith(missing)
    clock.advance(901)
    assert "timer" not in says(one, Finding.CONSISTENT)


def test_a_final_order_needs_no_timer(one: OneOrder) -> None:
    """Nor one that only the log knows of."""
    one.create()
    one.move(Status.SUCCESS)
    one.pump()
    assert says(one, Finding.CONSISTENT) == "Hot and log agree on version 2 (success)."


def test_a_log_that_is_behind(one: OneOrder) -> None:
    """It is said, whether the log has an older event or none."""
    one.create()
    one.set_timer()
    assert says(one, Finding.CONSISTENT) == (
        "Hot alone holds version 1 (pending); the log has nothing of it yet: cdc is behind."
    )
    one.pump()
    one.move(Status.PROCESSING)
    assert says(one, Finding.CONSISTENT) == (
        "Hot alone holds version 2 (processing); the log is behind: it has version 1 (pending)."
    )


def test_a_log_that_was_purged(one: OneOrder, clock: ManualClock) -> None:
    """Retention takes old events: no difference, as long as a database has the order."""
    one.create()
    one.pump()
    one.move(Status.SUCCESS)
    one.archive()
    one.remove()
    clock.advance(8 * 86_400)
    one.publish(b"others'", key=b"another", times=2)
    assert says(one, Finding.CONSISTENT) == (
        "Archive alone holds version 2 (success);"
        " the log has nothing of it, and no longer holds all that was published since its creation."
    )


def test_a_search_that_ended_at_its_bound(one: OneOrder) -> None:
    """What lies further back is not looked for, and that is said."""
    one.create()
    one.pump()
    one.set_timer()
    one.publish(b"others'", key=b"another", times=20)
    assert "log agree" in says(one, Finding.CONSISTENT, search_max=21)
    assert says(one, Finding.CONSISTENT, search_max=20) == (
        "Hot alone holds version 1 (pending); the search of the log ended at its bound, 20 messages back."
    )


def test_a_message_that_means_nothing(one: OneOrder) -> None:
    """It is shown where it is, without a version; cache-sync has parked it."""
    one.create()
    one.publish(b"rubbish")
    log = shown(one)["tiers"]["log"]
    assert (log["present"], log["version"], log["status"], log["op"], log["offset"]) == (True, None, None, None, 0)
    assert "the log's last message of it, at offset 0, is no change event" in says(one, Finding.CONSISTENT)


@pytest.mark.parametrize(
    ("put", "kind", "said"),
    [
        (OneOrder.announce, "tentative", "the cache's entry is tentative (5.0 s left)"),
        (OneOrder.lease, "lease", "the cache holds a lease (2.0 s left): somebody is loading the order"),
        (OneOrder.deny, "absent", "the cache holds `absent` (2.0 s left): no database had the order a moment ago"),
    ],
    ids=["tentative", "lease", "absent"],
)
def test_an_entry_that_is_no_record_is_said_in_words(
    one: OneOrder, put: Callable[[OneOrder], None], kind: str, said: str
) -> None:
    """None of them is a difference."""
    one.create()
    put(one)
    found = shown(one)
    assert (found["tiers"]["cache"]["present"], found["tiers"]["cache"]["kind"]) == (True, kind)
    assert said in says(one, Finding.CONSISTENT)


def test_a_creation_under_way(one: OneOrder) -> None:
    """A tentative may never be committed, so it is no trace of an order that is lost."""
    one.announce()
    assert says(one, Finding.CONSISTENT) == (
        "Only the cache has the order: its creation is under way or has failed;"
        " the cache's entry is tentative (5.0 s left)."
    )


def test_an_order_on_the_move(one: OneOrder, clock: ManualClock) -> None:
    """In both databases within the time that the archiver needs."""
    one.create()
    one.move(Status.FAILED)
    one.archive()
    clock.advance(30 + ARCHIVER_ALLOWANCE_S)
    one.pump()
    assert says(one, Finding.CONSISTENT, settle_s=30.0) == (
        "Hot, archive and log agree on version 2 (failed); it became final 35.0 s ago and is on the move to the archive."
    )


def test_an_archiver_that_is_behind(one: OneOrder, clock: ManualClock) -> None:
    """The hot store has the order, so nothing is wrong with it; it is said."""
    one.create()
    one.move(Status.SUCCESS)
    one.pump()
    clock.advance(60)
    assert says(one, Finding.CONSISTENT).endswith(
        "it became final 60.0 s ago and is not archived yet: the archiver is behind."
    )


# --- different -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.SUCCESS])
def test_a_cache_behind_its_source(one: OneOrder, status: Status) -> None:
    """Whichever database the source is."""
    one.create()
    one.cache()
    one.move(status)
    where = "hot"
    if status.is_final:
        one.archive()
        one.remove()
        where = "archive"
    assert says(one, Finding.DIFFERENT) == (
        f"The cache is behind its source: it holds version 1 (pending), and {where} version 2 ({status})."
    )


@pytest.mark.parametrize("put", [OneOrder.cache, OneOrder.announce], ids=["record", "tentative"])
def test_a_cache_newer_than_its_source(one: OneOrder, put: Callable[..., None]) -> None:
    """The database went back in time, or the record was never true."""
    one.create()
    put(one, version=7, status=Status.SUCCESS)
    assert says(one, Finding.DIFFERENT) == (
        "The cache is newer than its source: it holds version 7 (success), and hot version 1 (pending)."
    )


def test_a_cache_with_other_contents(one: OneOrder) -> None:
    """One version has one content."""
    one.create()
    one.cache(amount=2)
    assert says(one, Finding.DIFFERENT) == "The cache and hot hold version 1 with different contents."


def test_a_lost_order(one: OneOrder) -> None:
    """The log and a cached record know it, and no database does."""
    one.create()
    one.move(Status.SUCCESS)
    one.pump()
    one.cache()
    one.remove()
    assert says(one, Finding.DIFFERENT) == (
        "The order is lost: the cache knows version 2 (success) and the log knows version 2 (success),"
        " and no database holds it."
    )


def test_a_lost_order_that_one_tier_remembers(one: OneOrder, tiers: Tiers) -> None:
    """Either is enough; a tentative beside it does not hide it."""
    one.create()
    one.move(Status.CANCELLED)
    one.cache()
    one.remove()
    assert says(one, Finding.DIFFERENT).startswith("The order is lost: the cache knows version 2 (cancelled), and")
    tiers.cache.invalidate([one.order.order_id])
    one.announce()
    one.pump()
    assert says(one, Finding.DIFFERENT).startswith("The order is lost: the log knows version 2 (cancelled), and")


def test_in_both_databases_for_too_long(one: OneOrder, clock: ManualClock) -> None:
    """The archiver forgot it, or cannot remove it."""
    one.create()
    one.move(Status.SUCCESS)
    one.archive()
    clock.advance(60)
    assert says(one, Finding.DIFFERENT, settle_s=30.0) == (
        f"Hot and archive both hold version 2 (success), {60 + 2 * PAUSE_S} s after the order became final:"
        " the archiver needs no more than 35 s."
    )


@pytest.mark.parametrize(
    ("archived", "said"),
    [
        ({"status": Status.FAILED}, "Hot and archive hold different final states: version 2 (success) and"),
        ({"amount": 1}, "Hot and archive hold different copies: version 2 (success) and version 2 (success)"),
        ({"version": 3}, "Hot and archive hold different copies: version 2 (success) and version 3 (success)"),
    ],
    ids=["status", "contents", "version"],
)
def test_databases_that_contradict_each_other(one: OneOrder, archived: dict[str, Any], said: str) -> None:
    """However lately it became final."""
    one.create()
    one.move(Status.SUCCESS)
    one.archive(**archived)
    assert says(one, Finding.DIFFERENT).startswith(said)


def test_an_archived_order_that_is_open_again(one: OneOrder) -> None:
    """A hot store that was restored from a backup, for example."""
    one.create()
    one.archive(status=Status.SUCCESS, version=2)
    assert says(one, Finding.DIFFERENT) == (
        "The archive holds version 2 (success), and in hot the order is still open, at version 1 (pending)."
    )


def test_a_change_that_the_databases_do_not_know(one: OneOrder, tiers: Tiers) -> None:
    """What was committed and published is not in the database any more."""
    before = one.create()
    one.move(Status.PROCESSING)
    one.pump()
    restored = OneOrderIn(one, structs.replace(tiers, hot=Returning(before)))
    assert says(restored, Finding.DIFFERENT) == (
        "The log knows version 2 (processing), and hot only version 1 (pending): a change was lost there."
    )


class Returning:
    """A hot store that was put back: it holds this order."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def load(self, order_ids: list[str]) -> list[Order]:
        return [self._order]


class OneOrderIn(OneOrder):
    """The same order, in other tiers."""

    def __init__(self, one: OneOrder, tiers: Any) -> None:
        self.tiers, self.clock, self.order = tiers, one.clock, one.order


def test_a_difference_that_passes_is_none(one: OneOrder, tiers: Tiers) -> None:
    """The tiers are looked at one after another: what only seemed so is gone when it is looked at again."""
    one.create()
    one.cache()
    one.move(Status.PROCESSING)
    one.pump()
    late = structs.replace(tiers, cache=CatchesUp(tiers, one))
    assert says(OneOrderIn(one, late), Finding.CONSISTENT) == "Hot, cache and log agree on version 2 (processing)."


class CatchesUp:
    """A cache that follows right after it was looked at."""

    def __init__(self, tiers: Tiers, one: OneOrder) -> None:
        self._cache = tiers.cache
        self._one = one

    def get(self, order_ids: list[str]) -> Any:
        entries = self._cache.get(order_ids)
        self._cache.invalidate(order_ids)
        self._one.cache()
        return entries

    def ttl_ms(self, order_ids: list[str]) -> Any:
        return self._cache.ttl_ms(order_ids)

    def timer_ttl_ms(self, order_ids: list[str]) -> Any:
        return self._cache.timer_ttl_ms(order_ids)


# --- nowhere, and not known ------------------------------------------------------------------------------------------


def test_an_order_that_nobody_knows(one: OneOrder) -> None:
    """A lease or `absent` is no order; and how far the log was searched is said."""
    assert says(one, Finding.NOWHERE) == "No tier has the order."
    one.deny()
    one.publish(b"others'", key=b"another", times=3)
    assert says(one, Finding.NOWHERE, search_max=2) == (
        "No tier has the order; the cache holds `absent` (1.0 s left): no database had the order a moment ago;"
        " the search of the log ended at its bound, 2 messages back."
    )


@pytest.mark.parametrize("name", ["cache", "hot", "archive", "log"])
def test_a_tier_that_fails(one: OneOrder, tiers: Tiers, name: str) -> None:
    """Its error is shown in its place, the others as they are; nobody claims that they agree."""
    one.create()
    one.cache()
    one.pump()
    failing = Failing(getattr(tiers, name))
    failing.error = away(name)
    partly = OneOrderIn(one, structs.replace(tiers, **{name: failing}))
    found = shown(partly)["tiers"]
    assert found.pop(name) == {"error": f"{name}: The tier could not be reached; nothing was written."}
    assert all("present" in tier for tier in found.values())
    assert says(partly, Finding.UNKNOWN).startswith(
        f"Not all is known, since {name} failed ({name}: The tier could not"
    )


def test_a_difference_among_the_others_is_said_too(one: OneOrder, tiers: Tiers) -> None:
    """The log is away, and the cache is behind."""
    one.create()
    one.cache()
    one.move(Status.PROCESSING)
    failing = Failing(tiers.log)
    failing.error = away("log")
    partly = OneOrderIn(one, structs.replace(tiers, log=failing))
    assert "; the cache is behind its source: it holds version 1" in says(partly, Finding.UNKNOWN)


class Hanging:
    """A store that does not answer before it is let go."""

    def __init__(self, store: object, let_go: threading.Event) -> None:
        self._store = store
        self._let_go = let_go
        self.done = threading.Event()

    def load(self, order_ids: list[str]) -> list[None]:
        assert self._let_go.wait(HELD_UP_S)
        self.done.set()
        return [None]


def test_a_tier_that_hangs_is_an_error_of_its_own(one: OneOrder, tiers: Tiers) -> None:
    """The others are shown; none waits for it longer than the limit."""
    one.create()
    one.cache()
    one.pump()
    let_go = threading.Event()
    hanging = Hanging(tiers.archive, let_go)
    partly = OneOrderIn(one, structs.replace(tiers, archive=hanging))
    found = shown(partly, tier_limit_s=0.2)
    let_go.set()
    assert hanging.done.wait(HELD_UP_S)
    assert found["tiers"]["archive"] == {"error": "archive: no answer within 0.2 s"}
    assert (found["tiers"]["hot"]["version"], found["tiers"]["cache"]["version"], found["consistent"]) == (1, 1, False)
