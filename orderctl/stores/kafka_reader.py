"""Reading outside groups: messages by their offsets, and offsets by their time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from orderctl.clock import Clock
from orderctl.errors import TierUnavailable
from orderctl.stores.kafka_driver import (
    TIER,
    KafkaCluster,
    OneConsumer,
    ask,
    in_our_words,
    is_passing,
    message_of,
    offsets_of,
    translate,
)
from orderctl.stores.log import Message, Place

POLL_S: Final = 0.2


class Reader:
    """One consumer that joins nothing, for several threads, which take turns. The partitions are there, or it takes long."""

    def __init__(self, cluster: KafkaCluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._turn = threading.Lock()
        self._consumer = OneConsumer(cluster)

    def offsets(self, places: Sequence[Place], ts_ms: int) -> list[int]:
        """Of each partition the first offset of a time or later, -1 where there is none; `OFFSET_END` and so on are times, too.

        By one request to each broker, and not by the driver's administrative client, whose requests for offsets end the whole
        process where a broker does not answer them (librdkafka 2.16: an assertion fails, or memory is freed twice).

        Raises:
            TierUnavailable: a broker does not answer.
            TierRejected: a partition is not there.

        """
        with self._turn:
            return self._offsets(places, ts_ms)

    def read(self, place: Place, offset: int, limit: int) -> list[Message]:
        """See `LogStore.read`."""
        with self._turn:
            [end] = self._offsets([place], OFFSET_END)
            if limit <= 0 or offset >= end:
                return []
            consumer = self._consumer.use()
            with in_our_words():
                consumer.assign([TopicPartition(place.topic, place.partition, max(offset, 0))])
                try:
                    return self._fetch(consumer, place, end, limit)
                finally:
                    consumer.unassign()

    def close(self) -> None:
        """Let go of the connections, once whoever reads has his turn behind him."""
        with self._turn:
            self._consumer.close()

    def _offsets(self, places: Sequence[Place], ts_ms: int) -> list[int]:
        consumer = self._consumer.use()

        def question(wait_s: float) -> list[int]:
            wanted = [TopicPartition(place.topic, place.partition, ts_ms) for place in places]
            return offsets_of(consumer.offsets_for_times(wanted, timeout=wait_s), places)

        return ask(question, self._clock, self._cluster.answer_s)

    def _fetch(self, consumer: Consumer, place: Place, end: int, limit: int) -> list[Message]:
        """Read until there are enough, or the partition's end as it was is reached; a driver's own sign says so in gaps."""
        until_s = self._clock.monotonic_s() + self._cluster.answer_s
        found: list[Message] = []
        while len(found) < limit:
            first = consumer.poll(POLL_S)
            for driver in [first, *consumer.consume(limit - len(found), 0)] if first is not None else []:
                if (error := driver.error()) is None:
                    found.append(message_of(driver, place))
                    until_s = self._clock.monotonic_s() + self._cluster.answer_s
                elif error.name() == "_PARTITION_EOF":
                    return found[:limit]
                elif not is_passing(error):
                    raise translate(error)
            if found and found[-1].offset >= end - 1:
                break
            if self._clock.monotonic_s() >= until_s:
                raise TierUnavailable(TIER, f"{place.topic}, partition {place.partition}, was not read in time")
        return found[:limit]
