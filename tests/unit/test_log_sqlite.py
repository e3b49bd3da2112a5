"""What is the embedded log's own: its clocks, what it keeps and removes, and how much memory a backlog takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.clock import ManualClock
from orderctl.contracts import Query
from orderctl.errors import DataDirError, TierRejected, TierUnavailable
from orderctl.stores.log import Fenced, Member, Message, Outgoing, Place, Topic
from orderctl.stores.sqlite.database import Database
from orderctl.stores.sqlite.log import PURGE_COUNT, SqliteLogStore, open_embedded_log
from orderctl.stores.sqlite.schema import LOG

DAY_S = 86_400
TOPIC = Topic("t", 2, retention_s=DAY_S)
PLACE = Place("t", 0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Iterator[SqliteLogStore]:
    with closing(open_embedded_log(None, clock=clock)) as store:
        store.ensure_topics([TOPIC, Topic("compacted", 1, compacted=True)])
        yield store


def publish(store: SqliteLogStore, count: int = 1, *, place: Place = PLACE, value: bytes = b"v") -> None:
    store.publish([Outgoing(place, b"k", value)] * count)


def read_and_commit(member: Member) -> list[Message]:
    batch = member.poll(10_000, 0)
    member.commit({message.place: message.offset + 1 for message in batch})
    return batch


def test_waiting_passes_the_clocks_time(store: SqliteLogStore, clock: ManualClock) -> None:
    """A poll asks nobody but its clock how long it waited, and keeps the membership alive meanwhile."""
    with closing(store.join("g", ["t"])) as member, closing(store.join("g", ["t"])) as other:
        started_s = clock.monotonic_s()
        assert member.poll(10, 20.0) == []
        assert 20.0 <= clock.monotonic_s() - started_s < 20.1
        assert len(member.assigned()) == 2
        other.poll(10, 0)
        member.poll(10, 0)
        assert (len(member.assigned()), len(other.assigned())) == (1, 1)


def test_a_member_that_has_not_heard_of_a_rebalance_is_fenced(store: SqliteLogStore) -> None:
    """It may have lost the partition, so what it commits before it polls again is refused, and comes again."""
    publish(store, 5)
    publish(store, 5, place=Place("t", 1))
    with closing(store.join("g", ["t"])) as member, closing(store.join("g", ["t"])) as other:
        batch = member.poll(10, 0)
        other.poll(0, 0)
        for place in (PLACE, Place("t", 1)):
            with pytest.raises(Fenced):
                member.commit({place: 5})
        assert store.committed("g", "t") == [None, None]
        again = [*member.poll(10, 0), *other.poll(10, 0)]
        assert sorted(again, key=lambda message: message.place) == batch


def test_what_a_member_keeps_it_reads_on(store: SqliteLogStore) -> None:
    """A rebalance does not bring again what it has read of a partition that stays its own, and it can commit that."""
    publish(store, 5)
    publish(store, 5, place=Place("t", 1))
    with closing(store.join("g", ["t"])) as member, closing(store.join("g", ["t"])) as other:
        member.poll(10, 0)
        other.poll(0, 0)
        assert member.poll(10, 0) + member.poll(10, 0) == []
        [kept] = member.assigned()
        member.commit({kept: 5})
        assert [message.place for message in other.poll(10, 0)] == [*other.assigned()] * 5


@pytest.mark.parametrize(("silent_s", "stays"), [(5.99, True), (6.0, False)])
def test_where_a_session_ends(store: SqliteLogStore, clock: ManualClock, silent_s: float, stays: bool) -> None:
    """It is over when its time has passed in full; a commit counts as a sign of life."""
    with closing(store.join("g", ["t"])) as silent, closing(store.join("g", ["t"])) as other:
        for member in (silent, other, silent):
            member.poll(1, 0)
        publish(store, place=next(iter(silent.assigned())))
        clock.advance(1)
        read_and_commit(silent)
        clock.advance(silent_s)
        other.poll(1, 0)
        assert (len(other.assigned()) == 1) == stays


def test_the_wall_clock_has_no_say_in_sessions(store: SqliteLogStore, clock: ManualClock) -> None:
    """An administrator who sets it puts nobody out."""
    with closing(store.join("g", ["t"])) as one, closing(store.join("g", ["t"])) as two:
        for member in (one, two, one):
            member.poll(1, 0)
        clock.set_wall(clock.now_us() + DAY_S * 1_000_000)
        clock.advance(1)
        two.poll(1, 0)
        assert len(two.assigned()) == 1


def test_members_of_another_run_of_the_machine_are_out(tmp_path: Path, clock: ManualClock) -> None:
    """The clock began again, so that their sessions seem to lie ahead."""
    clock.advance(1000)
    before = open_embedded_log(tmp_path / "log.db", clock=clock)
    before.ensure_topics([TOPIC])
    before.join("g", ["t"]).poll(1, 0)
    before.close()
    after = open_embedded_log(tmp_path / "log.db", clock=ManualClock())
    with closing(after), closing(after.join("g", ["t"])) as member:
        member.poll(1, 0)
        assert len(member.assigned()) == 2


def test_times_do_not_fall(store: SqliteLogStore, clock: ManualClock) -> None:
    """A clock that was set back does not break the search for a time."""
    publish(store)
    first_ms = clock.now_us() // 1000
    clock.set_wall(clock.now_us() - 3_600_000_000)
    publish(store)
    clock.set_wall(clock.now_us() + 7_200_000_000)
    publish(store)
    assert [message.ts_ms - first_ms for message in store.read(PLACE, 0, 9)] == [0, 0, 3_600_000]
    assert [store.offset_at(PLACE, first_ms + more) for more in (0, 1, 3_600_000, 3_600_001)] == [0, 2, 2, 3]


def test_old_messages_are_removed_when_new_ones_come(store: SqliteLogStore, clock: ManualClock) -> None:
    """A little more than was published, so that a call is short and the log does not fall behind; offsets go on."""
    publish(store, 100)
    clock.advance(DAY_S + 1)
    publish(store)
    assert store.ends("t")[0] == (PURGE_COUNT + 2, 101)
    publish(store, 10)
    assert store.ends("t")[0] == (2 * PURGE_COUNT + 22, 111)
    for _ in range(5):
        publish(store)
    assert store.ends("t")[0] == (100, 116)
    assert store.offset_at(PLACE, 0) == 100


def test_retention_counts_in_full(store: SqliteLogStore, clock: ManualClock) -> None:
    """A message is kept until it is older than that."""
    publish(store)
    clock.advance(DAY_S)
    publish(store)
    assert store.ends("t")[0] == (0, 2)
    clock.advance(0.001)
    publish(store)
    assert store.ends("t")[0] == (1, 3)


def test_what_a_group_has_still_to_read_is_kept(store: SqliteLogStore, clock: ManualClock) -> None:
    """However old it is, for every group that ever committed in the topic, be it in another partition."""
    publish(store, 10)
    publish(store, 10, place=Place("t", 1))
    for name, offsets in [("far", {PLACE: 9}), ("behind", {PLACE: 4}), ("elsewhere", {Place("t", 1): 10})]:
        with closing(store.join(name, ["t"])) as member:
            member.poll(100, 0)
            member.commit(offsets)
    clock.advance(DAY_S + 1)
    publish(store)
    assert store.ends("t")[0] == (0, 11)
    with closing(store.join("elsewhere", ["t"])) as member:
        member.poll(100, 0)
        member.commit({PLACE: 10})
    publish(store)
    assert store.ends("t")[0] == (4, 12)


def test_a_compacted_topic_does_not_age(store: SqliteLogStore, clock: ManualClock) -> None:
    """The last message of a key is kept for ever, and is all that is kept of it."""
    place = Place("compacted", 0)
    publish(store, 500, place=place)
    clock.advance(100 * DAY_S)
    store.publish([Outgoing(place, b"other", b"v")])
    assert [message.offset for message in store.read(place, 0, 1000)] == [499, 500]


def test_a_commit_beyond_the_end_is_refused(store: SqliteLogStore) -> None:
    """It would pass over messages that are still to come."""
    publish(store, 3)
    with closing(store.join("g", ["t"])) as member:
        member.poll(10, 0)
        for offset in (4, -1):
            with pytest.raises(TierRejected, match=f"no offset {offset}"):
                member.commit({Place("t", 1): 0, PLACE: offset})
        assert store.committed("g", "t") == [None, None]
        member.commit({PLACE: 3})


def test_a_backlog_takes_no_memory(tmp_path: Path, clock: ManualClock) -> None:
    """50 000 messages are read in batches, and no more than a batch is held."""
    with closing(open_embedded_log(tmp_path / "log.db", clock=clock)) as store:
        store.ensure_topics([TOPIC])
        for _ in range(25):
            publish(store, 2000, value=bytes(400))
        with closing(store.join("g", ["t"])) as member:
            batch, read = member.poll(500, 0), 0
            tracemalloc.start()
            try:
                while batch:
                    read += len(batch)
                    member.commit({PLACE: batch[-1].offset + 1})
                    batch = member.poll(500, 0)
                assert tracemalloc.get_traced_memory()[1] < 2_000_000
            finally:
                tracemalloc.stop()
        assert (read, store.committed("g", "t")) == (50_000, [50_000, None])


def test_what_is_closed_is_unavailable(tmp_path: Path, clock: ManualClock) -> None:
    """Closing twice is harmless, and so is closing a member after its store; a call afterwards is told so."""
    store = open_embedded_log(tmp_path / "log.db", clock=clock)
    store.ensure_topics([TOPIC])
    member = store.join("g", ["t"])
    member.poll(1, 0)
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [store.ping, lambda: publish(store), lambda: member.poll(1, 0)]
    for call in calls:
        with pytest.raises(TierUnavailable, match="closed"):
            call()
    member.close()


def test_a_newer_file_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    """As every embedded database."""
    newer = LOG.version + 1
    with closing(Database(tmp_path / "new.db", LOG)) as database, database.transaction() as transaction:
        transaction.rows(Query(f"PRAGMA user_version = {newer}", "As a later orderctl does."))
    with pytest.raises(DataDirError, match=f"schema {newer}"):
        open_embedded_log(tmp_path / "new.db", clock=clock)
