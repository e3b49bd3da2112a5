"""Kafka by its driver alone: the same bytes published by the same producer, with nothing before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Delivered

from orderctl.bench.measuring import Measure, measured
from orderctl.bench.own_log import cluster_of
from orderctl.config import Config
from orderctl.errors import TierUnavailable
from orderctl.stores.kafka_driver import producer_config
from orderctl.stores.log import Outgoing

FLUSH_S: Final = 120.0
POLL_EACH: Final = 1_000
WARM_UP: Final = 500


def publish_raw(config: Config, messages: Sequence[Outgoing], total: int) -> Measure:
    """Publish `total` messages, going round and round, and wait until all are acknowledged."""
    with Producer(producer_config(cluster_of(config))) as producer:
        # A producer's beginning takes a while, and so does its first message to each partition: neither is what is asked.
        for message in messages[:WARM_UP]:
            _enqueued(producer, message, _Acknowledged())
        producer.flush(FLUSH_S)

        def work() -> int:
            acknowledged = _Acknowledged()
            for number in range(total):
                message = messages[number % len(messages)]
                while not _enqueued(producer, message, acknowledged):
                    producer.poll(0.1)
                if number % POLL_EACH == 0:
                    producer.poll(0)
            producer.flush(FLUSH_S)
            if acknowledged.count != total:
                raise TierUnavailable("log", f"{acknowledged.count} of {total} messages were acknowledged")
            return total

        return measured(work)


class _Acknowledged:
    """Counts what the brokers have."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: KafkaError | None, _message: Delivered) -> None:
        if error is None:
            self.count += 1


def _enqueued(producer: Producer, message: Outgoing, acknowledged: _Acknowledged) -> bool:
    """Whether there was room for it."""
    try:
        producer.produce(
            message.place.topic,
            message.value,
            message.key,
            message.place.partition,
            on_delivery=acknowledged,
            headers=list(message.headers),
        )
    except BufferError:
        return False
    return True
