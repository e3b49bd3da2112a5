"""What `DeadlineStore` promises when several act at once: one final status an order, and nobody does another's work twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from orderctl.order import Refused, Status
from orderctl.stores.deadlines import Settled, TimedOut
from orderctl.stores.hot import Changed
from tests.contract.deadline_harness import DeadlineHarness, all_due
from tests.contract.hot_harness import at_once, to

ROUNDS = 5


class DeadlineRaceContract:
    """Concurrent calls."""

    def test_a_success_and_a_time_out_leave_one_final_status(self, harness: DeadlineHarness) -> None:
        """Of the two one is made, and the other is told so."""
        one, two = harness.open(), harness.open()
        for turn in range(ROUNDS):
            orders = all_due(one.hot, [harness.now_us()] * 40)
            ids = [order.order_id for order in orders]
            changes = [to(order, Status.SUCCESS) for order in orders[:: 1 if turn % 2 else -1]]
            sweep = partial(two.deadlines.time_out_overdue, None, limit=40)
            calls: list[Callable[[], Sequence[object]]] = [
                partial(one.hot.change, changes, now_us=harness.now_us()),
                partial(two.deadlines.time_out, ids) if turn % 2 else sweep,
            ]
            changed, timed_out = at_once(calls)
            successes = {o.order.order_id: o.order for o in changed if isinstance(o, Changed)}
            time_outs = {o.order.order_id: o.order for o in timed_out if isinstance(o, TimedOut)}
            refused = {o.order.order_id for o in changed if isinstance(o, Refused) and o.order is not None}
            assert not successes.keys() & time_outs.keys()
            assert refused == set(ids) - successes.keys()
            assert refused <= time_outs.keys()
            # What the sweep passed over, because the change held it, was decided by the change.
            assert [successes.get(id_) or time_outs[id_] for id_ in ids] == one.hot.load(ids)

    def test_sweepers_share_the_work(self, harness: DeadlineHarness) -> None:
        """Every order is timed out once, whoever does it."""
        holders = [harness.open() for _ in range(3)]
        orders = all_due(holders[0].hot, [harness.now_us() - 1] * 200)

        def sweep(number: int) -> list[str]:
            mine: list[str] = []
            for _ in range(200):
                found = holders[number].deadlines.time_out_overdue(None, limit=20)
                mine += [outcome.order.order_id for outcome in found]
                if len(mine) == len(orders) or holders[number].deadlines.oldest_overdue_us() == 0:
                    break
            return mine

        done = Counter(id_ for mine in at_once([partial(sweep, number) for number in range(3)]) for id_ in mine)
        assert done == Counter(order.order_id for order in orders)

    def test_the_same_event_twice_times_out_once(self, harness: DeadlineHarness) -> None:
        """Two processes with the same batch, in opposite orders: one does each, and the other finds it settled."""
        one, two = harness.open(), harness.open()
        for _ in range(ROUNDS):
            ids = [order.order_id for order in all_due(one.hot, [harness.now_us()] * 30)]
            calls = [partial(one.deadlines.time_out, ids), partial(two.deadlines.time_out, ids[::-1])]
            first, second = at_once(calls)
            for mine, theirs in zip(first, second[::-1], strict=True):
                assert {type(mine), type(theirs)} == {TimedOut, Settled}
