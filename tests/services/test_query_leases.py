"""A miss is loaded once, under a lease; what comes between the load and the fill decides what is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orderctl.errors import TierError, TierRejected
from orderctl.ids import group_of, new_order_id
from orderctl.order import Change, Order, Status
from orderctl.services.answers import Failed, Forward, Found, Missing, Pending, Source, Stored, Via
from orderctl.services.askers import Lookup
from orderctl.services.query import QuerySettings
from orderctl.stores.cache import ABSENT_TTL_MAX_MS, LEASE_TTL_MS, CacheStore, Fill, Granted, NodesAway, Put
from orderctl.stores.record import Kind, Record, record_of
from tests.services.tiers import Bench, asking, away

LEASE_OVER_S = LEASE_TTL_MS / 1000 + 0.1
ABSENT_OVER_S = ABSENT_TTL_MAX_MS / 1000 + 0.1


class Between:
    """A database of which each load, once it has read, waits for something to happen before it answers."""

    def __init__(self, store: Any, *happenings: Callable[[], object]) -> None:
        self._store = store
        self._happenings = iter(happenings)
        self.loads = 0

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        self.loads += 1
        orders: list[Order | None] = self._store.load(order_ids)
        next(self._happenings, lambda: None)()
        return orders


def uncached(bench: Bench, ref: str = "r") -> str:
    """An order that the cache has forgotten."""
    (answer,) = bench.command().create([asking(ref)])
    assert isinstance(answer, Stored)
    bench.tiers.cache.invalidate([answer.record.order_id])
    return answer.record.order_id


def nobodys(bench: Bench, partition: int = 0) -> str:
    return new_order_id(bench.clock.now_us() // 1000, partition, bench.random)


def change(bench: Bench, order_id: str, *, is_applied: bool = True) -> Record:
    """The order moves on; the cache hears of it or does not."""
    bench.tiers.hot.change([Change(order_id, Status.PROCESSING)], now_us=bench.clock.now_us())
    (order,) = bench.tiers.hot.load([order_id])
    assert order is not None
    if is_applied:
        bench.tiers.cache.apply([Put(record_of(order), 60_000)])
    return record_of(order)


def kind(bench: Bench, order_id: str) -> Kind | None:
    (entry,) = bench.tiers.cache.get([order_id])
    return None if entry is None else entry.kind


def lease(bench: Bench, order_id: str) -> bytes:
    """Another process begins to load the order."""
    (outcome,) = bench.tiers.cache.lookup([order_id], tokens=[bench.random(16)])
    assert isinstance(outcome, Granted)
    return outcome.token


def test_a_miss_is_filled_in_and_is_a_hit_from_then_on(bench: Bench) -> None:
    """For every process."""
    order_id = uncached(bench)
    (first,), (second,) = bench.query().look_up([Lookup(order_id)]), bench.query().look_up([Lookup(order_id)])
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert (first.via, second.via) == (Via(Source.HOT, Forward.MISS), Via(Source.CACHE))
    assert bench.counted("loads_total", tier="mysql") == 1
    assert [bench.counted("leases_total", outcome=o) for o in ("granted", "filled", "busy")] == [1, 1, 0]


def test_a_filled_record_outlives_the_orders_deadline(bench: Bench) -> None:
    """It is there for those who poll when the order times out."""
    order_id = uncached(bench)
    bench.query().look_up([Lookup(order_id)])
    (ttl_ms,) = bench.tiers.cache.ttl_ms([order_id])
    assert ttl_ms is not None
    assert ttl_ms > QuerySettings().record_ttl_ms


def test_what_another_process_loads_is_pending(bench: Bench) -> None:
    """Whoever it belongs to; once the lease has lapsed without a fill, the next reader loads."""
    order_id = uncached(bench)
    lease(bench, order_id)
    assert bench.query().look_up([Lookup(order_id), Lookup(order_id, b"x" * 16)]) == [Pending(), Pending()]
    assert bench.counted("loads_total", tier="mysql") == 0
    assert bench.counted("leases_total", outcome="busy") == 1
    bench.clock.advance(LEASE_OVER_S)
    (answer,) = bench.query().look_up([Lookup(order_id)])
    assert isinstance(answer, Found)


def test_an_id_that_was_never_created_is_looked_for_once_in_a_while(bench: Bench) -> None:
    """`absent` answers for at most 2 s; a reader who knows of a version does not believe it."""
    order_id = nobodys(bench)
    query = bench.query()
    assert query.look_up([Lookup(order_id)]) == query.look_up([Lookup(order_id)]) == [Missing()]
    assert (kind(bench, order_id), bench.counted("loads_total", tier="mysql")) == (Kind.ABSENT, 1)
    assert query.look_up([Lookup(order_id, min_version=1)]) == [Missing()]
    assert bench.counted("loads_total", tier="mysql") == 2
    bench.clock.advance(ABSENT_OVER_S)
    assert query.look_up([Lookup(order_id)]) == [Missing()]
    assert bench.counted("loads_total", tier="mysql") == 3


def test_a_change_during_the_load_is_what_is_answered(bench: Bench) -> None:
    """The floor refuses the fill, and the order is loaded once more."""
    order_id = uncached(bench)
    hot = Between(bench.tiers.hot, lambda: change(bench, order_id))
    (answer,) = bench.query(hot=hot).look_up([Lookup(order_id)])
    assert isinstance(answer, Found)
    assert (answer.version, hot.loads, kind(bench, order_id)) == (2, 2, Kind.RECORD)
    assert bench.counted("leases_total", outcome="refused") == 1


def test_a_lease_that_is_evicted_again_and_again_holds_nobody_up(bench: Bench) -> None:
    """What was loaded the second time is answered: it was read after the look-up began."""
    order_id = uncached(bench)
    evict = [lambda: bench.tiers.cache.invalidate([order_id])] * 9
    hot = Between(bench.tiers.hot, *evict)
    (answer, nobody) = bench.query(hot=hot).look_up([Lookup(order_id), Lookup(other := nobodys(bench))])
    assert isinstance(answer, Found)
    assert (hot.loads, nobody, kind(bench, order_id)) == (2, Missing(), None)
    assert kind(bench, other) is Kind.ABSENT


def test_a_load_that_outlives_its_lease_is_answered_all_the_same(bench: Bench) -> None:
    """A slow database is not asked twice. Whoever took the load over may not fill in anything older."""
    order_id = uncached(bench)
    tokens: list[bytes] = []

    def dawdle() -> None:
        change(bench, order_id, is_applied=False)
        bench.clock.advance(LEASE_OVER_S)
        tokens.append(lease(bench, order_id))

    hot = Between(bench.tiers.hot, dawdle)
    (answer,) = bench.query(hot=hot).look_up([Lookup(order_id)])
    assert isinstance(answer, Found)
    assert (answer.version, hot.loads) == (1, 1)
    (entry,) = bench.tiers.cache.get([order_id])
    assert entry is not None
    assert (entry.kind, entry.token, entry.version) == (Kind.LEASE, tokens[0], 1)


def test_a_slow_database_is_not_asked_twice(bench: Bench) -> None:
    """The lease has lapsed, and nobody else has come: nothing newer is known."""
    order_id = uncached(bench)
    hot = Between(bench.tiers.hot, lambda: bench.clock.advance(LEASE_OVER_S))
    (answer,) = bench.query(hot=hot).look_up([Lookup(order_id)])
    assert isinstance(answer, Found)
    assert (answer.version, hot.loads, kind(bench, order_id)) == (1, 1, None)


def test_what_was_filled_in_by_another_meanwhile_is_answered_if_it_is_newer(bench: Bench) -> None:
    """From the cache, without another load."""
    order_id = uncached(bench)

    def overtake() -> None:
        change(bench, order_id)
        bench.tiers.cache.invalidate([order_id])
        bench.query().look_up([Lookup(order_id)])

    hot = Between(bench.tiers.hot, overtake)
    (answer,) = bench.query(hot=hot).look_up([Lookup(order_id)])
    assert isinstance(answer, Found)
    assert (answer.version, answer.via, hot.loads) == (2, Via(Source.CACHE), 1)


def test_an_order_that_is_created_during_the_load_is_found(bench: Bench) -> None:
    """The floor refuses `absent` too."""
    order_id = uncached(bench)
    (order,) = bench.tiers.hot.load([order_id])
    assert order is not None
    put = Put(record_of(order), 60_000)

    class Before:
        """A hot store that at first does not have the order yet."""

        loads = 0

        def load(self, order_ids: Sequence[str]) -> list[Order | None]:
            self.loads += 1
            if self.loads > 1:
                return bench.tiers.hot.load(order_ids)
            bench.tiers.cache.apply([put])
            return [None] * len(order_ids)

    (answer,) = bench.query(hot=Before()).look_up([Lookup(order_id)])
    assert isinstance(answer, Found)


def test_a_failed_load_gives_its_lease_back(bench: Bench) -> None:
    """So that the next look-up asks the database, and finds out when that is back."""
    order_id = uncached(bench)
    bench.hot.error = away("mysql")
    query = bench.query()
    assert query.look_up([Lookup(order_id)]) == query.look_up([Lookup(order_id)]) == [Failed(bench.hot.error)]
    assert kind(bench, order_id) is None
    assert bench.counted("leases_total", outcome="returned") == 2
    bench.hot.error = None
    assert isinstance(query.look_up([Lookup(order_id)])[0], Found)


def test_beyond_the_limit_a_look_up_is_pending(bench: Bench) -> None:
    """Its lease is given back, so that another process may load the order."""
    order_ids = [uncached(bench, str(n)) for n in range(3)]
    query = bench.query(settings=QuerySettings(loads_max=2))
    answers = query.look_up([Lookup(order_id) for order_id in order_ids])
    assert [type(answer) for answer in answers] == [Found, Found, Pending]
    assert kind(bench, order_ids[2]) is None
    assert isinstance(query.look_up([Lookup(order_ids[2])])[0], Found)


def test_with_the_cache_away_the_databases_answer_within_the_limit(bench: Bench) -> None:
    """Without leases, each order once for all who ask at once."""
    order_ids = [uncached(bench, str(n)) for n in range(3)]
    bench.cache.error = away("redis")
    query = bench.query(settings=QuerySettings(loads_max=2))
    answers = query.look_up([Lookup(order_id) for order_id in [*order_ids, *order_ids]])
    assert [type(answer) for answer in answers] == [Found, Found, Pending] * 2
    assert answers[0] == answers[3]
    assert bench.counted("loads_total", tier="mysql") == 2


class HalfAway:
    """A cache one of whose nodes is away: the one of `group`."""

    def __init__(self, store: CacheStore, group: int) -> None:
        self._store = store
        self._group = group

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def lookup(self, order_ids: Sequence[str], *, tokens: Sequence[bytes]) -> Any:
        outcomes: list[Any] = self._store.lookup(order_ids, tokens=tokens)
        gone: TierError = away("redis")
        raise NodesAway(
            [gone if group_of(o, 64) == self._group else told for o, told in zip(order_ids, outcomes, strict=True)]
        )


def test_with_one_node_away_the_others_answer(bench: Bench) -> None:
    """Only for its own orders is a database asked."""
    answers = bench.command().create([asking("1"), asking("2")])
    mine, theirs = (answer.record.order_id for answer in answers if isinstance(answer, Stored))
    half = HalfAway(bench.tiers.cache, group_of(theirs, 64))
    found = bench.query(cache=half).look_up([Lookup(mine), Lookup(theirs)])
    assert [a.via for a in found if isinstance(a, Found)] == [Via(Source.CACHE), Via(Source.HOT, Forward.BYPASS)]


def test_a_version_asked_for_does_not_hold_up_those_who_ask_for_none(bench: Bench) -> None:
    """They are answered by the cache, in the same batch, while the database is away."""
    (created,) = bench.command().create([asking()])
    assert isinstance(created, Stored)
    order_id = created.record.order_id
    bench.hot.error = gone = away("mysql")
    plain, newer = bench.query().look_up([Lookup(order_id), Lookup(order_id, min_version=2)])
    assert isinstance(plain, Found)
    assert newer == Failed(gone)


def test_a_fault_of_ours_leaves_no_look_up_in_the_air(bench: Bench) -> None:
    """The next one of the same order begins anew."""
    order_id = uncached(bench)

    class Faulty:
        is_faulty = True

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.tiers.cache, name)

        def lookup(self, order_ids: Sequence[str], *, tokens: Sequence[bytes]) -> Any:
            if self.is_faulty:
                raise ZeroDivisionError
            return bench.tiers.cache.lookup(order_ids, tokens=tokens)

    cache = Faulty()
    query = bench.query(cache=cache)
    with pytest.raises(ZeroDivisionError):
        query.look_up([Lookup(order_id)])
    cache.is_faulty = False
    assert isinstance(query.look_up([Lookup(order_id)])[0], Found)


def test_a_fault_of_ours_after_the_load_is_told(bench: Bench) -> None:
    """And the load's lane goes on, with one call at a time as well."""
    order_id = uncached(bench)

    class Faulty:
        is_faulty = True

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.tiers.cache, name)

        def fill(self, fills: Sequence[Fill]) -> list[bool]:
            if self.is_faulty:
                raise ZeroDivisionError
            return bench.tiers.cache.fill(fills)

    cache = Faulty()
    query = bench.query(cache=cache, settings=QuerySettings(calls_max=1))
    (failed,) = query.look_up([Lookup(order_id)])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, TierRejected)
    cache.is_faulty = False
    bench.clock.advance(LEASE_OVER_S)
    assert isinstance(query.look_up([Lookup(order_id)])[0], Found)
