"""One look-up of an order at a time: who begins it, who comes along, and who is too late for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from orderctl.services.askers import Asker, Lookup
from orderctl.services.flights import Flights

ROUNDS, THREADS = 200, 4


def asker(order_id: str) -> Asker:
    return Asker(Lookup(order_id))


def test_the_first_begins_and_the_others_come_along() -> None:
    """An order's flight begins once, until it has landed."""
    flights: Flights[Asker] = Flights()
    one, two, three, again = asker("1"), asker("2"), asker("1"), asker("1")
    assert flights.board([one, two]) == ["1", "2"]
    assert flights.board([three]) == []
    assert len(flights) == 2
    assert flights.land(["1"]) == [one, three]
    assert flights.board([again]) == ["1"]
    assert flights.land(["1", "2"]) == [again, two]
    assert (flights.land(["1", "2"]), len(flights)) == ([], 0)


def test_who_comes_under_way_is_late() -> None:
    """Not so who boards together with the one that begins it, and not the late one in his next flight."""
    flights: Flights[Asker] = Flights()
    first, twin, late = asker("1"), asker("1"), asker("1")
    flights.board([first, twin])
    flights.board([late])
    assert [first.is_late, twin.is_late, late.is_late] == [False, False, True]
    flights.land(["1"])
    flights.board([late])
    assert not late.is_late


def test_nobody_is_left_behind_by_threads() -> None:
    """Whoever boards while others land is landed by somebody, once."""
    flights: Flights[Asker] = Flights()
    together = Barrier(THREADS, timeout=60)

    def fly() -> tuple[int, int]:
        boarded = landed = 0
        for _ in range(ROUNDS):
            together.wait()
            boarded += 1
            if flights.board([asker("1")]):
                landed += len(flights.land(["1"]))
        return boarded, landed

    with ThreadPoolExecutor(THREADS) as pool:
        counts = [future.result(60) for future in [pool.submit(fly) for _ in range(THREADS)]]
    assert sum(boarded for boarded, _ in counts) == ROUNDS * THREADS == sum(landed for _, landed in counts)
    assert len(flights) == 0
