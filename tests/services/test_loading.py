"""Loading from the databases: never more at a time than allowed, and one that hangs keeps nobody from the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from orderctl.errors import TierRejected
from orderctl.ids import new_order_id
from orderctl.order import Change, Order, Status
from orderctl.services.answers import Forward, Source, Stored
from orderctl.services.loading import BATCH_MAX, Load, Loaded, Loader, LoadSettings
from orderctl.stores.hot import Removal
from tests.acceptance.server import until
from tests.services.tiers import Bench, asking, away

PATIENCE_S = 30.0


class Held:
    """A database whose loads wait until they are let go, and are counted while they do."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._gate = threading.Event()
        self._guard = threading.Lock()
        self.batches: list[int] = []
        self.at_work = self.most = 0

    def let_go(self) -> None:
        self._gate.set()

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        with self._guard:
            self.batches.append(len(order_ids))
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        assert self._gate.wait(PATIENCE_S)
        with self._guard:
            self.at_work -= 1
        return [*self._store.load(order_ids)]


class Landed:
    """Takes what was loaded."""

    def __init__(self) -> None:
        self.by_id: dict[str, Loaded] = {}

    def __call__(self, landed: Sequence[Loaded]) -> None:
        for loaded in landed:
            assert loaded.load.order_id not in self.by_id, "handed over twice"
            self.by_id[loaded.load.order_id] = loaded

    def sources(self) -> dict[str, Source | None]:
        return {o: None if loaded.order is None else loaded.source for o, loaded in self.by_id.items()}


def loader(bench: Bench, *, hot: Any = None, archive: Any = None, executor: Any = None, **settings: Any) -> Loader:
    return Loader(
        hot or bench.hot,
        archive or bench.archive,
        executor=executor or bench.inline,
        clock=bench.clock,
        metrics=bench.metrics,
        settings=LoadSettings(**settings),
    )


def loads(bench: Bench, order_ids: Sequence[str]) -> list[Load]:
    ticket = bench.memory().begin(order_ids)
    return [Load(order_id, Forward.MISS, ticket) for order_id in order_ids]


def create(bench: Bench, count: int) -> list[str]:
    answers = bench.command().create([asking(str(n)) for n in range(count)])
    return [answer.record.order_id for answer in answers if isinstance(answer, Stored)]


def never_made(bench: Bench, count: int, *, age_s: int = 0) -> list[str]:
    now_ms = bench.clock.now_us() // 1000 - age_s * 1000
    return [new_order_id(now_ms, n % 4096, bench.random) for n in range(count)]


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def after(condition: Callable[[], bool], what: str) -> None:
    until(condition, seconds=PATIENCE_S, what=what)


def test_each_order_comes_from_where_it_is(bench: Bench) -> None:
    """Each is handed over once, those that are nowhere too; each database was asked once for all."""
    open_, ended = create(bench, 2)
    bench.tiers.hot.change([Change(ended, Status.SUCCESS)], now_us=bench.clock.now_us())
    (order,) = bench.tiers.hot.load([ended])
    assert order is not None
    bench.tiers.archive.write([order])
    bench.tiers.hot.remove([Removal(ended, order.version)], now_us=1)
    (nobody,) = never_made(bench, 1)
    landed = Landed()
    loader(bench).load(loads(bench, [open_, ended, nobody]), landed)
    assert landed.sources() == {open_: Source.HOT, ended: Source.ARCHIVE, nobody: None}
    assert (bench.hot.calls.count("load"), bench.archive.calls.count("load")) == (1, 1)
    assert (bench.counted("loads_total", tier="mysql"), bench.counted("loads_total", tier="cassandra")) == (3, 2)
    assert bench.counted("loads_in_flight") == 0


def test_no_more_calls_and_orders_at_a_time_than_allowed(bench: Bench) -> None:
    """What waits meanwhile goes together in the next call; what finds no room is turned away at once."""
    order_ids = never_made(bench, 12)
    held, landed = Held(bench.tiers.hot), Landed()
    with threads() as executor:
        some = loader(bench, hot=held, executor=executor, loads_max=10, calls_max=2)
        for order_id in order_ids:
            some.load(loads(bench, [order_id]), landed)
        assert {o for o, loaded in landed.by_id.items() if loaded.was_turned_away} == set(order_ids[10:])
        assert some.without_room(order_ids) == set(order_ids)
        after(lambda: held.at_work == 2, "both calls are under way")
        assert bench.counted("loads_in_flight") == 10
        held.let_go()
        after(lambda: len(landed.by_id) == len(order_ids), "all were handed over")
    assert held.most == 2
    assert len(held.batches) < 10
    assert sum(held.batches) == 10
    assert bench.counted("loads_in_flight") == 0
    assert some.without_room(order_ids) == set()


def test_a_call_takes_a_batch_at_most(bench: Bench) -> None:
    """However many wait."""
    held, landed = Held(bench.tiers.hot), Landed()
    held.let_go()
    order_ids = never_made(bench, BATCH_MAX + 1)
    loader(bench, hot=held, loads_max=10_000).load(loads(bench, order_ids), landed)
    assert sorted(held.batches) == [1, BATCH_MAX]
    assert len(landed.by_id) == len(order_ids)


def test_no_more_orders_a_second_than_allowed(bench: Bench) -> None:
    """What is over is turned away at once, and asks no database; what nobody took does not pile up."""
    held, landed = Held(bench.tiers.hot), Landed()
    held.let_go()
    some = loader(bench, hot=held, loads_per_s=100)
    for wait_s, allowed in ((0, 10), (0, 0), (0.05, 5), (10, 10)):
        bench.clock.advance(wait_s)
        before = sum(held.batches)
        for order_id in never_made(bench, 20):
            some.load(loads(bench, [order_id]), landed)
        assert sum(held.batches) - before == allowed
        strangers = never_made(bench, 2)
        assert some.without_room(strangers) == set(strangers)
    bench.clock.advance(0.02)
    assert some.without_room(strangers) == set()


def test_an_archive_that_hangs_keeps_nobody_from_the_hot_store(bench: Bench) -> None:
    """With its calls stuck and its room taken, orders of the hot store are loaded, and strangers are turned away."""
    order_ids = create(bench, 3)
    strangers = never_made(bench, 8, age_s=10_000)  # so old that the archive is asked first
    held, landed = Held(bench.tiers.archive), Landed()
    with threads() as executor:
        some = loader(bench, archive=held, executor=executor, loads_max=4, calls_max=2)
        for stranger in strangers:
            some.load(loads(bench, [stranger]), landed)
        assert set(landed.by_id) == set(strangers[4:])
        assert all(loaded.was_turned_away for loaded in landed.by_id.values())
        some.load(loads(bench, order_ids), landed)
        after(lambda: set(order_ids) <= set(landed.by_id), "the hot store's orders have come")
        assert {landed.by_id[order_id].source for order_id in order_ids} == {Source.HOT}
        old = never_made(bench, 1, age_s=10_000)
        assert (some.without_room(old), some.without_room(order_ids)) == ({*old}, set())
        held.let_go()
        after(lambda: len(landed.by_id) == 11, "all were handed over")
    assert held.most == 2


def test_a_failure_is_of_those_who_needed_the_answer(bench: Bench) -> None:
    """The last word of each database counts."""
    (order_id,) = create(bench, 1)
    (nobody,) = never_made(bench, 1)
    bench.archive.error = error = away("cassandra")
    landed = Landed()
    loader(bench).load(loads(bench, [order_id, nobody]), landed)
    assert landed.by_id[order_id].error is None
    assert landed.by_id[nobody].error is error


def test_a_fault_of_ours_is_told_and_does_not_end_the_lane(bench: Bench) -> None:
    """Whoever waits for the order hears of it, and the next load goes on."""
    (order_id,) = create(bench, 1)

    class Faulty:
        is_faulty = True

        def load(self, order_ids: Sequence[str]) -> list[Order | None]:
            if self.is_faulty:
                raise ZeroDivisionError
            return bench.tiers.hot.load(order_ids)

    hot, landed = Faulty(), Landed()
    some = loader(bench, hot=hot, archive=Empty(), calls_max=1)
    some.load(loads(bench, [order_id]), landed)
    assert isinstance(landed.by_id.pop(order_id).error, TierRejected)
    hot.is_faulty = False
    some.load(loads(bench, [order_id]), landed)
    assert landed.by_id[order_id].order is not None


class Empty:
    """An archive that has nothing."""

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        return [None] * len(order_ids)


def test_when_the_threads_have_ended_everybody_is_turned_away(bench: Bench) -> None:
    """Nobody waits for a load that will never be made, and no room is lost."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    landed = Landed()
    some = loader(bench, executor=executor, loads_max=1)
    order_ids = never_made(bench, 2)
    some.load(loads(bench, order_ids), landed)
    assert [loaded.was_turned_away for loaded in landed.by_id.values()] == [True, True]
    assert bench.counted("loads_in_flight") == 0
