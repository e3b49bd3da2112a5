"""Orders by number: the same each time, spread over the groups, none twice."""

from __future__ import annotations

from collections import Counter

from orderctl.bench.population import Picker, final_population, open_population
from orderctl.ids import created_ms, group_of, is_canonical, partition_in, partition_of

NOW_MS = 1_800_000_000_000
OPEN, FINAL = open_population("g", NOW_MS), final_population("g", NOW_MS)


def test_a_number_is_always_the_same_order() -> None:
    """And its id alone can be had without the rest."""
    assert FINAL.order(77) == final_population("g", NOW_MS).order(77)
    assert FINAL.order_id(77) == FINAL.order(77).order_id
    assert OPEN.order_id(77) != FINAL.order_id(77) != final_population("h", NOW_MS).order_id(77)


def test_ids_are_like_a_command_servers() -> None:
    """Their partition is the reference's, their time the creation's, and all groups have about as many."""
    order = OPEN.order(123)
    assert is_canonical(order.order_id)
    assert partition_in(order.order_id) == partition_of(order.merchant_id, order.merchant_ref)
    assert created_ms(order.order_id) == order.created_at // 1000
    counted = Counter(group_of(OPEN.order_id(number), 64) for number in range(12_800))
    assert len(counted) == 64
    assert 100 < min(counted.values()) <= max(counted.values()) < 300


def test_ten_million_fit_into_their_time() -> None:
    """Open orders are some minutes old at most, final ones more than a day; a larger number is never older."""
    for population, least_ms in ((OPEN, 0), (FINAL, 86_400_000)):
        assert NOW_MS - population.created_ms(10**7) >= least_ms
        assert population.created_ms(1) <= population.created_ms(2) < population.created_ms(1_000)
    assert OPEN.order(0).deadline_at > NOW_MS * 1_000, "none times out while it is measured"


def test_batches_are_in_the_order_of_the_ids() -> None:
    """Which is the order of the primary key; together they are all."""
    batches = list(OPEN.orders(range(5, 105), 40))
    assert [len(batch) for batch in batches] == [40, 40, 20]
    for batch in batches:
        ids = [order.order_id for order in batch]
        assert ids == sorted(ids)
    assert {order.order_id for batch in batches for order in batch} == {OPEN.order_id(n) for n in range(5, 105)}


def test_numbers_are_picked_all_over_and_none_twice() -> None:
    """Until all have come; then they come again."""
    picker = Picker(range(50, 150))
    first, rest, again = picker.take(30), picker.take(70), picker.take(30)
    assert sorted(first + rest) == list(range(50, 150))
    assert again == first
    assert max(first) - min(first) > 50
