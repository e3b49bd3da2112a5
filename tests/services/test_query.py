"""Looking up: from the cache where it can, from the database where it must, and never a lie about either."""

import pytest

from orderctl.errors import TierUnavailable
from orderctl.order import Change, Status
from orderctl.services.command import Stored
from orderctl.services.query import Failed, Found, Lookup, Missing, Pending, Via
from orderctl.stores.base import Ref
from orderctl.stores.record import Record, merchant_digest
from tests.services.tiers import Bench, asking, away

NOBODYS = "0199bd6e-5c00-7abc-8000-0123456789ab"


def an_order(bench: Bench, ref: str = "r") -> Record:
    (answer,) = bench.command().create([asking(ref)])
    assert isinstance(answer, Stored)
    return answer.record


def test_the_cache_answers_without_a_database(bench: Bench) -> None:
    """The bytes as they were stored."""
    record = an_order(bench)
    bench.hot.error = away("mysql")
    assert bench.query().look_up([Lookup(record.order_id)]) == [Found(1, Status.PENDING, record.body, Via.CACHE)]


def test_what_the_cache_lost_the_database_has(bench: Bench) -> None:
    """Every entry may vanish, and nothing is lost."""
    record = an_order(bench)
    bench.tiers.cache.invalidate([record.order_id])
    assert bench.query().look_up([Lookup(record.order_id)]) == [Found(1, Status.PENDING, record.body, Via.HOT)]
    assert bench.counted("loads_total", tier="mysql") == 1


def test_answers_come_in_the_order_asked_and_an_id_is_loaded_once(bench: Bench) -> None:
    """Hits, misses, strangers and doubles in one batch."""
    one, two = an_order(bench, "1"), an_order(bench, "2")
    bench.tiers.cache.invalidate([two.order_id])
    answers = bench.query().look_up([Lookup(i) for i in (two.order_id, NOBODYS, one.order_id, two.order_id)])
    assert [type(a) for a in answers] == [Found, Missing, Found, Found]
    assert answers[0] == answers[3] == Found(1, Status.PENDING, two.body, Via.HOT)
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
    assert (fresh.version, fresh.via) == (2, Via.HOT_STALE)
    (after,) = query.look_up([Lookup(record.order_id)])
    assert isinstance(after, Found)
    assert (after.version, after.via) == (2, Via.CACHE)


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
    assert bench.query().look_up([Lookup(record.order_id)]) == [Found(1, Status.PENDING, record.body, Via.HOT_BYPASS)]


def test_a_database_that_is_away_fails_only_those_who_needed_it(bench: Bench) -> None:
    """And never says that an order does not exist."""
    record = an_order(bench)
    bench.hot.error = away("mysql")
    found, failed = bench.query().look_up([Lookup(record.order_id), Lookup(NOBODYS)])
    assert isinstance(found, Found)
    assert isinstance(failed, Failed)
    assert bench.counted("lookups_total", tier="mysql", outcome="failed") == 1


def test_a_reference_leads_to_its_order(bench: Bench) -> None:
    """The merchant's own only; a database that is away is an error, not a no."""
    record = an_order(bench)
    query = bench.query()
    assert query.resolve([Ref("m", "r"), Ref("n", "r"), Ref("m", "x")]) == [record.order_id, None, None]
    bench.hot.error = away("mysql")
    with pytest.raises(TierUnavailable):
        query.resolve([Ref("m", "r")])
