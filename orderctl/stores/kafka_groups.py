"""How far groups have come, asked by somebody who joins none of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from confluent_kafka import TopicPartition

from orderctl.clock import Clock
from orderctl.errors import TierUnavailable
from orderctl.stores.kafka_driver import TIER, KafkaCluster, OneConsumer, ask, offsets_of
from orderctl.stores.log import Place


class Groups:
    """A consumer for each group that was asked for, which are few. None of them subscribes, so that nobody joins."""

    def __init__(self, cluster: KafkaCluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._guard = threading.Lock()
        self._consumers: dict[str, OneConsumer] = {}
        self._open = True

    def committed(self, group: str, places: Sequence[Place]) -> list[int | None]:
        """Of each partition the offset that the group goes on from, None where it never committed.

        Raises:
            TierUnavailable: the group's coordinator does not answer.

        """
        consumer = self._of(group).use()

        def question(wait_s: float) -> list[int]:
            wanted = [TopicPartition(place.topic, place.partition) for place in places]
            return offsets_of(consumer.committed(wanted, timeout=wait_s), places)

        found = ask(question, self._clock, self._cluster.answer_s)
        return [offset if offset >= 0 else None for offset in found]

    def close(self) -> None:
        """Let go of the connections."""
        with self._guard:
            self._open = False
            consumers = list(self._consumers.values())
        for consumer in consumers:
            consumer.close()

    def _of(self, group: str) -> OneConsumer:
        with self._guard:
            if not self._open:
                raise TierUnavailable(TIER, "the store is closed")
            return self._consumers.setdefault(group, OneConsumer(self._cluster, group))
