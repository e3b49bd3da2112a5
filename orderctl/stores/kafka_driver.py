"""The one place that knows confluent-kafka: how its clients are set up, what its errors mean, and what a message is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as DriverMessage
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import OrderctlError, TierError, TierRejected, TierUnavailable
from orderctl.stores.log import Fenced, Message, Place

TIER: Final = "log"
MESSAGE_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of one message with its key and headers. A record with its order's two images is a few KiB."""
QUEUE_KIB: Final = 16 * 1024
FETCH_BYTES: Final = 2 * 1024 * 1024
"""As it is sent, which is compressed: what a fetch brings is several times that, and comes on top of what is queued."""
PARTITION_BYTES: Final = 128 * 1024
"""Of a partition's in one fetch, so that 16 partitions with backlogs are served by each; a larger message comes all the same."""
"""What each client keeps in memory, read ahead or to be sent."""
LINGER_MS: Final = 20
"""Messages wait for others of their partition until their caller has handed over all and flushes, which ends the waiting: a
broker's work is by the request, and a request carries one partition's."""
SLICE_S: Final = 0.3
"""`consume` and `list_topics` hold signals until they return, so that none of them waits for longer at a time."""

READER_GROUP: Final = "orderctl-reader"
"""The driver wants a name. Nobody joins under it and nothing is committed."""
AGAIN_S: Final = 0.05
"""How often a question is put again that was answered at once, and by nothing."""

Result = TypeVar("Result")
Config = dict[str, Any]

# By the names that the driver gives to its codes; those with a line before them are its own, the others the broker's.
_FENCED: Final = frozenset({
    *("FENCED_INSTANCE_ID", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS"),
    *("_ASSIGNMENT_LOST", "_FENCED", "_FATAL"),
})  # fmt: skip
_REJECTED: Final = frozenset({
    *("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "TOPIC_EXCEPTION", "INVALID_PARTITIONS"),
    *("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG", "INVALID_RECORD", "INVALID_CONFIG"),
    *("POLICY_VIOLATION", "INVALID_GROUP_ID", "INVALID_REPLICATION_FACTOR", "UNSUPPORTED_VERSION", "_INVALID_ARG"),
    *("INCONSISTENT_GROUP_PROTOCOL", "INVALID_SESSION_TIMEOUT"),
})  # fmt: skip
_PASSING: Final = frozenset({
    *("_TIMED_OUT", "_TRANSPORT", "_WAIT_COORD", "_ALL_BROKERS_DOWN", "NETWORK_EXCEPTION", "REQUEST_TIMED_OUT"),
    *("COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "NOT_CONTROLLER"),
    *("LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION"),
})  # fmt: skip
_HINTS: Final = {
    "UNKNOWN_TOPIC_OR_PART": "run orderctl migrate",
    "_UNKNOWN_TOPIC": "run orderctl migrate",
    "INVALID_SESSION_TIMEOUT": "the brokers' group.min.session.timeout.ms is longer than the session",
}


class KafkaCluster(Struct, frozen=True, kw_only=True):
    """The brokers to begin with, as host:port, and how long things may take there. Times are in seconds.

    Topics that are made get `replicas` copies, or as many as there are brokers.

    A question is answered within `answer_s`, a batch acknowledged within `publish_s`. A process that says nothing for
    `session_s` is out of its groups, and so is a member that does not poll for `hang_s`, which is never less.
    """

    brokers: tuple[str, ...]
    replicas: int = 3
    answer_s: float = 5.0
    publish_s: float = 10.0
    session_s: float = 6.0
    hang_s: float = 60.0


def client_config(cluster: KafkaCluster) -> Config:
    """What every client has. Its log is silent: what it would say is raised, in our words, where it matters."""
    return {
        "bootstrap.servers": ",".join(cluster.brokers),
        "client.id": "orderctl",
        "log_level": 0,
        "enable.metrics.push": False,
        "socket.timeout.ms": _ms(cluster.answer_s),
        "socket.connection.setup.timeout.ms": max(1_000, _ms(cluster.answer_s)),
        "socket.keepalive.enable": True,
        "socket.nagle.disable": True,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1_000,
        "message.max.bytes": MESSAGE_BYTES_MAX,
    }


def producer_config(cluster: KafkaCluster) -> Config:
    """A producer that gives up nothing by itself: when to give up is its caller's to say."""
    return client_config(cluster) | {
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "request.timeout.ms": _ms(cluster.answer_s),
        "queue.buffering.max.kbytes": QUEUE_KIB,
        "linger.ms": LINGER_MS,
        "compression.type": "lz4",
    }


def consumer_config(cluster: KafkaCluster, group: str) -> Config:
    """A consumer that commits nothing by itself, and makes no topic by asking for it.

    A fetch is waited for by the broker for 0.1 s at most: a partition that comes anew has to wait for the one that is under way.
    """
    return client_config(cluster) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": 100,
        "fetch.max.bytes": FETCH_BYTES,
        "max.partition.fetch.bytes": PARTITION_BYTES,
        "fetch.queue.backoff.ms": 20,
        "queued.max.messages.kbytes": QUEUE_KIB,
    }


def member_config(cluster: KafkaCluster, group: str, instance: str | None) -> Config:
    """A group's member, by the classic protocol: the new one's session is the brokers' to set, and at least 45 s by default.

    Heartbeats are frequent because members hear by their answers that somebody came or went.
    """
    return (
        consumer_config(cluster, group)
        | {
            "group.protocol": "classic",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": _ms(cluster.session_s),
            "heartbeat.interval.ms": min(500, _ms(cluster.session_s) // 3),
            "max.poll.interval.ms": _ms(max(cluster.hang_s, cluster.session_s)),
        }
        | ({"group.instance.id": instance} if instance is not None else {})
    )


class Complaint:
    """The last thing that a client had to complain of by itself: it connects again for ever, and raises nothing.

    It knows nobody, least of all the client that holds it: a client in a ring of references would be ended, by a collection of
    garbage, in whichever thread and at whatever moment that happens.
    """

    def __init__(self) -> None:
        self.last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """The driver's call."""
        self.last = error


class OneConsumer:
    """A consumer that joins nothing, made when it is first used."""

    def __init__(self, cluster: KafkaCluster, group: str = READER_GROUP) -> None:
        self._config = consumer_config(cluster, group) | {"enable.partition.eof": True, "fetch.wait.max.ms": 20}
        self._guard = threading.Lock()
        self._consumer: Consumer | None = None
        self._open = True

    def use(self) -> Consumer:
        """The consumer.

        Raises:
            TierUnavailable: it was closed.

        """
        with self._guard:
            if not self._open:
                raise TierUnavailable(TIER, "the store is closed")
            if self._consumer is None:
                self._consumer = Consumer(self._config)
            return self._consumer

    def close(self) -> None:
        """Let go of its connections."""
        with self._guard:
            self._open = False
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def translate(error: KafkaError) -> TierError:
    """What `error` is in our words, for whoever is no member of a group."""
    kind = TierRejected if error.name() in _REJECTED else TierUnavailable
    return kind(TIER, f"{error.name()}: {error.str()}", hint=_HINTS.get(error.name()))


def translate_for_member(error: KafkaError) -> OrderctlError:
    """What `error` is in our words, for a member: what is fatal to it says that another one has taken its place."""
    return Fenced(error.str()) if is_fatal(error) or error.name() in _FENCED else translate(error)


def is_fatal(error: KafkaError) -> bool:
    """Whether the client that says so is of no more use."""
    return error.fatal() or error.name() == "_FATAL"


@contextmanager
def in_our_words(words: Callable[[KafkaError], OrderctlError] = translate) -> Iterator[None]:
    """Raise the driver's exceptions as ours."""
    try:
        yield
    except KafkaException as exception:
        raise words(exception.args[0]) from exception


def is_passing(error: KafkaError) -> bool:
    """Whether the same question may be answered a moment later: somebody is being elected, or a connection was lost."""
    return error.name() in _PASSING


def ask(question: Callable[[float], Result], clock: Clock, within_s: float, *, slice_s: float = SLICE_S) -> Result:
    """Ask until there is an answer; the question is told how long it may wait this time, and may raise `TimeoutError`.

    Raises:
        TierUnavailable: there was none within `within_s`.
        TierRejected: that was the answer.

    """
    until_s = clock.monotonic_s() + within_s
    while True:
        asked_s = clock.monotonic_s()
        try:
            return question(max(0.0, min(slice_s, until_s - asked_s)))
        except TimeoutError as silence:
            if clock.monotonic_s() >= until_s:
                raise TierUnavailable(TIER, "no answer in time") from silence
        except KafkaException as exception:
            error = exception.args[0]
            if not is_passing(error) or clock.monotonic_s() >= until_s:
                raise translate(error) from exception
        # Some answers come at once, such as that a coordinator is being elected.
        clock.wait(threading.Event(), max(0.0, min(asked_s + AGAIN_S, until_s) - clock.monotonic_s()))


def offsets_of(found: Sequence[TopicPartition], places: Sequence[Place]) -> list[int]:
    """The offsets that an answer gives for these partitions, below 0 where it gives none.

    Raises:
        KafkaException: there was an error for one of them.

    """
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    known = {(each.topic, each.partition): each.offset for each in found}
    return [known.get((place.topic, place.partition), -1) for place in places]


def message_of(driver: DriverMessage, place: Place) -> Message:
    """A message as the driver has read it."""
    headers: Any = driver.headers()  # pairs, in what was read; the driver takes other kinds to publish
    return Message(
        place,
        driver.offset() or 0,
        driver.key() or b"",
        driver.value() or b"",
        tuple([(name, value or b"") for name, value in headers]) if headers else (),
        driver.timestamp()[1],
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
