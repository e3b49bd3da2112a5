"""The log on a broker of our own that falls silent, and a member's process that does: nothing is lost, and order is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from orderctl.clock import SystemClock
from orderctl.errors import TierError, TierUnavailable
from orderctl.stack.layout import Wish
from orderctl.stores.kafka import KafkaLogStore
from orderctl.stores.kafka_driver import QUEUE_KIB, KafkaCluster, client_config
from orderctl.stores.log import Fenced, Member, Message, Outgoing, Place, Tail, Topic
from tests.acceptance.server import until
from tests.contract.hot_harness import at_once
from tests.contract.log_harness import (
    PATIENCE_S,
    behind,
    first_occurrences,
    offsets_by_partition,
    poll_until,
    read_all,
    values,
)
from tests.stack import TOP, RunningStack, SharedStack, needs

pytestmark = needs()

PARTITIONS = 3
TRIES = 5
"""Of making a topic, each of which may wait for a quarter of a minute."""
PORT_OFFSETS = (1500, 1600, 1700)
"""Where no stack that tests share looks for ports."""
SILENCE_S = 6.0
"""How long the broker says nothing, and how long a tail puts up with that."""
ANSWER_S = 4.0
"""What the store waits for an answer."""
SESSION_S = 45.0
"""Of members whose process goes on: the broker's silence puts none of them out."""
GIVEN_UP_S = 30.0
"""Nobody waits for longer, however busy the machine is, and however long the broker says nothing."""
BATCH = 30

MEMBER = """
import sys
from orderctl.clock import SystemClock
from orderctl.stores.kafka import KafkaLogStore
from orderctl.stores.kafka_driver import KafkaCluster
from orderctl.stores.log import Fenced
broker, topic = sys.argv[1:]
store = KafkaLogStore(KafkaCluster(brokers=(broker,)), clock=SystemClock())
member = store.join(topic, [topic])
batch = []
while not batch:
    batch = member.poll(5, 1.0)
print("reading", flush=True)
sys.stdin.readline()
try:
    member.commit({batch[0].place: batch[-1].offset + 1})
except Fenced:
    print("refused", flush=True)
member.close()
store.close()
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStack]:
    """A broker that nobody else uses."""
    shared = SharedStack(None, PORT_OFFSETS)
    shared.begin(Wish(parts=("kafka",)))
    try:
        yield shared.get()
    finally:
        shared.end()


@pytest.fixture
def store(running: RunningStack) -> Iterator[KafkaLogStore]:
    """A store that gives up quickly."""
    cluster = KafkaCluster(
        brokers=running.config.kafka.brokers, publish_s=ANSWER_S, answer_s=ANSWER_S, session_s=SESSION_S
    )
    store = KafkaLogStore(cluster, clock=SystemClock())
    yield store
    store.close()


@pytest.fixture
def topic(store: KafkaLogStore) -> str:
    """A topic of the test's own. A broker that was silent takes its time until its controller knows it again."""
    name = f"orders.test-{uuid4().hex[:12]}"
    for _ in range(TRIES):
        with suppress(TierUnavailable):
            store.ensure_topics([Topic(name, PARTITIONS)])
            return name
    pytest.fail("the broker makes no topics")


@contextmanager
def silent(pid: int) -> Iterator[None]:
    """The process is there and says nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def batch_of(topic: str, start: int) -> list[Outgoing]:
    """Numbered messages, over all partitions in turn."""
    return [
        Outgoing(Place(topic, number % PARTITIONS), b"k", str(number).encode())
        for number in range(start, start + BATCH)
    ]


def read_whole(store: KafkaLogStore, topic: str) -> dict[int, list[int]]:
    """The numbers in each partition."""
    return {
        number: [int(value) for value in values(store.read(Place(topic, number), 0, 100_000))]
        for number in range(PARTITIONS)
    }


def publish_surely(
    store: KafkaLogStore, messages: list[Outgoing], failures: list[TierUnavailable] | None = None
) -> None:
    """Publish again until it is acknowledged; notes each time that it was not."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            store.publish(messages)
        except TierUnavailable as failure:
            if failures is not None:
                failures.append(failure)
            assert time.monotonic() < until_s
        else:
            return


def test_a_silence_in_the_middle_of_publishing(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """Whoever publishes is told meanwhile; afterwards all is there, first occurrences in order, without a hand's turn."""
    begun, done = Event(), Event()
    failures: list[TierUnavailable] = []
    starts: list[int] = []

    def publish() -> None:
        start = 0
        while not done.is_set() or start % (10 * BATCH):
            publish_surely(store, batch_of(topic, start), failures)
            starts.append(start)
            start += BATCH
            if start >= 20 * BATCH:
                begun.set()

    def hurt() -> None:
        assert begun.wait(PATIENCE_S)
        with silent(running.pid("kafka")):
            until(lambda: len(failures) >= 2, seconds=PATIENCE_S, what="whoever publishes is told, twice")
        done.set()

    at_once([publish, hurt])
    total = len(starts) * BATCH
    for number, found in read_whole(store, topic).items():
        assert first_occurrences(found) == list(range(number, total, PARTITIONS))


def test_two_publishers_through_a_silence(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """One store, two threads, a partition each: when one call gives up, the other's part is not torn."""
    rounds = 40

    def publish(partition: int) -> None:
        for start in range(0, rounds * BATCH, BATCH):
            numbers = range(start, start + BATCH)
            publish_surely(store, [Outgoing(Place(topic, partition), b"k", str(number).encode()) for number in numbers])

    def hurt() -> None:
        poll_s = time.monotonic() + PATIENCE_S
        while store.ends(topic)[0][1] < 5 * BATCH:
            assert time.monotonic() < poll_s
        with silent(running.pid("kafka")):
            Event().wait(SILENCE_S / 2)

    calls: list[Callable[[], None]] = [partial(publish, 0), partial(publish, 1), hurt]
    at_once(calls)
    found = read_whole(store, topic)
    assert [first_occurrences(found[number]) for number in (0, 1)] == [list(range(rounds * BATCH))] * 2


def test_a_member_says_that_nothing_can_come(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """It does not look as if the topic were empty, nor does anybody wait much longer than he said; then it goes on."""
    member = store.join(topic, [topic])
    publish_surely(store, batch_of(topic, 0))
    first = read_all(BATCH, member)
    with silent(running.pid("kafka")):
        with pytest.raises(TierUnavailable):
            poll_until(lambda _: False, member)
        with pytest.raises(TierUnavailable):
            store.ping()
        with pytest.raises(TierUnavailable):
            store.ends(topic)
    publish_surely(store, batch_of(topic, BATCH))
    seen = first + patiently(member, 2 * BATCH, first)
    assert offsets_by_partition(seen).keys() == set(range(PARTITIONS))
    for offsets in offsets_by_partition(seen).values():
        assert first_occurrences(offsets) == list(range(len(set(offsets))))
    member.close()


def patiently(member: Member, count: int, seen: list[Message]) -> list[Message]:
    """Read on, whatever the broker says meanwhile."""
    until_s = time.monotonic() + PATIENCE_S
    read: list[Message] = []
    while len({(message.place, message.offset) for message in seen + read}) < count:
        assert time.monotonic() < until_s
        try:
            read += member.poll(100, 0.2)
        except TierUnavailable:
            continue
    return read


def test_closing_while_the_broker_is_silent(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """It takes seconds, not for ever."""
    member = store.join(topic, [topic])
    poll_until(lambda _: len(member.assigned()) == PARTITIONS, member)
    with silent(running.pid("kafka")):
        started_s = time.monotonic()
        member.close()
        store.close()
        assert time.monotonic() - started_s < GIVEN_UP_S


def test_a_member_whose_process_is_stopped(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """It is replaced when its session is over, its batch comes again, and what it commits when it wakes up is refused."""
    publish_surely(store, batch_of(topic, 0))
    command = [sys.executable, "-c", MEMBER, running.config.kafka.brokers[0], topic]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TOP) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        member = store.join(topic, [topic])
        with silent(process.pid):
            commit_surely(member, read_all(BATCH, member))
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "refused\n"
        assert process.wait(PATIENCE_S) == 0
    assert store.committed(topic, topic) == [BATCH // PARTITIONS] * PARTITIONS
    member.close()


def test_a_commit_that_is_not_answered(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """Its caller hears so in good time, and again from the next one; the work goes on when the broker does."""
    publish_surely(store, batch_of(topic, 0))
    member = store.join(topic, [topic])
    read = read_all(BATCH, member)
    with silent(running.pid("kafka")):
        for _ in range(2):
            started_s = time.monotonic()
            with pytest.raises(TierUnavailable):
                member.commit(behind(read))
            assert time.monotonic() - started_s < GIVEN_UP_S
    commit_surely(member, read)
    assert store.committed(topic, topic) == [BATCH // PARTITIONS] * PARTITIONS
    member.close()


def commit_surely(member: Member, read: list[Message]) -> None:
    """Commit again until it is done, as a consumer does; who was put out meanwhile reads again first."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        assert time.monotonic() < until_s
        try:
            member.commit(behind(read))
        except TierUnavailable:
            continue
        except Fenced:
            read = read_all(BATCH, member)
            continue
        return


def test_a_member_whose_driver_has_given_up(store: KafkaLogStore, topic: str) -> None:
    """One that is in no group, and does nothing about it, is replaced by another that joins."""
    member = store.join(topic, [topic])
    poll_until(lambda _: len(member.assigned()) == PARTITIONS, member)
    assert member._consumer is not None
    member._consumer.unsubscribe()
    poll_until(lambda _: not member.assigned(), member)
    publish_surely(store, batch_of(topic, 0))
    assert len(read_all(BATCH, member)) == BATCH
    member.close()


def test_more_than_the_queue_holds(store: KafkaLogStore, topic: str) -> None:
    """A batch that does not fit into the producer's memory waits for room; no part of it is dropped."""
    value = os.urandom(1 << 20)
    count = 2 * QUEUE_KIB // 1024
    patient = KafkaLogStore(KafkaCluster(brokers=store._cluster.brokers, publish_s=PATIENCE_S), clock=SystemClock())
    patient.publish([Outgoing(Place(topic, 0), str(number).encode(), value) for number in range(count)])
    assert [message.key for message in patient.read(Place(topic, 0), 0, count)] == [
        str(number).encode() for number in range(count)
    ]
    patient.close()


def test_a_tail_says_that_it_may_miss_something(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """Though nothing is published, and about when it promised; then it follows the end as it is by then."""
    tail = store.tail(topic, silence_s=SILENCE_S)
    assert tail.poll(10, 0) == []
    publish_surely(store, batch_of(topic, 0))
    read_all(BATCH, tail)
    with silent(running.pid("kafka")):
        started_s = time.monotonic()
        with pytest.raises(TierUnavailable):
            poll_until(lambda _: False, tail)
        assert time.monotonic() - started_s < GIVEN_UP_S
        with pytest.raises(TierUnavailable):
            tail.poll(10, 0)
    publish_surely(store, batch_of(topic, BATCH))
    follow_again(tail)
    publish_surely(store, batch_of(topic, 2 * BATCH))
    assert sorted(map(int, values(read_all(BATCH, tail)))) == list(range(2 * BATCH, 3 * BATCH))
    tail.close()


def follow_again(tail: Tail) -> None:
    """Poll until the end was found, as a first poll finds it."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        assert time.monotonic() < until_s
        try:
            assert tail.poll(1, 0) == []
        except TierUnavailable:
            continue
        return


def test_a_tail_survives_a_short_silence(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """Shorter than it may be: nothing is missed, and nobody is alarmed."""
    tail = store.tail(topic, silence_s=5 * SILENCE_S)
    assert tail.poll(10, 0) == []
    with silent(running.pid("kafka")):
        assert tail.poll(10, SILENCE_S / 2) == []
    publish_surely(store, batch_of(topic, 0))
    assert sorted(set(map(int, values(read_all(BATCH, tail))))) == list(range(BATCH))
    tail.close()


def test_a_tail_of_a_topic_that_is_made_anew(store: KafkaLogStore, topic: str) -> None:
    """Its offsets begin again, so that what comes is not behind what was: that is said."""
    tail = store.tail(topic, silence_s=SILENCE_S)
    assert tail.poll(10, 0) == []
    publish_surely(store, batch_of(topic, 0))
    read_all(BATCH, tail)
    with AdminClient(client_config(store._cluster)) as admin:
        admin.delete_topics([topic])[topic].result(PATIENCE_S)
        again = NewTopic(topic, PARTITIONS, 1)
        until_s = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < until_s
            try:
                admin.create_topics([again])[topic].result(PATIENCE_S)
            except KafkaException:
                Event().wait(0.05)
            else:
                break
    with pytest.raises(TierError):
        poll_until(lambda _: False, tail)
    tail.close()


def test_closing_a_tail_while_the_broker_is_silent(running: RunningStack, store: KafkaLogStore, topic: str) -> None:
    """It takes no time worth mentioning."""
    tail = store.tail(topic)
    assert tail.poll(10, 0) == []
    with silent(running.pid("kafka")):
        started_s = time.monotonic()
        tail.close()
        assert time.monotonic() - started_s < GIVEN_UP_S
