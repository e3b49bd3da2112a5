"""Look-ups at the same time: none waits for a database, an order is loaded once, and nobody is answered from before he came."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orderctl.order import Change, Order, Status
from orderctl.services.answers import Answer, Found, Loading, Missing, Pending, Stored
from orderctl.services.askers import Lookup
from orderctl.services.query import QueryService, QuerySettings
from orderctl.stores.cache import CacheStore, Fill, Put
from orderctl.stores.record import record_of
from tests.acceptance.server import until
from tests.services.tiers import Bench, asking, settled

PATIENCE_S = 30.0


class Held:
    """A database that reads, and keeps what it read until it is let go; then it holds nobody any more."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._gate = threading.Event()
        self.batches: list[Sequence[str]] = []

    def let_go(self) -> None:
        self._gate.set()

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        orders = self._store.load(order_ids)
        self.batches.append(order_ids)
        assert self._gate.wait(PATIENCE_S)
        return [*orders]


class SlowAtFirst:
    """A cache whose first look's answer takes its time."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store
        self.looked, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def lookup(self, order_ids: Sequence[str], *, tokens: Sequence[bytes]) -> Any:
        told = self._store.lookup(order_ids, tokens=tokens)
        if not self.looked.is_set():
            self.looked.set()
            assert self.go_on.wait(PATIENCE_S)
        return told


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2 * QuerySettings().calls_max) as pool:
        yield pool


@pytest.fixture
def hot(bench: Bench) -> Iterator[Held]:
    held = Held(bench.tiers.hot)
    yield held
    held.let_go()


def uncached(bench: Bench, ref: str = "r") -> str:
    (answer,) = bench.command().create([asking(ref)])
    assert isinstance(answer, Stored)
    bench.tiers.cache.invalidate([answer.record.order_id])
    return answer.record.order_id


def under_way(hot: Held, count: int = 1) -> None:
    until(lambda: len(hot.batches) >= count, seconds=PATIENCE_S, what=f"{count} loads have read")


def test_no_look_up_waits_for_a_database(bench: Bench, hot: Held, executor: ThreadPoolExecutor) -> None:
    """It returns while the database is at work; what the cache has is answered at once, whatever else is in the batch."""
    (created,) = bench.command().create([asking("cached")])
    assert isinstance(created, Stored)
    query = bench.query(hot=hot, executor=executor)
    answers = query.look_up([Lookup(uncached(bench)), Lookup(created.record.order_id)])
    assert [type(answer) for answer in answers] == [Loading, Found]
    hot.let_go()
    assert [type(answer) for answer in settled(answers)] == [Found, Found]


def test_a_thousand_at_once_are_one_load(bench: Bench, hot: Held, executor: ThreadPoolExecutor) -> None:
    """However they are batched, and from however many threads they come."""
    order_id = uncached(bench)
    query = bench.query(hot=hot, executor=executor)
    together = threading.Barrier(8, timeout=PATIENCE_S)

    def ask() -> list[Answer]:
        together.wait()
        return [answer for _ in range(5) for answer in query.look_up([Lookup(order_id)] * 25)]

    with ThreadPoolExecutor(8) as readers:
        asking_ = [readers.submit(ask) for _ in range(8)]
        answers = [answer for future in asking_ for answer in future.result(PATIENCE_S)]
    hot.let_go()
    found = settled(answers)
    assert (len(found), {type(answer) for answer in found}) == (1_000, {Found})
    assert hot.batches == [[order_id]]
    assert bench.counted("loads_total", tier="mysql") == 1
    assert bench.counted("lookups_total", tier="mysql", outcome="found") == 1_000


def test_whoever_waits_gets_what_is_his(bench: Bench, hot: Held, executor: ThreadPoolExecutor) -> None:
    """One load, and each is answered by who he is and what he asked for."""
    order_id = uncached(bench)
    query = bench.query(hot=hot, executor=executor)
    answers = query.look_up([Lookup(order_id), Lookup(order_id, b"x" * 16), Lookup(order_id, min_version=2)])
    hot.let_go()
    assert [type(answer) for answer in settled(answers)] == [Found, Missing, Pending]


def test_who_comes_late_is_not_told_no_by_an_old_look(bench: Bench, hot: Held, executor: ThreadPoolExecutor) -> None:
    """The databases were asked before he came; he is answered by another look, and finds what was created meanwhile."""
    order_id = uncached(bench)

    class NotYet:
        """The hot store, which had no such order when it was first asked."""

        loads = 0

        def load(self, order_ids: Sequence[str]) -> list[Order | None]:
            self.loads += 1
            if self.loads > 1:
                return bench.tiers.hot.load(order_ids)
            hot.load(order_ids)
            return [None] * len(order_ids)

    query = bench.query(hot=NotYet(), executor=executor)
    early = query.look_up([Lookup(order_id)])
    under_way(hot)
    bench.tiers.cache.invalidate([order_id])  # or `absent` would be filled in, which a create replaces
    late = query.look_up([Lookup(order_id)])
    hot.let_go()
    assert isinstance(settled(late)[0], Found)
    assert isinstance(settled(early)[0], Found | Missing)


def test_who_comes_late_reads_what_he_wrote(bench: Bench, hot: Held, executor: ThreadPoolExecutor) -> None:
    """The load that is under way read an older version than he asks for: another one follows."""
    order_id = uncached(bench)
    query = bench.query(hot=hot, executor=executor)
    early = query.look_up([Lookup(order_id)])
    under_way(hot)
    bench.tiers.hot.change([Change(order_id, Status.PROCESSING)], now_us=bench.clock.now_us())
    late = query.look_up([Lookup(order_id, min_version=2)])
    hot.let_go()
    for answers, version in ((late, 2), (early, 1)):
        (found,) = settled(answers)
        assert isinstance(found, Found)
        assert found.version == version


def test_a_look_at_the_cache_that_was_overtaken_answers_nobody(bench: Bench, executor: ThreadPoolExecutor) -> None:
    """It read an old record; meanwhile this process has answered a newer one, and goes back behind it for nobody."""
    (created,) = bench.command().create([asking()])
    assert isinstance(created, Stored)
    order_id = created.record.order_id
    bench.tiers.hot.change([Change(order_id, Status.PROCESSING)], now_us=bench.clock.now_us())
    near = bench.memory()
    cache = SlowAtFirst(bench.tiers.cache)
    slow: QueryService = bench.query(near, cache=cache, executor=executor)
    other = bench.query(near)
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(slow.look_up, [Lookup(order_id)])
        assert cache.looked.wait(PATIENCE_S)
        (newer,) = other.look_up([Lookup(order_id, min_version=2)])
        assert isinstance(newer, Found)
        cache.go_on.set()
        (answer,) = settled(reading.result(PATIENCE_S))
    assert isinstance(answer, Found)
    assert answer.version == 2


def test_a_reader_who_leaves_keeps_nobody_from_the_answer(
    bench: Bench, hot: Held, executor: ThreadPoolExecutor
) -> None:
    """What he waits for cannot be cancelled, by him or for the others."""
    order_id = uncached(bench)
    query = bench.query(hot=hot, executor=executor)
    gone, stays = query.look_up([Lookup(order_id)] * 2)
    assert isinstance(gone, Loading)
    assert not gone.answer.cancel()
    hot.let_go()
    assert isinstance(settled([stays])[0], Found)


def test_who_comes_late_is_not_told_no_by_the_cache_either(bench: Bench) -> None:
    """It said `absent` before he came, and the order was created since."""
    order_id = uncached(bench)
    (order,) = bench.tiers.hot.load([order_id])
    assert order is not None
    absent(bench, order_id)
    cache = SlowAtFirst(bench.tiers.cache)
    query = bench.query(cache=cache)
    with ThreadPoolExecutor(1) as reader:
        early = reader.submit(query.look_up, [Lookup(order_id)])
        assert cache.looked.wait(PATIENCE_S)
        late = query.look_up([Lookup(order_id)])
        bench.tiers.cache.apply([Put(record_of(order), 60_000)])
        cache.go_on.set()
        assert settled(early.result(PATIENCE_S)) == [Missing()]
    assert isinstance(settled(late)[0], Found)


def absent(bench: Bench, order_id: str) -> None:
    """The cache says that there is no such order."""
    token = bench.random(16)
    bench.tiers.cache.lookup([order_id], tokens=[token])
    assert bench.tiers.cache.fill([Fill(order_id, token, None, 60_000)]) == [True]


def test_where_there_is_no_room_no_lease_is_asked_for(bench: Bench, hot: Held, executor: ThreadPoolExecutor) -> None:
    """A miss is pending, and another process may load it; a hit is a hit, and what is being loaded is still waited for."""
    held, missed = uncached(bench, "1"), uncached(bench, "2")
    (created,) = bench.command().create([asking("3")])
    assert isinstance(created, Stored)
    query = bench.query(hot=hot, executor=executor, settings=QuerySettings(loads_max=1))
    query.look_up([Lookup(held)])
    answers = query.look_up([Lookup(o) for o in (held, missed, created.record.order_id)])
    assert [type(answer) for answer in answers] == [Loading, Pending, Found]
    assert bench.counted("leases_total", outcome="granted") == 1
    assert bench.tiers.cache.get([missed]) == [None]
    hot.let_go()
    assert isinstance(settled(answers)[0], Found)
