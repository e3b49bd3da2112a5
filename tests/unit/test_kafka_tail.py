"""Beginning to follow a topic while its brokers come back: what the driver does not know yet is no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from orderctl.clock import ManualClock
from orderctl.stores.kafka_driver import KafkaCluster
from orderctl.stores.kafka_tail import KafkaTail
from orderctl.stores.log import Place


class Consumer:
    """A driver that fails as it is told to, and answers when there is nothing left to fail with."""

    def __init__(self, *failures: int) -> None:
        self._failures = list(failures)

    def offsets_for_times(self, wanted: Sequence[TopicPartition], *, timeout: float) -> list[TopicPartition]:
        if self._failures:
            raise KafkaException(KafkaError(self._failures.pop(0)))
        return [TopicPartition(each.topic, each.partition, 7) for each in wanted]


def first_ends(consumer: Any) -> list[int]:
    """What a tail of one partition takes for the end."""
    tail = KafkaTail(
        KafkaCluster(brokers=("nobody:1",)), ManualClock(), topic="t", silence_s=1.0, count_partitions=lambda _: 1
    )
    tail._places = [Place("t", 0)]
    return tail._ask_first_ends(consumer, 0.0)


def test_a_partition_that_the_driver_has_yet_to_hear_of() -> None:
    """It is asked again, as after a silence: it was counted just before, so it is there."""
    consumer = Consumer(KafkaError._UNKNOWN_PARTITION)
    with pytest.raises(TimeoutError):
        first_ends(consumer)
    assert first_ends(consumer) == [7]


def test_any_other_failure_is_one() -> None:
    """Who may not look at the topic is told so at once."""
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        first_ends(Consumer(KafkaError.TOPIC_AUTHORIZATION_FAILED))
