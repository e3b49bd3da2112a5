"""Creating and changing: what the database decides, what the cache hears, and what is said when a tier fails."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from orderctl import body
from orderctl.errors import OutcomeUnknown, TierUnavailable
from orderctl.ids import partition_of
from orderctl.order import Change, Order, Refusal, Refused, Status
from orderctl.services.answers import Stored
from orderctl.services.caching import record_ttl_ms
from orderctl.services.command import CommandService
from orderctl.stores.cache import CacheStore, Fill, Tentative
from orderctl.stores.hot import ReferenceReused
from orderctl.stores.record import Entry, Kind, Record
from tests.services.tiers import Bench, Failing, LosesTheReply, asking, away

READER = b"r" * 16


def stored(service: CommandService, ref: str = "r") -> Record:
    """A new order's record."""
    (answer,) = service.create([asking(ref)])
    assert isinstance(answer, Stored)
    return answer.record


def cached(bench: Bench, order_id: str) -> Entry | None:
    return bench.tiers.cache.get([order_id])[0]


def kind_of(bench: Bench, order_id: str) -> Kind | None:
    entry = cached(bench, order_id)
    return entry.kind if entry else None


def test_a_created_order_is_in_both_tiers_and_its_answer_is_the_cached_bytes(bench: Bench) -> None:
    """One rendering serves the answer, the cache, and every look-up after it."""
    record = stored(bench.command())
    entry = cached(bench, record.order_id)
    assert entry is not None
    assert (entry.kind, entry.version, entry.body) == (Kind.RECORD, 1, record.body)
    (order,) = bench.tiers.hot.load([record.order_id])
    assert order is not None
    assert body.render(order) == record.body


def test_asking_again_is_a_replay_and_asking_for_something_else_is_not(bench: Bench) -> None:
    """Within a batch as well as after it, and by another process."""
    first, second, third = bench.command().create([asking(), asking(), asking(amount=2)])
    (again,) = bench.command().create([asking()])
    assert isinstance(first, Stored)
    assert second == again == Stored(first.record, replayed=True)
    assert third == ReferenceReused(first.record.order_id)
    assert bench.counted("creates_total", outcome="replayed") == 2
    assert bench.counted("creates_total", outcome="reference_reused") == 1


def test_an_id_made_for_a_replay_leaves_nothing_in_the_cache(bench: Bench) -> None:
    """It never became an order, so nobody may find it."""
    service = bench.command()
    stored(service)
    before = bench.cache.calls.count("invalidate")
    service.create([asking()])
    assert bench.cache.calls.count("invalidate") == before + 1


def test_a_tentative_answered_after_commit_was_sent_is_never_promoted(bench: Bench) -> None:
    """It may land behind newer records, so it stays tentative and expires."""
    service = bench.command()
    bench.inline.late = True
    record = stored(service)
    bench.inline.catch_up()
    assert kind_of(bench, record.order_id) is Kind.TENTATIVE
    bench.clock.advance(5.1)
    assert cached(bench, record.order_id) is None


def test_a_wrong_guess_of_the_epoch_leaves_no_wrong_version(bench: Bench) -> None:
    """The database gives the version; a tentative record that named another is taken away, and the answer names the right one."""
    service = bench.command()
    service.epoch = 3
    record = stored(service)
    assert record.version == 1
    assert body.parse(record.body).version == 1
    assert cached(bench, record.order_id) is None


def test_a_wrong_guess_of_the_epoch_is_made_once(bench: Bench) -> None:
    """Another shard may have another epoch than the one that was heard of: the next order of the partition is cached at once."""
    service = bench.command()
    service.epoch = 3
    merchant, ref = "m", "r"
    partition = partition_of(merchant, ref)
    refs = (f"r{number}" for number in count() if partition_of(merchant, f"r{number}") == partition)
    first, second = (stored(service, one) for one in (ref, next(refs)))
    assert cached(bench, first.order_id) is None
    assert second.version == 1
    assert kind_of(bench, second.order_id) is Kind.RECORD


def test_a_change_is_in_the_cache_when_it_is_answered(bench: Bench) -> None:
    """Readers need not wait for the log."""
    service = bench.command()
    record = stored(service)
    (changed,) = service.change([Change(record.order_id, Status.PROCESSING, "at the bank")])
    assert isinstance(changed, Record)
    entry = cached(bench, record.order_id)
    assert entry is not None
    assert (entry.version, entry.body) == (2, changed.body)
    assert body.parse(changed.body).status_reason == "at the bank"


@pytest.mark.parametrize("again", [Status.PROCESSING, Status.PENDING])
def test_asking_again_mends_a_cache_that_was_never_told(bench: Bench, again: Status) -> None:
    """The process that made the change died before it applied it; the next one that sees the order does, whatever it answers."""
    service = bench.command()
    order_id = stored(service).order_id
    bench.tiers.hot.change([Change(order_id, Status.PROCESSING)], now_us=bench.clock.now_us())
    service.change([Change(order_id, again)])
    entry = cached(bench, order_id)
    assert entry is not None
    assert entry.version == 2


def test_a_change_whose_outcome_is_unknown_leaves_nothing_in_the_cache(bench: Bench) -> None:
    """Readers then ask the database, which knows."""
    order_id = stored(bench.command()).order_id
    with pytest.raises(OutcomeUnknown):
        bench.command(LosesTheReply(bench.tiers.hot)).change([Change(order_id, Status.FAILED)])
    assert cached(bench, order_id) is None


def test_a_late_tentative_counts_from_when_its_request_began(bench: Bench) -> None:
    """However long it waited for a thread."""
    service = bench.command()
    bench.inline.late = True
    record = stored(service)
    bench.clock.advance(5.1)
    bench.inline.catch_up()
    assert cached(bench, record.order_id) is None


def test_changes_of_a_batch_act_one_after_another(bench: Bench) -> None:
    """Each on what the one before it left, each with a version of its own."""
    service = bench.command()
    order_id = stored(service).order_id
    moves = [Change(order_id, s) for s in (Status.PROCESSING, Status.SUCCESS, Status.SUCCESS, Status.FAILED)]
    first, second, same, refused = service.change([*moves])
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (first.version, second.version, same) == (2, 3, second)
    assert isinstance(refused, Refused)
    assert refused.why is Refusal.ILLEGAL_TRANSITION
    entry = cached(bench, order_id)
    assert entry is not None
    assert entry.version == 3


def test_an_unknown_order_is_not_found(bench: Bench) -> None:
    """And is counted as that."""
    (answer,) = bench.command().change([Change("0199bd6e-5c00-7abc-8000-0123456789ab", Status.FAILED)])
    assert answer == Refused(Refusal.NOT_FOUND)
    assert bench.counted("changes_total", outcome="not_found") == 1


def test_creates_and_changes_go_on_without_the_cache(bench: Bench) -> None:
    """It holds no truth; its failures are counted, and after one it is left alone for a second."""
    service = bench.command()
    bench.cache.error = away("redis")
    record = stored(service)
    (changed,) = service.change([Change(record.order_id, Status.FAILED)])
    assert isinstance(changed, Record)
    assert len(bench.cache.calls) == 1
    assert bench.counted("tier_errors_total", tier="redis", kind="TierUnavailable") == 1
    bench.clock.advance(1.1)
    bench.cache.error = None
    assert kind_of(bench, stored(service, "s").order_id) is Kind.RECORD


def test_a_database_that_is_away_means_nothing_was_written(bench: Bench) -> None:
    """The error goes up, and the tentative record is gone within seconds."""
    service = bench.command()
    bench.hot.error = away("mysql")
    with pytest.raises(TierUnavailable):
        service.create([asking()])
    with pytest.raises(TierUnavailable):
        service.change([Change("0199bd6e-5c00-7abc-8000-0123456789ab", Status.FAILED)])
    assert bench.counted("creates_total", outcome="failed") == bench.counted("changes_total", outcome="failed") == 1


def test_a_lost_reply_is_unknown_and_asking_again_finds_out(bench: Bench) -> None:
    """Never failed, never a second order; what was written under doubt is not promoted."""
    with pytest.raises(OutcomeUnknown):
        bench.command(LosesTheReply(bench.tiers.hot)).create([asking()])
    (again,) = bench.command().create([asking()])
    assert isinstance(again, Stored)
    assert again.replayed
    assert kind_of(bench, again.record.order_id) is Kind.TENTATIVE
    assert bench.counted("creates_total", outcome="unknown") == 1


def test_a_record_outlives_its_deadline(bench: Bench) -> None:
    """By the record's time to live; a final one has no deadline to wait for."""
    record = stored(bench.command())
    (order,) = bench.tiers.hot.load([record.order_id])
    assert isinstance(order, Order)
    now_us = bench.clock.now_us()
    assert record_ttl_ms(order, now_us, 1000) == 900_000 + 1000
    assert record_ttl_ms(order, order.deadline_at + 5, 1000) == 1000
    bench.clock.advance(900 + 3599)
    assert kind_of(bench, record.order_id) is Kind.RECORD
    bench.clock.advance(2)
    assert cached(bench, record.order_id) is None


class LeasesFirst:
    """A cache in which a reader has a lease on every order just before its creator comes."""

    def __init__(self, cache: CacheStore) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def tentative(self, tentatives: Sequence[Tentative]) -> list[bool]:
        self._cache.lookup([one.record.order_id for one in tentatives], tokens=[READER] * len(tentatives))
        return self._cache.tentative(tentatives)


def test_a_reader_who_looked_before_the_creation_cannot_say_no_after_it(bench: Bench) -> None:
    """What he found, nothing, is older than the order that its creator was told of."""
    bench.cache = Failing(LeasesFirst(bench.tiers.cache))
    record = stored(bench.command())
    assert kind_of(bench, record.order_id) is Kind.LEASE
    assert bench.tiers.cache.fill([Fill(record.order_id, READER, None, 2_000)]) == [False]
    assert cached(bench, record.order_id) is None


def test_a_cache_that_has_not_answered_is_not_waited_for(bench: Bench) -> None:
    """Neither promoted nor applied: each would cost its time-out once more."""
    bench.inline.late = True
    record = stored(bench.command())
    assert bench.cache.calls == []
    bench.inline.late = False
    bench.inline.catch_up()
    assert kind_of(bench, record.order_id) is Kind.TENTATIVE
