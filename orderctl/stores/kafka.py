"""The log on Kafka: topics, publishing, reading by offset, and the groups' members.

Topics are stamped by the broker when it appends: then time does not fall within a partition, and neither `offset_at` nor the
retention depends on the clocks of those who publish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from orderctl.clock import Clock
from orderctl.errors import TierRejected
from orderctl.stores.kafka_directory import Directory
from orderctl.stores.kafka_driver import MESSAGE_BYTES_MAX, TIER, KafkaCluster, ask, client_config
from orderctl.stores.kafka_groups import Groups
from orderctl.stores.kafka_member import KafkaMember
from orderctl.stores.kafka_publisher import Publisher
from orderctl.stores.kafka_reader import Reader
from orderctl.stores.kafka_seek import is_group_active, seek_group
from orderctl.stores.kafka_tail import KafkaTail
from orderctl.stores.log import Message, Outgoing, Place, Topic

PING_S: Final = 2.0
MAKE_S: Final = 15.0
"""For topics to be made, everywhere."""
GRACE_S: Final = 1.0
"""The driver is to say itself that there was no answer: then nothing of the request is left behind."""
HOUR_MS: Final = 3_600_000


class KafkaLogStore:
    """`LogStore` over one cluster. For several threads; its members are for one each. It connects when first asked."""

    def __init__(self, cluster: KafkaCluster, *, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._directory = Directory(cluster, clock)
        self._reader = Reader(cluster, clock)
        self._publisher = Publisher(cluster, clock)
        self._groups = Groups(cluster, clock)

    def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        there = self._directory.overview(self._cluster.answer_s)
        missing = [topic for topic in topics if topic.name not in there.partitions]
        for topic in topics:
            if topic not in missing:
                _compare(topic, there.partitions[topic.name])
        made = [topic.name for topic in missing if self._make(topic, min(self._cluster.replicas, there.brokers))]
        for topic in missing:
            # Others may have made it at the same time, as they saw fit. This also waits until it can be seen.
            _compare(topic, self._directory.partitions(topic.name, news_s=MAKE_S))
        return made

    def missing_topics(self, topics: Sequence[Topic]) -> list[str]:
        """The names of those that `ensure_topics` would make."""
        there = self._directory.overview(self._cluster.answer_s)
        return [topic.name for topic in topics if topic.name not in there.partitions]

    def publish(self, messages: Sequence[Outgoing]) -> None:
        # Before anything is sent: the driver would notice the one only in the middle, and the other after half a minute.
        for place in {message.place for message in messages}:
            self._directory.check(place)
        for message in messages:
            if (size := _size(message)) > MESSAGE_BYTES_MAX - _OVERHEAD_BYTES:
                raise TierRejected(TIER, f"a message of {size} bytes for {message.place.topic} is too large")
        if messages:
            self._publisher.publish(messages)

    def join(self, group: str, topics: Sequence[str], *, instance: str | None = None) -> KafkaMember:
        return KafkaMember(
            self._cluster,
            self._clock,
            group=group,
            topics=tuple(sorted(set(topics))),
            instance=instance,
            check=self._directory.partitions,
        )

    def tail(self, topic: str, *, silence_s: float = 2.0) -> KafkaTail:
        return KafkaTail(
            self._cluster,
            self._clock,
            topic=topic,
            silence_s=silence_s,
            count_partitions=self._directory.partitions,
        )

    def read(self, place: Place, offset: int, limit: int) -> list[Message]:
        self._directory.check(place)
        return self._reader.read(place, offset, limit)

    def ends(self, topic: str) -> list[tuple[int, int]]:
        places = self._places(topic)
        # In this order: what is removed in between makes no end that is before its beginning.
        firsts = self._reader.offsets(places, OFFSET_BEGINNING)
        return list(zip(firsts, self._reader.offsets(places, OFFSET_END), strict=True))

    def offset_at(self, place: Place, ts_ms: int) -> int:
        self._directory.check(place)
        # The end as it was before: what is published in between is later than a time that nothing was found for.
        [end] = self._reader.offsets([place], OFFSET_END)
        [found] = self._reader.offsets([place], max(0, ts_ms))
        return found if found >= 0 else end

    def committed(self, group: str, topic: str) -> list[int | None]:
        return self._groups.committed(group, self._places(topic))

    def is_active(self, group: str) -> bool:
        return is_group_active(self._cluster, group, self._clock)

    def seek(self, group: str, next_offsets: Mapping[Place, int]) -> None:
        for place, offset in next_offsets.items():
            self._directory.check(place)
            [end] = self._reader.offsets([place], OFFSET_END)
            if not 0 <= offset <= end:
                raise TierRejected(TIER, f"no offset {offset} to go on from in {place}")
        if next_offsets:
            seek_group(self._cluster, group, next_offsets, self._clock)

    def ping(self) -> None:
        self._directory.overview(PING_S)

    def close(self) -> None:
        self._publisher.close()
        self._groups.close()
        self._reader.close()
        self._directory.close()

    def _places(self, topic: str) -> list[Place]:
        return [Place(topic, number) for number in range(self._directory.partitions(topic))]

    def _make(self, topic: Topic, replicas: int) -> bool:
        """Make a topic; returns False where somebody else was quicker."""
        new = NewTopic(topic.name, topic.partitions, replicas, config=_settings(topic, replicas))

        def request(timeout_s: float) -> bool:
            # The client is ended right here: garbage may be collected in its own thread, where its end would be the process's.
            with AdminClient(client_config(self._cluster)) as admin:
                [future] = admin.create_topics([new], operation_timeout=timeout_s, request_timeout=timeout_s).values()
                try:
                    future.result(timeout_s + GRACE_S)
                except KafkaException as exception:
                    if exception.args[0].name() == "TOPIC_ALREADY_EXISTS":
                        return False
                    raise
            return True

        return ask(request, self._clock, MAKE_S, slice_s=MAKE_S)


_OVERHEAD_BYTES: Final = 4 * 1024
"""For what the protocol adds to a message, and a batch of one."""


def _compare(topic: Topic, partitions: int) -> None:
    if partitions != topic.partitions:
        raise TierRejected(TIER, f"{topic.name} has {partitions} partitions, not {topic.partitions}")


def _size(message: Outgoing) -> int:
    size = len(message.key) + len(message.value)
    for name, value in message.headers:
        size += len(name) * 4 + len(value) + 16
    return size


def _settings(topic: Topic, replicas: int) -> dict[str, str]:
    """Acknowledged is what all replicas in step have; of three, two at least must be."""
    retention_ms = topic.retention_s * 1000
    kept = (
        {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": str(HOUR_MS)}
        if topic.compacted
        else {
            "cleanup.policy": "delete",
            "retention.ms": str(retention_ms),
            # Only whole segments go, so that a week's messages must not be in one.
            "segment.ms": str(max(HOUR_MS, retention_ms // 7)),
        }
    )
    return kept | {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "min.insync.replicas": str(max(1, replicas - 1)),
    }
