"""Looking up: from the cache where it can, from the database where it must, and never a lie about either."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orderctl.errors import TierError
from orderctl.order import Change, Status
from orderctl.services.answers import Failed, Forward, Found, Missing, Pending, Source, Stored, Via
from orderctl.services.askers import Lookup
from orderctl.stores.hot import Removal
from orderctl.stores.record import Record, merchant_digest
from tests.services.tiers import Bench, asking, away

NOBODYS = "0199bd6e-5c00-7abc-8000-0123456789ab"
NEVER_MADE = "018bcfe5-0000-7abc-8000-0123456789ab"
"""Of half a minute before the bench's clock begins."""


def an_order(bench: Bench, ref: str = "r") -> Record:
    (answer,) = bench.command().create([asking(ref)])
    assert isinstance(answer, Stored)
    return answer.record


def test_the_cache_answers_without_a_database(bench: Bench) -> None:
    """The bytes as they were stored."""
    record = an_order(bench)
    bench.hot.error = away("mysql")
    assert bench.query().look_up([Lookup(record.order_id)]) == [
        Found(1, Status.PENDING, record.body, Via(Source.CACHE))
    ]


def test_what_the_cache_lost_the_database_has(bench: Bench) -> None:
    """Every entry may vanish, and nothing is lost."""
    record = an_order(bench)
    bench.tiers.cache.invalidate([record.order_id])
    assert bench.query().look_up([Lookup(record.order_id)]) == [
        Found(1, Status.PENDING, record.body, Via(Source.HOT, Forward.MISS))
    ]
    assert bench.counted("loads_total", tier="mysql") == 1


def test_answers_come_in_the_order_asked_and_an_id_is_loaded_once(bench: Bench) -> None:
    """Hits, misses, strangers and doubles in one batch."""
    one, two = an_order(bench, "1"), an_order(bench, "2")
    bench.tiers.cache.invalidate([two.order_id])
    answers = bench.query().look_up([Lookup(i) for i in (two.order_id, NOBODYS, one.order_id, two.order_id)])
    assert [type(a) for a in answers] == [Found, Missing, Found, Found]
    assert answers[0] == answers[3] == Found(1, Status.PENDING, two.body, Via(Source.HOT, Forward.MISS))
    assert bench.counted("loads_total", tier="mysql") == 2


@pytest.mark.parametrize("is_cached", [True, False])
def test_somebody_elses_order_is_missing(bench: Bench, is_cached: bool) -> None:
    """From either tier, as if it did not exist."""
    record = an_order(bench)
    if not is_cached:
        bench.tiers.cache.invalidate([record.order_id])
    mine, theirs = merchant_digest("m"), merchant_digest("n")
    answers = bench.query().look_up(
        [Lookup(record.order_id, mine), Lookup(record.order_id, theirs), Lookup(NOBODYS, mine)]
    )
    assert [type(a) for a in answers] == [Found, Missing, Missing]


def test_a_reader_finds_what_it_wrote(bench: Bench) -> None:
    """`min_version` goes past a cached record that is older, and leaves the newer one there for everybody."""
    record = an_order(bench)
    bench.tiers.hot.change([Change(record.order_id, Status.PROCESSING)], now_us=bench.clock.now_us())
    query = bench.query()
    (stale,) = query.look_up([Lookup(record.order_id)])
    assert isinstance(stale, Found)
    assert stale.version == 1
    (fresh,) = query.look_up([Lookup(record.order_id, min_version=2)])
    assert isinstance(fresh, Found)
    assert (fresh.version, fresh.via) == (2, Via(Source.HOT, Forward.STALE))
    (after,) = query.look_up([Lookup(record.order_id)])
    assert isinstance(after, Found)
    assert (after.version, after.via) == (2, Via(Source.CACHE))


def test_a_version_that_is_not_there_yet_is_pending(bench: Bench) -> None:
    """Cached or not; an order that is nowhere is missing, whatever version was asked for."""
    record = an_order(bench)
    query = bench.query()
    assert query.look_up([Lookup(record.order_id, min_version=2), Lookup(NOBODYS, min_version=2)]) == [
        Pending(),
        Missing(),
    ]
    bench.tiers.cache.invalidate([record.order_id])
    assert query.look_up([Lookup(record.order_id, min_version=2)]) == [Pending()]


def test_look_ups_go_on_without_the_cache(bench: Bench) -> None:
    """The database answers for it."""
    record = an_order(bench)
    bench.cache.error = away("redis")
    assert bench.query().look_up([Lookup(record.order_id)]) == [
        Found(1, Status.PENDING, record.body, Via(Source.HOT, Forward.BYPASS))
    ]


def test_a_database_that_is_away_fails_only_those_who_needed_it(bench: Bench) -> None:
    """And never says that an order does not exist."""
    record = an_order(bench)
    bench.hot.error = away("mysql")
    found, failed = bench.query().look_up([Lookup(record.order_id), Lookup(NOBODYS)])
    assert isinstance(found, Found)
    assert isinstance(failed, Failed)
    assert bench.counted("lookups_total", tier="mysql", outcome="failed") == 1


def an_archived(bench: Bench, ref: str = "r") -> Record:
    """An order that has ended and has moved; the cache has forgotten it."""
    order_id = an_order(bench, ref).order_id
    (ended,) = bench.command().change([Change(order_id, Status.SUCCESS)])
    assert isinstance(ended, Record)
    move(bench, order_id)
    bench.tiers.cache.invalidate([order_id])
    return ended


def move(bench: Bench, order_id: str) -> None:
    """Let the order change databases, as the archiver does."""
    orders = [order for order in bench.tiers.hot.load([order_id]) if order is not None and order.status.is_final]
    bench.tiers.archive.write(orders)
    bench.tiers.hot.remove([Removal(order.order_id, order.version) for order in orders], now_us=1)


def grow_old(bench: Bench) -> None:
    """From here on what was created before is looked for in the archive first."""
    bench.clock.advance(961)


def asked(bench: Bench) -> tuple[int, int]:
    """How often each database was asked for orders."""
    return bench.hot.calls.count("load"), bench.archive.calls.count("load")


class Script:
    """A database of which each call does something first: fails, or lets an order move."""

    def __init__(self, store: Any, *scripted: TierError | Callable[[], None] | None) -> None:
        self._store = store
        self._scripted = iter(scripted)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def load(self, order_ids: Sequence[str]) -> Any:
        what = next(self._scripted, None)
        if isinstance(what, TierError):
            raise what
        if what is not None:
            what()
        return self._store.load(order_ids)


def via_archive(record: Record, why: Forward = Forward.MISS) -> Found:
    return Found(record.version, record.status, record.body, Via(Source.ARCHIVE, why))


@pytest.mark.parametrize(("is_old", "calls"), [(False, (1, 1)), (True, (0, 1))])
def test_the_archive_answers_for_what_has_moved(bench: Bench, is_old: bool, calls: tuple[int, int]) -> None:
    """After the hot store for a young order, before it for an old one; each load is counted."""
    ended = an_archived(bench)
    if is_old:
        grow_old(bench)
    bench.hot.calls.clear()
    (answer,) = bench.query().look_up([Lookup(ended.order_id)])
    assert answer == via_archive(ended)
    assert isinstance(answer, Found)
    assert str(answer.via) == "redis; fwd=miss; detail=cassandra"
    assert asked(bench) == calls
    assert bench.counted("loads_total", tier="cassandra") == 1
    assert bench.counted("loads_total", tier="mysql") == calls[0]
    assert bench.counted("lookups_total", tier="cassandra", outcome="found") == 1


def test_the_archive_is_not_asked_for_what_others_have(bench: Bench) -> None:
    """Neither for what the cache has, however old, nor for young orders that the hot store has."""
    cached, hot = an_order(bench, "1"), an_order(bench, "2")
    bench.tiers.cache.invalidate([hot.order_id])
    query = bench.query()
    answers = query.look_up([Lookup(cached.order_id), Lookup(hot.order_id)])
    assert [answer.via.source for answer in answers if isinstance(answer, Found)] == [Source.CACHE, Source.HOT]
    grow_old(bench)
    query.look_up([Lookup(cached.order_id)])
    assert asked(bench) == (1, 0)


def test_one_call_of_a_database_a_leg(bench: Bench) -> None:
    """For a whole batch, young and old, here and there and nowhere."""
    old_archived, old_open = an_archived(bench, "1"), an_order(bench, "2")
    grow_old(bench)
    young_archived, young_open = an_archived(bench, "3"), an_order(bench, "4")
    records = [old_archived, old_open, young_archived, young_open]
    bench.tiers.cache.invalidate([record.order_id for record in records])
    bench.hot.calls.clear()
    answers = bench.query().look_up([Lookup(i) for i in (*(record.order_id for record in records), NEVER_MADE)])
    sources = [answer.via.source if isinstance(answer, Found) else None for answer in answers]
    assert sources == [Source.ARCHIVE, Source.HOT, Source.ARCHIVE, Source.HOT, None]
    assert asked(bench) == (2, 3)


def test_an_old_order_that_moves_between_two_looks_is_found_by_the_third(bench: Bench) -> None:
    """It was not yet in the archive when that was asked, and no more in the hot store when that was."""
    record = an_order(bench)
    grow_old(bench)
    bench.tiers.hot.change([Change(record.order_id, Status.SUCCESS)], now_us=bench.clock.now_us())
    bench.tiers.cache.invalidate([record.order_id])
    moves = Script(bench.tiers.hot, lambda: move(bench, record.order_id))
    (answer,) = bench.query(hot=moves).look_up([Lookup(record.order_id)])
    assert isinstance(answer, Found)
    assert (answer.version, answer.via.source) == (2, Source.ARCHIVE)


def test_a_young_order_that_moves_between_two_looks_is_found_by_the_second(bench: Bench) -> None:
    """The archive has it before the hot store has it no more."""
    record = an_order(bench)
    bench.tiers.hot.change([Change(record.order_id, Status.SUCCESS)], now_us=bench.clock.now_us())
    bench.tiers.cache.invalidate([record.order_id])
    moves = Script(bench.tiers.hot, lambda: move(bench, record.order_id))
    (answer,) = bench.query(hot=moves).look_up([Lookup(record.order_id)])
    assert isinstance(answer, Found)
    assert (answer.version, answer.via.source) == (2, Source.ARCHIVE)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("source", [Source.HOT, Source.ARCHIVE])
def test_a_database_that_is_away_is_nobodys_no(bench: Bench, is_old: bool, source: Source) -> None:
    """What the other one has is answered; the rest is not known, and never missing."""
    ended, open_ = an_archived(bench, "1"), an_order(bench, "2")
    bench.tiers.cache.invalidate([open_.order_id])
    if is_old:
        grow_old(bench)
    (bench.hot if source is Source.HOT else bench.archive).error = away(source.value)
    archived, hot, nobody = bench.query().look_up([Lookup(i) for i in (ended.order_id, open_.order_id, NEVER_MADE)])
    assert [isinstance(archived, Found), isinstance(hot, Found)] == [source is Source.HOT, source is Source.ARCHIVE]
    lost = hot if source is Source.HOT else archived
    assert lost == nobody
    assert isinstance(nobody, Failed)
    assert nobody.error.tier == source.value


def test_an_archive_that_failed_first_and_answered_last_has_answered(bench: Bench) -> None:
    """Its last word came after the hot store's, which is all that matters; the other way round nothing is known."""
    record = an_order(bench)
    bench.tiers.cache.invalidate([record.order_id])
    grow_old(bench)
    failing = away("cassandra")
    first = bench.query(archive=Script(bench.archive, failing))
    assert [type(a) for a in first.look_up([Lookup(record.order_id), Lookup(NEVER_MADE)])] == [Found, Missing]
    bench.tiers.cache.invalidate([record.order_id, NEVER_MADE])
    last = bench.query(archive=Script(bench.archive, None, failing))
    found, unknown = last.look_up([Lookup(record.order_id), Lookup(NEVER_MADE)])
    assert isinstance(found, Found)
    assert unknown == Failed(failing)


def test_somebody_elses_archived_order_is_missing(bench: Bench) -> None:
    """As if it did not exist."""
    ended = an_archived(bench)
    mine, theirs = bench.query().look_up([Lookup(ended.order_id, merchant_digest(m)) for m in ("m", "n")])
    assert mine == via_archive(ended)
    assert theirs == Missing()


def test_a_reader_of_an_archived_order_finds_what_it_wrote(bench: Bench) -> None:
    """An older record in the cache is passed over, and replaced."""
    record = an_order(bench)
    bench.tiers.hot.change([Change(record.order_id, Status.SUCCESS)], now_us=bench.clock.now_us())
    move(bench, record.order_id)
    query = bench.query()
    first, second = (query.look_up([Lookup(record.order_id, min_version=2)])[0] for _ in range(2))
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert [(a.version, str(a.via)) for a in (first, second)] == [
        (2, "redis; fwd=stale; detail=cassandra"),
        (2, "redis; hit"),
    ]
    assert query.look_up([Lookup(record.order_id, min_version=3)]) == [Pending()]


def test_without_the_cache_the_archive_is_asked_as_well(bench: Bench) -> None:
    """And `Cache-Status` says that the cache was passed by."""
    ended = an_archived(bench)
    bench.cache.error = away("redis")
    assert bench.query().look_up([Lookup(ended.order_id)]) == [via_archive(ended, Forward.BYPASS)]
