"""Process memory in front of the cache: what it answers, what it must not keep, and that no reader goes back."""

from __future__ import annotations

from orderctl.order import Change, Order, Status
from orderctl.services.answers import Found, Missing, Pending, Settled, Source, Stored, Via
from orderctl.services.askers import FLIGHTS_MORE, Lookup
from orderctl.services.near import NearCache
from orderctl.services.query import QueryService
from orderctl.stores.cache import Fill, Tentative
from orderctl.stores.record import Record, merchant_digest
from tests.services.tiers import Bench, asking, away, settled

FOR_EVER_S = 1e9


def switched_on(bench: Bench) -> NearCache:
    near = bench.memory()
    near.turn_on(FOR_EVER_S)
    return near


def an_order(bench: Bench) -> Record:
    (answer,) = bench.command().create([asking()])
    assert isinstance(answer, Stored)
    return answer.record


def ended(bench: Bench) -> Record:
    order_id = an_order(bench).order_id
    (record,) = bench.command().change([Change(order_id, Status.SUCCESS)])
    assert isinstance(record, Record)
    return record


def look(query: QueryService, order_id: str, min_version: int = 0) -> Settled:
    (answer,) = settled(query.look_up([Lookup(order_id, min_version=min_version)]))
    return answer


def seen(answer: Settled) -> tuple[int, Source]:
    assert isinstance(answer, Found), answer
    return answer.version, answer.via.source


def back_in_time(bench: Bench, record: Record) -> None:
    """The cache holds what it held long ago."""
    fill(bench, record.order_id, record)


def fill(bench: Bench, order_id: str, record: Record | None) -> None:
    """Make the cache hold this, or `absent`."""
    bench.tiers.cache.invalidate([order_id])
    token = bench.random(16)
    bench.tiers.cache.lookup([order_id], tokens=[token])
    assert bench.tiers.cache.fill([Fill(order_id, token, record, 60_000)]) == [True]


def test_a_final_order_is_answered_from_memory(bench: Bench) -> None:
    """Without any tier, in the bytes of the cache, and to its owner alone."""
    record = ended(bench)
    query = bench.query(switched_on(bench))
    assert seen(look(query, record.order_id)) == (2, Source.CACHE)
    bench.cache.error = bench.hot.error = away("redis")
    answer = look(query, record.order_id, min_version=2)
    assert answer == Found(2, Status.SUCCESS, record.body, Via(Source.NEAR))
    assert isinstance(answer, Found)
    assert str(answer.via) == "near; hit"
    mine, theirs = query.look_up([Lookup(record.order_id, merchant_digest(m)) for m in ("m", "n")])
    assert [type(mine), theirs] == [Found, Missing()]
    assert bench.counted("lookups_total", tier="near", outcome="found") == 2


def test_a_loaded_order_is_kept_too(bench: Bench) -> None:
    """What a database gave is committed."""
    record = ended(bench)
    bench.tiers.cache.invalidate([record.order_id])
    query = bench.query(switched_on(bench))
    assert [seen(look(query, record.order_id))[1] for _ in range(2)] == [Source.HOT, Source.NEAR]


def test_an_open_order_is_answered_from_memory_for_a_moment(bench: Bench) -> None:
    """Then the cache is asked again."""
    record = an_order(bench)
    query = bench.query(switched_on(bench))
    sources = []
    for seconds in (0, 0.04, 0.02):
        bench.clock.advance(seconds)
        sources.append(seen(look(query, record.order_id))[1])
    assert sources == [Source.CACHE, Source.NEAR, Source.CACHE]


def test_a_tentative_record_is_not_kept(bench: Bench) -> None:
    """It may never be committed."""
    bench.inline.late = True
    record = an_order(bench)
    bench.inline.catch_up()
    query = bench.query(switched_on(bench))
    assert [seen(look(query, record.order_id)) for _ in range(2)] == [(1, Source.CACHE)] * 2


def test_a_tentative_record_from_before_is_not_answered(bench: Bench) -> None:
    """Its creator's write came late: this process has answered a newer version."""
    record = an_order(bench)
    bench.command().change([Change(record.order_id, Status.PROCESSING)])
    query = bench.query()
    assert seen(look(query, record.order_id)) == (2, Source.CACHE)
    bench.tiers.cache.invalidate([record.order_id])
    late = Tentative(record, bench.random(16), bench.clock.now_us() + 1_000_000)
    assert bench.tiers.cache.tentative([late]) == [True]
    assert seen(look(query, record.order_id)) == (2, Source.HOT)


def test_a_newer_version_asked_for_goes_past_memory(bench: Bench) -> None:
    """And past the cache; both have it afterwards."""
    record = an_order(bench)
    query = bench.query(switched_on(bench))
    look(query, record.order_id)
    bench.tiers.hot.change([Change(record.order_id, Status.SUCCESS)], now_us=bench.clock.now_us())
    assert seen(look(query, record.order_id)) == (1, Source.NEAR)
    assert seen(look(query, record.order_id, min_version=2)) == (2, Source.HOT)
    assert seen(look(query, record.order_id)) == (2, Source.NEAR)
    assert seen(look(bench.query(), record.order_id)) == (2, Source.CACHE)


def test_a_cache_that_goes_back_takes_no_reader_with_it(bench: Bench) -> None:
    """Whether memory is on or off: below what was answered the database is asked, and the cache is put right."""
    record = an_order(bench)
    bench.tiers.hot.change([Change(record.order_id, Status.PROCESSING)], now_us=bench.clock.now_us())
    for near in (switched_on(bench), bench.memory()):
        query = bench.query(near)
        back_in_time(bench, record)
        assert seen(look(query, record.order_id, min_version=2)) == (2, Source.HOT)
        bench.clock.advance(1)
        back_in_time(bench, record)
        assert seen(look(bench.query(), record.order_id)) == (1, Source.CACHE)
        assert seen(look(query, record.order_id)) == (2, Source.HOT)
        bench.clock.advance(1)
        assert seen(look(query, record.order_id)) == (2, Source.CACHE)
        bench.clock.advance(1)
        back_in_time(bench, record)
        bench.hot.error = away("mysql")
        assert not isinstance(look(query, record.order_id), Found)
        bench.hot.error = None


def test_an_order_that_was_answered_is_not_absent(bench: Bench) -> None:
    """A cache that went back to before it was created is not believed."""
    record = an_order(bench)
    query = bench.query()
    look(query, record.order_id)
    fill(bench, record.order_id, None)
    assert look(bench.query(), record.order_id) == Missing()
    assert seen(look(query, record.order_id)) == (1, Source.HOT)


def test_what_was_to_be_forgotten_is_not_kept(bench: Bench) -> None:
    """An invalidation that comes while the order is looked up."""
    record = ended(bench)
    near = switched_on(bench)

    class Meanwhile:
        """The cache, and somebody who repairs what it holds."""

        def __getattr__(self, name: str) -> object:
            return getattr(bench.tiers.cache, name)

        def lookup(self, order_ids: list[str], *, tokens: list[bytes]) -> object:
            told = bench.tiers.cache.lookup(order_ids, tokens=tokens)
            near.drop(order_ids)
            return told

    query = bench.query(near, cache=Meanwhile())
    assert [seen(look(query, record.order_id))[1] for _ in range(2)] == [Source.CACHE] * 2


def test_a_database_that_goes_back_is_waited_for(bench: Bench) -> None:
    """A replica that lags, or an old backup: what was answered is not taken back, and what is older is pending."""
    record = an_order(bench)
    (old,) = bench.tiers.hot.load([record.order_id])
    bench.command().change([Change(record.order_id, Status.PROCESSING)])
    near = bench.memory()
    assert seen(look(bench.query(near), record.order_id)) == (2, Source.CACHE)
    bench.tiers.cache.invalidate([record.order_id])

    class GoneBack:
        """The hot store as it was."""

        loads = 0

        def load(self, order_ids: list[str]) -> list[Order | None]:
            self.loads += 1
            return [old] * len(order_ids)

    hot = GoneBack()
    assert look(bench.query(near, hot=hot), record.order_id) == Pending()
    assert hot.loads == 1 + FLIGHTS_MORE
