"""Process memory: what is kept for how long, what must be forgotten, and below which version nothing is answered."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.order import Status
from tests.services.nearby import BODY_BYTES, ON_S, OPEN_TTL_S, Nearby, order_ids, record, still_open

[A, B, C, D] = order_ids(1, 4)
[OTHER] = order_ids(2, 1)


@pytest.fixture
def it() -> Nearby:
    """A memory that is on."""
    return Nearby()


class TestCopies:
    """What is answered from memory."""

    def test_a_final_order_stays(self, it: Nearby) -> None:
        """As it was put, however much time passes; what was never put is not there."""
        it.put(record(A, 3, Status.FAILED, body=b"the body"))
        it.clock.advance(1_000_000)
        [found, missing] = it.near.get_many([A, B])
        assert found is not None
        assert (found.version, found.status, found.merchant, found.body) == (3, Status.FAILED, b"m" * 16, b"the body")
        assert missing is None

    def test_an_open_order_is_good_from_when_it_was_asked_for(self, it: Nearby) -> None:
        """Not from when the answer came."""
        ticket = it.near.begin([A])
        it.clock.advance(OPEN_TTL_S * 0.6)
        it.near.put_many(ticket, [still_open(A)])
        assert it.versions([A]) == [1]
        it.clock.advance(OPEN_TTL_S * 0.5)
        assert it.versions([A]) == [None]

    def test_an_answer_that_took_too_long_is_no_copy(self, it: Nearby) -> None:
        """It may be answered; its version is remembered."""
        ticket = it.near.begin([A])
        it.clock.advance(OPEN_TTL_S)
        assert it.near.put_many(ticket, [still_open(A, 2)]) == [True]
        assert (it.versions([A]), it.near.floors([A])) == ([None], [2])

    def test_open_orders_can_be_turned_off(self, it: Nearby) -> None:
        """With a time of 0 only final ones are kept."""
        it.near._open_ttl_s = 0
        it.put(still_open(A), record(B))
        assert it.versions([A, B]) == [None, 1]

    def test_a_newer_version_replaces_an_older_one(self, it: Nearby) -> None:
        """And a final one stays."""
        it.put(still_open(A, 1))
        it.put(record(A, 2))
        it.clock.advance(10)
        assert it.versions([A]) == [2]

    def test_the_same_version_counts_from_when_it_was_asked_for_last(self, it: Nearby) -> None:
        """The answer to an older question does not shorten its time."""
        earlier = it.near.begin([A])
        it.clock.advance(OPEN_TTL_S / 2)
        it.put(still_open(A))
        it.near.put_many(earlier, [still_open(A)])
        it.clock.advance(OPEN_TTL_S * 0.6)
        assert it.versions([A]) == [1]

    def test_the_same_version_of_other_bytes_replaces(self, it: Nearby) -> None:
        """What was read later is what was repaired."""
        it.put(record(A, body=b"wrong"))
        it.put(record(A, body=b"right"))
        [found] = it.near.get_many([A])
        assert found is not None
        assert found.body == b"right"


class TestFloors:
    """Versions never go backwards."""

    def test_an_older_version_may_not_be_answered(self, it: Nearby) -> None:
        """Be it beside a copy, or after it expired; the same one may."""
        it.put(still_open(A, 5), record(B, 7))
        for _ in range(2):
            assert it.put(still_open(A, 4), still_open(A, 5), still_open(B, 6)) == [False, True, False]
            it.clock.advance(1)
        assert it.near.floors([A, B, C]) == [5, 7, 0]

    def test_what_the_ticket_knew_counts(self, it: Nearby) -> None:
        """Also where the order was forgotten since: somebody was told before this question was asked."""
        it.put(record(A, 5))
        ticket = it.near.begin([A, B])
        assert ticket.floors == {A: 5}
        it.near.drop([A])
        assert it.near.put_many(ticket, [still_open(A, 4)]) == [False]

    def test_a_slow_answer_after_a_newer_one(self, it: Nearby) -> None:
        """Its question was older, and somebody has seen more since."""
        slow = it.near.begin([A])
        it.put(still_open(A, 2))
        assert it.near.put_many(slow, [still_open(A, 1)]) == [False]
        assert it.versions([A]) == [2]

    def test_evicted_copies_leave_their_floor(self) -> None:
        """An order is remembered longer than it is kept."""
        it = Nearby(orders_max=2, floors_max=10)
        it.put(*(record(order_id, 3) for order_id in (A, B, C)))
        assert it.versions([A, B, C]) == [None, 3, 3]
        assert it.near.floors([A, B, C]) == [3, 3, 3]
        assert it.put(still_open(A, 2)) == [False]

    def test_floors_are_bounded(self) -> None:
        """Those that were raised longest ago go first, and then the order is as one that was never seen."""
        it = Nearby(orders_max=1, floors_max=2)
        it.put(record(A, 3))
        it.put(record(B, 3))
        it.put(record(C, 3))
        it.put(record(D, 3))
        assert it.near.floors([A, B, C, D]) == [0, 3, 3, 3]
        assert it.put(still_open(A, 1)) == [True]
        assert it.counted("near_floors") == 2

    def test_floors_are_kept_while_it_is_off(self) -> None:
        """The log is not needed to remember what was answered."""
        it = Nearby(is_on=False)
        assert it.put(still_open(A, 5)) == [True]
        assert it.put(still_open(A, 4)) == [False]
        it.near.turn_on(ON_S)
        it.near.turn_off()
        assert it.near.floors([A]) == [5]


class TestInvalidations:
    """What is to be forgotten is, and does not come back with an answer that is under way."""

    def test_a_dropped_order_is_forgotten(self, it: Nearby) -> None:
        """Its floor as well, which may be the wrong version of a broken record; others are not."""
        it.put(record(A, 5), record(B, 5))
        it.put(still_open(C, 5))
        it.clock.advance(1)
        it.put(record(D))
        it.near.drop([A, C, OTHER])
        assert it.versions([A, B, D]) == [None, 5, 1]
        assert it.put(still_open(A, 3), still_open(C, 3)) == [True, True]

    def test_a_dropped_group_keeps_its_floors(self, it: Nearby) -> None:
        """Every copy in it goes, and none of another group's."""
        it.put(record(A, 5), record(B, 5), record(OTHER, 5), still_open(C, 5))
        it.near.drop_groups([1, 7])
        assert it.versions([A, B, C, OTHER]) == [None, None, None, 5]
        assert it.near.floors([A, B, C]) == [5, 5, 5]

    def test_an_answer_under_way_is_not_kept(self, it: Nearby) -> None:
        """It may be what was to be forgotten. It is answered, and its version remembered; other groups are not concerned."""
        ticket = it.near.begin([A, B, OTHER])
        it.near.drop([B])
        assert it.near.put_many(ticket, [record(A), record(B), record(OTHER)]) == [True, True, True]
        assert it.versions([A, B, OTHER]) == [None, None, 1]
        assert it.near.floors([A, B]) == [1, 1]
        assert it.counted("near_puts_total", outcome="fenced") == 2
        ticket = it.near.begin([A, OTHER])
        it.near.drop_groups([1])
        it.near.put_many(ticket, [record(A, 2), record(OTHER, 2)])
        assert it.versions([A, OTHER]) == [None, 2]

    def test_a_question_after_the_drop_is_answered_anew(self, it: Nearby) -> None:
        """What the tiers say from then on is right; an answer that was under way does not take it away."""
        earlier = it.near.begin([A])
        it.near.drop([A])
        it.put(record(A, body=b"right"))
        it.near.put_many(earlier, [record(A, body=b"wrong")])
        [found] = it.near.get_many([A])
        assert found is not None
        assert found.body == b"right"

    def test_nothing_is_answered_while_it_is_off(self) -> None:
        """Neither before it is turned on nor after it is turned off; and nothing of before comes back."""
        it = Nearby(is_on=False)
        it.put(record(A))
        assert it.versions([A]) == [None]
        before = it.near.begin([A, B])
        it.near.turn_on(ON_S)
        it.near.put_many(before, [record(A), record(B)])
        assert it.versions([A, B]) == [None, None]
        it.put(record(A))
        during = it.near.begin([B])
        it.near.turn_off()
        it.near.turn_on(ON_S)
        it.near.put_many(during, [record(B)])
        assert it.versions([A, B]) == [None, None]
        it.put(record(A))
        assert it.versions([A]) == [1]

    def test_it_is_off_when_nobody_says_that_it_is_on(self, it: Nearby) -> None:
        """Whoever follows the invalidations may have been stopped; once he goes on, and has missed none, so does it."""
        it.near.turn_on(it.clock.monotonic_s() + 2)
        it.put(record(A))
        it.clock.advance(1.9)
        assert it.versions([A]) == [1]
        it.clock.advance(0.1)
        assert it.versions([A]) == [None]
        it.near.turn_on(it.clock.monotonic_s() + 2)
        assert it.versions([A]) == [1]


class TestBounds:
    """Orders, bytes, and who goes first."""

    def test_orders_are_bounded(self) -> None:
        """The oldest goes first."""
        it = Nearby(orders_max=3)
        for order_id in (A, B, C, D):
            it.put(record(order_id))
        assert it.versions([A, B, C, D]) == [None, 1, 1, 1]
        assert (it.counted("near_orders"), it.counted("near_evicted_total")) == (3, 1)

    def test_one_that_was_read_is_given_another_turn(self) -> None:
        """Once for as many reads as there were since its last turn."""
        it = Nearby(orders_max=3)
        it.put(record(A), record(B), record(C))
        it.versions([A, A, A])
        it.put(record(D))
        assert it.versions([A, B]) == [1, None]
        it = Nearby(orders_max=2)
        it.put(record(A), record(B))
        it.versions([A])
        for order_id in (C, D, OTHER):
            it.put(record(order_id))
        assert it.versions([A, B, C, D, OTHER]) == [None, None, None, 1, 1]

    def test_bytes_are_bounded(self) -> None:
        """A large one pushes several small ones out; one that is larger than all is not kept."""
        it = Nearby(copies_max=4)
        it.put(record(A), record(B), record(C), record(D))
        it.put(record(OTHER, body=b"x" * (BODY_BYTES * 2)))
        assert it.versions([A, B, C, D, OTHER]) == [None, None, 1, 1, 1]
        assert it.counted("near_bytes") <= it.near._bytes_max
        it.put(record(A, body=b"x" * it.near._bytes_max))
        assert it.versions([A, C, D, OTHER]) == [None, 1, 1, 1]
        assert it.near.floors([A]) == [1]

    def test_what_is_no_longer_good_takes_no_room(self) -> None:
        """Expired copies of open orders go before any other, and without somebody's asking for room."""
        it = Nearby(orders_max=3)
        it.put(record(A), still_open(B), still_open(C))
        it.clock.advance(OPEN_TTL_S)
        it.put(record(D))
        assert it.versions([A, D]) == [1, 1]
        assert it.counted("near_orders") == 2
        it.put(still_open(OTHER))
        it.clock.advance(OPEN_TTL_S)
        it.near.turn_on(ON_S)
        assert it.counted("near_orders") == 2

    def test_no_room_at_all(self) -> None:
        """A memory of 0 orders keeps none, and forgets at once."""
        it = Nearby(orders_max=0)
        assert it.put(record(A, 2)) == [True]
        assert it.versions([A]) == [None]
        assert it.put(still_open(A, 1)) == [True]

    def test_a_dropped_copy_gives_its_bytes_back(self, it: Nearby) -> None:
        """However it goes."""
        it.put(record(A), record(B), still_open(C), still_open(OTHER))
        it.near.drop([A])
        it.near.drop_groups([2])
        it.clock.advance(1)
        it.put(record(D))
        assert it.counted("near_bytes") == 2 * (it.near._bytes_max // 100)
        it.near.turn_off()
        assert it.counted("near_bytes") == it.counted("near_orders") == 0


def test_reads_are_counted_by_how_they_ended(it: Nearby) -> None:
    """Hit, miss, and off; what was put, too."""
    it.put(record(A), still_open(B, 2))
    it.put(still_open(B, 1), structs.replace(still_open(C), status=Status.PROCESSING))
    it.versions([A, A, C, D])
    it.near.turn_off()
    it.versions([A, B])
    assert [it.counted("near_reads_total", outcome=outcome) for outcome in ("hit", "miss", "off")] == [3, 1, 2]
    assert [it.counted("near_puts_total", outcome=outcome) for outcome in ("copy", "older")] == [3, 1]
