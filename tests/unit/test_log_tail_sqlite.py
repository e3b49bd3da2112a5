"""What is the embedded tail's own: messages that were removed before it came, its clock, and a log from before the topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.errors import TierUnavailable
from orderctl.stores.log import (
    CHANGES,
    CHECKPOINTS,
    EXPIRED,
    INVALIDATED,
    PARKED,
    Message,
    Outgoing,
    Place,
    Tail,
    Topic,
    topics,
)
from orderctl.stores.sqlite.log import SqliteLogStore, open_embedded_log
from orderctl.stores.tiers import open_tiers

DAY_S = 86_400
PLACE = Place("t", 0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Iterator[SqliteLogStore]:
    with closing(open_embedded_log(None, clock=clock)) as store:
        store.ensure_topics([Topic("t", 2, retention_s=DAY_S), Topic("compacted", 1, compacted=True)])
        yield store


def publish(store: SqliteLogStore, *values: bytes, place: Place = PLACE) -> None:
    store.publish([Outgoing(place, b"k", value) for value in values])


def follow(store: SqliteLogStore, topic: str = "t") -> closing[Tail]:
    tail = store.tail(topic)
    assert tail.poll(10, 0) == []
    return closing(tail)


def values(messages: list[Message]) -> list[bytes]:
    return [message.value for message in messages]


def test_waiting_passes_the_clocks_time(store: SqliteLogStore, clock: ManualClock) -> None:
    """A poll asks nobody but its clock how long it waited."""
    with follow(store) as tail:
        started_s = clock.monotonic_s()
        assert tail.poll(10, 20.0) == []
        assert 20.0 <= clock.monotonic_s() - started_s < 20.1


@pytest.mark.parametrize("count", [1, 0])
def test_messages_that_were_removed_before_they_were_read(
    store: SqliteLogStore, clock: ManualClock, count: int
) -> None:
    """The tail says so, whether any are left behind them or not; then it begins anew at the end."""
    with follow(store) as tail:
        publish(store, b"missed", b"missed too")
        clock.advance(2 * DAY_S)
        publish(store, *[b"new"] * count)
        if not count:
            with store._database.transaction() as transaction:
                transaction.rows(
                    store._sql["purge"], {"topic": "t", "partition_id": 1, "before_ms": 1 << 60, "count": 99}
                )
        with pytest.raises(TierUnavailable, match="removed"):
            tail.poll(10, 0)
        assert tail.poll(10, 0) == []
        publish(store, b"after")
        assert values(tail.poll(10, 0)) == [b"after"]


def test_removed_messages_that_were_read_are_none_of_its_concern(store: SqliteLogStore, clock: ManualClock) -> None:
    """It goes on behind them."""
    with follow(store) as tail:
        publish(store, b"1")
        assert values(tail.poll(10, 0)) == [b"1"]
        clock.advance(2 * DAY_S)
        publish(store, b"2")
        assert values(tail.poll(10, 0)) == [b"2"]


def test_what_compaction_removed_is_not_missed(store: SqliteLogStore) -> None:
    """The newer message of its key comes."""
    with follow(store, "compacted") as tail:
        publish(store, b"1", b"2", b"3", place=Place("compacted", 0))
        assert values(tail.poll(10, 0)) == [b"3"]


def test_a_full_batch_does_not_starve_the_other_partition(store: SqliteLogStore) -> None:
    """Who was served last is served last."""
    with follow(store) as tail:
        publish(store, *[b"flood"] * 4)
        publish(store, b"drop", place=Place("t", 1))
        assert values(tail.poll(2, 0)) == [b"flood"] * 2
        assert values(tail.poll(2, 0)) == [b"drop", b"flood"]


def test_a_closed_store_is_an_error(clock: ManualClock) -> None:
    """It does not look as if nothing had been published."""
    store = open_embedded_log(None, clock=clock)
    store.ensure_topics([Topic("t", 1)])
    tail = store.tail("t")
    tail.poll(1, 0)
    store.close()
    with pytest.raises(TierUnavailable):
        tail.poll(1, 0)
    tail.close()


def test_a_data_directory_of_before_gets_the_topics(tmp_path: Path, clock: ManualClock) -> None:
    """Opened by this version, it has all of them; what was there stays."""
    groups = Config().deployment.groups
    with closing(open_embedded_log(tmp_path / "log.db", clock=clock)) as before:
        before.ensure_topics([Topic(CHANGES, groups), Topic(PARKED, groups), Topic(CHECKPOINTS, 1, compacted=True)])
        publish(before, b"kept", place=Place(CHANGES, 3))
    with closing(open_tiers(Config(), tmp_path, clock)) as tiers:
        assert [len(tiers.log.ends(each.name)) for each in topics(groups=groups, shards=1)] == [groups] * 4 + [1]
        assert tiers.log.ends(EXPIRED) == tiers.log.ends(INVALIDATED) == [(0, 0)] * groups
        assert values(tiers.log.read(Place(CHANGES, 3), 0, 10)) == [b"kept"]
