"""Two thousand races of success against time-out, over the embedded stores."""

from __future__ import annotations

from tests.services.late_races import TIMEOUT_S, Arena, orders_due_at_once, race, winners
from tests.services.tiers import Bench


def test_of_success_and_time_out_one_wins_and_the_other_is_told(bench: Bench) -> None:
    """Each order has one final status, every acknowledged success stayed, and every refused one is a late result."""
    tiers, command = bench.tiers, bench.command()
    order_ids = orders_due_at_once(command)
    bench.clock.advance(TIMEOUT_S)
    told = race(Arena(command, tiers.deadlines, tiers.hot, tiers.late), order_ids, seed=7)
    successes, timeouts = winners(told)
    assert min(successes, timeouts) > len(order_ids) // 100
    assert bench.counted("late_results_total") == timeouts
