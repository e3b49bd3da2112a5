"""What the brokers say of themselves: whether they answer, which topics there are and with how many partitions."""

from __future__ import annotations

import threading
from typing import Final

from confluent_kafka import KafkaException
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.errors import TierRejected
from orderctl.stores.kafka_driver import AGAIN_S, TIER, KafkaCluster, OneConsumer, ask
from orderctl.stores.log import Place

NEWS_S: Final = 0.5
"""A broker may not have heard yet of a topic that was made a moment ago."""


class Overview(Struct, frozen=True):
    """How many brokers there are, and how many partitions each topic has."""

    brokers: int
    partitions: dict[str, int]


class Directory:
    """For several threads. It has a consumer of its own, and joins nothing with it.

    Were it the reader's, a question for offsets could be kept from its end by questions of other threads that follow quickly
    enough upon each other (librdkafka 2.16).
    """

    def __init__(self, cluster: KafkaCluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._consumer = OneConsumer(cluster)
        self._partitions: dict[str, int] = {}

    def overview(self, within_s: float) -> Overview:
        """What there is, as the first broker that answers has heard of it.

        Raises:
            TierUnavailable: none answers.

        """
        consumer = self._consumer.use()

        def question(wait_s: float) -> Overview:
            metadata = consumer.list_topics(timeout=wait_s)
            partitions = {name: len(topic.partitions) for name, topic in metadata.topics.items()}
            return Overview(len(metadata.brokers), partitions)

        return ask(question, self._clock, within_s)

    def partitions(self, topic: str, *, news_s: float = NEWS_S) -> int:
        """How many partitions a topic has. Once known it is not asked again: topics are made for good.

        One that is not known may have been made a moment ago: for `news_s` it is asked for again.

        Raises:
            TierRejected: there is no such topic.
            TierUnavailable: nobody says.

        """
        if (known := self._partitions.get(topic)) is not None:
            return known
        consumer = self._consumer.use()

        def question(wait_s: float) -> int:
            found = consumer.list_topics(topic, timeout=wait_s).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return len(found.partitions)

        until_s = self._clock.monotonic_s() + news_s
        while True:
            try:
                count = ask(question, self._clock, self._cluster.answer_s)
            except TierRejected:
                if self._clock.monotonic_s() >= until_s:
                    raise
                self._clock.wait(threading.Event(), AGAIN_S)
            else:
                return self._partitions.setdefault(topic, count)

    def check(self, place: Place) -> None:
        """Refuse a partition that is not there.

        Raises:
            TierRejected: it is not, or its topic is not.

        """
        if not 0 <= place.partition < (count := self.partitions(place.topic)):
            raise TierRejected(TIER, f"{place.topic} has no partition {place.partition}: it has {count}")

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
