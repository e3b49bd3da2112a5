"""Parked messages on any stores: the daemon goes on behind one, and an operator sees it, retries it or drops it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from orderctl.admin.audit import audit_log
from orderctl.admin.audit_read import audit_list
from orderctl.admin.parked import ParkedView, parked_drop, parked_list, parked_retry, parked_show, plan_drop
from orderctl.errors import NotFound, TierUnavailable, UsageRefused
from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.services.cache_sync import park
from orderctl.stores.log import CHANGES, PARKED, Message, Outgoing, Place
from tests.admin.flowing import GROUPS, Flow
from tests.services.following import message_of, value_of


def place_of(order: Order) -> Place:
    """Its partition of the changes."""
    return Place(CHANGES, group_of(order.order_id, GROUPS))


def parked_of(order: Order) -> Place:
    """Where a copy of a message about it is parked."""
    return Place(PARKED, place_of(order).partition)


def poison(flow: Flow, order: Order, value: bytes = b"{", headers: tuple[tuple[str, bytes], ...] = ()) -> None:
    """A message about an order that cannot be processed, and cache-sync goes by it."""
    flow.tiers.log.publish([Outgoing(place_of(order), order.order_id.encode(), value, headers)])
    flow.follow()


def retry(flow: Flow, *ids: str) -> list[ParkedView]:
    """As an operator does."""
    with audit_log(flow.path, flow.clock) as audit:
        return parked_retry(flow.tiers.log, audit, flow.clock, ids, reason="test")


def drop(flow: Flow, *ids: str) -> int:
    """Plan it, and do it; without ids all."""
    plan, found = plan_drop(flow.tiers.log, ids or None)
    with audit_log(flow.path, flow.clock) as audit:
        return parked_drop(flow.tiers.log, audit, flow.clock, plan, found, reason="test").messages


def last_message(flow: Flow, place: Place) -> Message:
    """The newest one."""
    return flow.tiers.log.read(place, flow.end(place) - 1, 1)[0]


class LosesMarkers:
    """A log that fails when markers are published: the process was killed right before."""

    def __init__(self, log: object) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def publish(self, messages: list[Outgoing]) -> None:
        if messages[0].place.topic == PARKED:
            raise TierUnavailable("log")
        self.__getattr__("publish")(messages)


class ParkedContract:
    """A backend's test class inherits this and gives the fixture `flow`."""

    def test_a_poisoned_message_is_listed_and_what_is_behind_it_applied(self, flow: Flow) -> None:
        """The partition goes on; the list says what it was, where, and why."""
        first, second = sorted(flow.orders.create(200), key=place_of)[:2]
        assert place_of(first) == place_of(second)
        flow.orders.cache([first, second])
        moved = structs.replace(second, version=2, status=Status.PROCESSING)
        offset, copied = flow.end(place_of(first)), flow.end(parked_of(first))
        flow.tiers.log.publish([Outgoing(place_of(first), first.order_id.encode(), b"{"), message_of(moved)])
        flow.follow()
        assert flow.cached(first) is None
        assert flow.cached(second).version == 2
        [found] = parked_list(flow.tiers.log)
        assert (found.order_id, found.topic, found.daemon) == (first.order_id, CHANGES, "cache-sync")
        assert (found.partition, found.offset) == (place_of(first).partition, offset)
        assert found.id == f"{found.partition}:{copied}"
        assert found.reason
        assert found.parked_at.endswith("Z")

    def test_one_is_shown_as_it_was(self, flow: Flow) -> None:
        """With its headers and its value as text, which may mean nothing."""
        [order] = flow.orders.create(1)
        poison(flow, order, b"\xff{not JSON", (("version", b"7"),))
        [listed] = parked_list(flow.tiers.log)
        found = parked_show(flow.tiers.log, listed.id)
        assert (found.headers, found.value, found.bytes) == ({"version": "7"}, "\ufffd{not JSON", 10)
        assert found.order_id == order.order_id

    def test_a_retried_message_is_published_as_it_was(self, flow: Flow) -> None:
        """To its own partition, with its headers; then it is no longer listed, and done once more by its daemon."""
        [order] = flow.orders.create(1)
        poison(flow, order, b"{", (("version", b"7"),))
        [listed] = parked_list(flow.tiers.log)
        assert retry(flow, listed.id) == [listed]
        again = last_message(flow, place_of(order))
        assert (again.offset, again.key, again.value, again.headers) == (
            listed.offset + 1, order.order_id.encode(), b"{", (("version", b"7"),),
        )  # fmt: skip
        assert parked_list(flow.tiers.log) == []
        with pytest.raises(NotFound, match=f"nothing is parked at {listed.id}"):
            retry(flow, listed.id)

    def test_a_message_that_can_be_processed_by_now_is_applied(self, flow: Flow) -> None:
        """One that an older program could not read, say: retried, it reaches the cache."""
        [order] = flow.orders.create(1)
        moved = structs.replace(order, version=2, status=Status.PROCESSING)
        flow.orders.cache([order])
        message = Message(place_of(order), 0, order.order_id.encode(), value_of(moved))
        flow.tiers.log.publish([park(message, daemon="cache-sync", reason="mended since", now_us=1)])
        [listed] = parked_list(flow.tiers.log)
        retry(flow, listed.id)
        flow.follow()
        assert flow.cached(order).version == 2
        assert parked_list(flow.tiers.log) == []

    def test_one_that_still_cannot_be_processed_is_parked_anew(self, flow: Flow) -> None:
        """Under another id, since it is another message by now."""
        [order] = flow.orders.create(1)
        poison(flow, order)
        [before] = parked_list(flow.tiers.log)
        retry(flow, before.id)
        flow.follow()
        [after] = parked_list(flow.tiers.log)
        assert (after.offset, after.id != before.id) == (before.offset + 1, True)

    def test_a_message_that_was_parked_twice_waits_once(self, flow: Flow) -> None:
        """A batch that came again: seeing to it once is enough. Parked anew after that, it waits again."""
        [order] = flow.orders.create(1)
        place = parked_of(order)
        copied = flow.end(place)
        poison(flow, order)
        copy = last_message(flow, place)
        again = Outgoing(place, copy.key, copy.value, copy.headers)
        flow.tiers.log.publish([again, again])
        [listed] = parked_list(flow.tiers.log)
        assert listed.id == f"{place.partition}:{copied}"
        assert drop(flow, listed.id) == 1
        assert parked_list(flow.tiers.log) == []
        flow.tiers.log.publish([again])
        assert [each.id for each in parked_list(flow.tiers.log)] == [f"{place.partition}:{copied + 4}"]

    def test_dropping_is_planned_and_remembered(self, flow: Flow) -> None:
        """All, of several daemons and partitions; the copies stay in the log, and the audit log tells."""
        orders = flow.orders.create(20)
        for order in orders:
            poison(flow, order)
        plan, _ = plan_drop(flow.tiers.log, None)
        assert (plan.messages, plan.orders, plan.by_daemon, plan.executed) == (20, 20, {"cache-sync": 20}, False)
        assert len(parked_list(flow.tiers.log)) == 20
        kept = plan.parked[0]
        assert drop(flow, *(each.id for each in plan.parked[1:])) == 19
        assert parked_list(flow.tiers.log) == [kept]
        assert drop(flow) == 1
        assert parked_list(flow.tiers.log) == []
        began, ended, *_ = audit_list(flow.path)
        assert (began["action"], began["done"], ended["done"], len(began["parked"])) == ("parked drop", False, True, 19)

    def test_what_somebody_else_put_there(self, flow: Flow) -> None:
        """It is listed as what it is, cannot be retried, and can be dropped."""
        place = Place(PARKED, 3)
        parked_id = f"3:{flow.end(place)}"
        flow.tiers.log.publish([Outgoing(place, b"k", b"x" * 10)])
        [listed] = parked_list(flow.tiers.log)
        assert (listed.id, listed.daemon, listed.order_id) == (parked_id, "", "k")
        assert parked_show(flow.tiers.log, parked_id).value == "x" * 10
        with pytest.raises(UsageRefused, match="no copy of a message"):
            retry(flow, parked_id)
        drop(flow, parked_id)
        assert parked_list(flow.tiers.log) == []

    def test_a_key_that_is_no_text_is_not_guessed(self, flow: Flow) -> None:
        """The copy has it with replacements only; the whole call is refused, and nothing published."""
        good, bad = flow.orders.create(2)
        poison(flow, good)
        flow.tiers.log.publish([Outgoing(place_of(bad), b"\xfe", b"{")])
        flow.follow()
        before = flow.tiers.log.ends(CHANGES)
        with pytest.raises(UsageRefused, match="is no text"):
            retry(flow, *(each.id for each in parked_list(flow.tiers.log)))
        assert flow.tiers.log.ends(CHANGES) == before
        assert len(parked_list(flow.tiers.log)) == 2

    @pytest.mark.parametrize(("parked_id", "error"), [("0:0", NotFound), ("99:0", NotFound), ("x", UsageRefused)])
    def test_what_is_not_there(self, flow: Flow, parked_id: str, error: type[Exception]) -> None:
        """An id where nothing waits, in a partition that there is or not, and what is no id."""
        with pytest.raises(error):
            parked_show(flow.tiers.log, parked_id)

    def test_killed_between_the_message_and_the_marker(self, flow: Flow) -> None:
        """It is published and still listed: retried once more, which is harmless. It is never the other way round."""
        [order] = flow.orders.create(1)
        poison(flow, order)
        [listed] = parked_list(flow.tiers.log)
        log: Any = LosesMarkers(flow.tiers.log)
        with audit_log(flow.path, flow.clock) as audit, pytest.raises(TierUnavailable):
            parked_retry(log, audit, flow.clock, [listed.id], reason=None)
        assert last_message(flow, place_of(order)).offset == listed.offset + 1
        assert parked_list(flow.tiers.log) == [listed]
        retry(flow, listed.id)
        assert parked_list(flow.tiers.log) == []
