"""The archive loses its power at any moment of the move, and any unsynced rows with it: no order is lost, and all end there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderctl.ids import group_of
from orderctl.services.archiving import Mover
from orderctl.stores.sqlite.archive_power import ORDERS, ORDERS_BY_REF, everything
from tests.contract.hot_harness import GROUPS
from tests.services.moving import Killed, OrderLost, Stage, open_stage

PERIOD_S = 10.0
SETTLE_S = 2 * PERIOD_S
ALL_GROUPS = frozenset(range(GROUPS))

Lost = frozenset[tuple[str, int]]
ROWS = tuple(product((ORDERS, ORDERS_BY_REF), (0, 1)))
"""What two orders are in the archive: a row in each table."""
LOSSES: tuple[Lost, ...] = tuple(
    frozenset(row for row, is_lost in zip(ROWS, chosen, strict=True) if is_lost)
    for chosen in product((False, True), repeat=len(ROWS))
)


def lost_of(stage: Stage, rows: Lost) -> Callable[[str, str], bool]:
    """Whether a row is among those that are lost; orders are numbered as they were finished."""
    numbers = {order.order_id: number for number, order in enumerate(stage.orders)}
    return lambda table, order_id: (table, numbers[order_id] % 2) in rows


def move_two(stage: Stage, *, settle_s: float) -> None:
    """Two orders, one at a time, by one mover."""
    stage.finish(2)
    stage.run(lambda: stage.mover(settle_s=settle_s, batch=1))


def moments_of(settle_s: float) -> range:
    """The moments of a move to which nothing happens."""
    with open_stage(sync_period_s=PERIOD_S) as stage:
        move_two(stage, settle_s=settle_s)
        return range(len(stage.moments))


@pytest.mark.parametrize("rows", LOSSES, ids=lambda rows: "+".join(f"{t}.{n}" for t, n in sorted(rows)) or "nothing")
def test_a_loss_at_any_moment_loses_no_order(rows: Lost) -> None:
    """Before and after every call of a store, whichever rows it takes; and the move comes to its end."""
    for moment in moments_of(SETTLE_S):
        with open_stage(sync_period_s=PERIOD_S) as stage:
            stage.actions[moment] = lambda: stage.lose_power(lost_of(stage, rows))
            move_two(stage, settle_s=SETTLE_S)
            stage.check_archived()
            stage.lose_power()
            stage.check_archived()


@pytest.mark.parametrize("settle_s", [0.0, PERIOD_S / 2])
def test_without_the_wait_orders_are_lost(settle_s: float) -> None:
    """So the tests around this one can fail: what was read back was in memory only."""
    with open_stage(sync_period_s=PERIOD_S) as stage:
        move_two(stage, settle_s=settle_s)
        with pytest.raises(OrderLost):
            stage.lose_power()


@pytest.mark.parametrize("action", ["die", "lose"])
def test_a_loss_and_a_death_lose_no_order(action: str) -> None:
    """In either order, some moments apart; the next mover has heard of nothing."""

    def die() -> None:
        raise Killed

    for first in moments_of(SETTLE_S):
        with open_stage(sync_period_s=PERIOD_S) as stage:
            happens: Sequence[Callable[[], None]] = [die, lambda: stage.lose_power(everything)]
            happens = happens if action == "die" else happens[::-1]
            stage.actions |= {first: happens[0], first + 5: happens[1]}
            move_two(stage, settle_s=SETTLE_S)
            stage.check_archived()


def test_what_another_mover_wrote_is_not_taken_for_ones_own() -> None:
    """Our write is lost, the group goes to another mover, who writes; reading that back proves nothing, for it is young."""
    with open_stage(sync_period_s=PERIOD_S) as stage:
        stage.finish()
        ours, theirs = (stage.mover(settle_s=SETTLE_S) for _ in range(2))
        ours.step(ALL_GROUPS)
        stage.lose_power()
        stage.clock.advance(SETTLE_S - 1)
        theirs.step(ALL_GROUPS)
        stage.clock.advance(1)
        ours.step(frozenset())
        stage.lose_power()
        stage.run(lambda: theirs)
        stage.check_archived()


def test_two_movers_at_once_survive_a_loss() -> None:
    """As when two processes both believe that a group is theirs."""
    for moment in moments_of(SETTLE_S):
        with open_stage(sync_period_s=PERIOD_S) as stage:
            stage.finish(3)
            stage.actions[moment] = stage.lose_power
            movers = [stage.mover(settle_s=SETTLE_S, batch=size) for size in (1, 2)]
            stage.run(lambda: stage.mover(settle_s=SETTLE_S), movers=movers)
            stage.check_archived()


class Pair:
    """Two movers that share the groups; now and then one takes the other's over, or dies."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._movers = [self._new(), self._new()]
        self._split = 32

    def step(self, which: int) -> None:
        """One of them works."""
        mine = (frozenset(range(self._split)), frozenset(range(self._split, GROUPS)))[which]
        try:
            self._movers[which].step(mine)
        except Killed:
            self._movers[which] = self._new()

    def share(self, split: int) -> None:
        """The groups change hands. Both hear of it before they do anything else."""
        self._split = split

    def _new(self) -> Mover:
        return self._stage.mover(settle_s=SETTLE_S, batch=2, settling_max=3)


def die() -> None:
    """What happens to a process at some moment."""
    raise Killed


@pytest.fixture(scope="module")
def losses() -> Iterator[list[int]]:
    """How many rows went back in each loss."""
    seen: list[int] = []
    yield seen
    assert sum(seen) > 0, "no loss ever took anything"


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("finish"), st.integers(1, 3)),
        st.tuples(st.just("step"), st.integers(0, 1)),
        st.tuples(st.just("pass"), st.sampled_from([1, 5, 10, 20, 21])),
        st.tuples(st.just("lose"), st.integers(0, len(LOSSES) - 1)),
        st.tuples(st.just("lose within"), st.integers(0, 12)),
        st.tuples(st.just("die within"), st.integers(0, 12)),
        st.tuples(st.just("share"), st.sampled_from([0, 16, 32, 48, 64])),
    ),
    max_size=40,
)


@given(happenings)
@example([("step", 0), ("step", 1), ("lose", len(LOSSES) - 1)])
@settings(deadline=None, max_examples=120)
def test_whatever_happens_no_order_is_lost(losses: list[int], history: list[tuple[str, int]]) -> None:
    """Losses of any rows, deaths at any moment, groups that change hands: every order ends in the archive, for good."""
    with open_stage(sync_period_s=PERIOD_S) as stage:
        stage.finish()
        pair = Pair(stage)
        for what, number in history:
            match what:
                case "finish":
                    stage.finish(number)
                case "step":
                    pair.step(number)
                case "pass":
                    stage.clock.advance(number)
                case "lose":
                    losses.append(stage.archive.lose_power(lost_of(stage, LOSSES[number])))
                    stage.look()
                case "lose within":
                    stage.actions[len(stage.moments) + number] = stage.lose_power
                case "die within":
                    stage.actions[len(stage.moments) + number] = die
                case _:
                    pair.share(number)
        stage.actions.clear()
        stage.run(lambda: stage.mover(settle_s=SETTLE_S))
        stage.lose_power()
        stage.check_archived()


def test_the_orders_of_these_tests_are_of_both_movers() -> None:
    """Otherwise nothing would ever change hands."""
    with open_stage() as stage:
        assert len({group_of(order.order_id, GROUPS) // 32 for order in stage.finish(20)}) == 2
