"""Following a topic's end on Kafka, outside any group, with the brokers' word every now and then that nothing is missing.

A consumer that hears nothing cannot tell a topic where nothing happens from a broker that is gone: it connects again for ever and
says nothing. So the ends of all partitions are asked for regularly, and have to be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as DriverMessage

from orderctl.clock import Clock
from orderctl.errors import TierError, TierUnavailable
from orderctl.stores.kafka_driver import (
    AGAIN_S,
    READER_GROUP,
    SLICE_S,
    TIER,
    KafkaCluster,
    ask,
    consumer_config,
    in_our_words,
    is_passing,
    message_of,
    offsets_of,
    translate,
)
from orderctl.stores.log import Message, Place

UNKNOWN: Final = "_UNKNOWN_PARTITION"
CHECKS: Final = 4
"""So many checks there are in the time of silence that is allowed."""


class KafkaTail:
    """`Tail` over a consumer of its own, which is made anew after each failure."""

    def __init__(
        self,
        cluster: KafkaCluster,
        clock: Clock,
        *,
        topic: str,
        silence_s: float,
        count_partitions: Callable[[str], int],
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._topic = topic
        self._silence_s = silence_s
        self._count_partitions = count_partitions
        # Where a partition's first message is gone before it was read, that is said and not passed over.
        self._config = consumer_config(cluster, READER_GROUP) | {
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
        self._is_open = True
        self._consumer: Consumer | None = None
        self._places: list[Place] = []
        self._positions: list[int] = []
        """Of each partition the offset behind what was read."""
        self._complete_s = 0.0
        """What was acknowledged before this moment was read."""
        self._check_began_s: float | None = None
        self._asked_s = 0.0
        self._ends: list[int] | None = None
        """Where the partitions ended when the check under way had its answer."""

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        if not self._is_open:
            raise TierUnavailable(TIER, "the tail is closed")
        try:
            with in_our_words():
                if self._consumer is None:
                    self._begin()
                    return []
                return self._follow(self._consumer, limit, wait_s)
        except TierError:
            self._let_go()
            raise

    def close(self) -> None:
        self._is_open = False
        self._let_go()

    def _begin(self) -> None:
        self._places = [Place(self._topic, number) for number in range(self._count_partitions(self._topic))]
        consumer = self._consumer = Consumer(self._config)
        asked_s = self._clock.monotonic_s()
        self._positions = ask(partial(self._ask_first_ends, consumer), self._clock, self._cluster.answer_s)
        starts = [TopicPartition(p.topic, p.partition, at) for p, at in zip(self._places, self._positions, strict=True)]
        consumer.assign(starts)
        self._complete_s, self._check_began_s, self._ends = asked_s, None, None

    def _follow(self, consumer: Consumer, limit: int, wait_s: float) -> list[Message]:
        until_s = self._clock.monotonic_s() + wait_s
        found: list[Message] = []
        while True:
            self._receive(consumer.consume(limit - len(found), 0), found)
            if len(found) >= limit:
                return found
            self._check(consumer)
            now_s = self._clock.monotonic_s()
            is_fresh = now_s - self._complete_s <= self._silence_s
            if is_fresh and (found or now_s >= until_s):
                return found
            # One at a time is how the driver returns as soon as there is something.
            pause_s = min(SLICE_S, self._silence_s / CHECKS, until_s - now_s) if is_fresh else AGAIN_S
            driver = consumer.poll(pause_s)
            self._receive([driver] if driver is not None else [], found)

    def _receive(self, drivers: Sequence[DriverMessage], found: list[Message]) -> None:
        for driver in drivers:
            error = driver.error()
            if error is None:
                number = driver.partition() or 0
                message = message_of(driver, self._places[number])
                self._positions[number] = message.offset + 1
                found.append(message)
            elif error.name() == "_PARTITION_EOF":
                # Offsets may be taken by what is no message, such as the end of somebody's transaction.
                number = driver.partition() or 0
                self._positions[number] = max(self._positions[number], driver.offset() or 0)
            elif not is_passing(error):
                raise translate(error)

    def _check(self, consumer: Consumer) -> None:
        """Have the brokers say where the partitions end, and see whether that was reached.

        A check may take as long as silence is allowed beyond the time between two of them, however late it was begun: a caller
        that does not poll for a while is no silence of the brokers.
        """
        now_s = self._clock.monotonic_s()
        if self._check_began_s is None:
            if now_s < self._complete_s + self._silence_s / CHECKS:
                return
            self._check_began_s, self._ends = now_s, None
        if self._ends is None:
            self._asked_s = now_s
            self._ends = self._try_to_ask_ends(consumer)
        if self._ends is not None and self._is_reached(self._ends):
            self._complete_s, self._check_began_s = self._asked_s, None
        elif self._clock.monotonic_s() >= self._check_began_s + self._silence_s * (CHECKS - 1) / CHECKS:
            raise TierUnavailable(TIER, f"{self._topic}: nothing was heard of its end for {self._silence_s:g} s")

    def _is_reached(self, ends: Sequence[int]) -> bool:
        return all(position >= end for position, end in zip(self._positions, ends, strict=True))

    def _try_to_ask_ends(self, consumer: Consumer) -> list[int] | None:
        """The ends, or None where nobody answers at the moment."""
        try:
            ends = self._ask_ends(consumer, min(SLICE_S, self._silence_s / CHECKS))
        except KafkaException as exception:
            error = exception.args[0]
            # The driver forgets who leads a partition while brokers are silent. One that is gone is found out by the silence.
            if is_passing(error) or error.name() == UNKNOWN:
                return None
            raise
        if any(end < position for position, end in zip(self._positions, ends, strict=True)):
            # Its messages are others now than those that were read: it was made anew, or lost its last ones.
            raise TierUnavailable(TIER, f"{self._topic} went back")
        return ends

    def _ask_first_ends(self, consumer: Consumer, wait_s: float) -> list[int]:
        """The ends. The partitions are there: a driver that does not know one has yet to hear of it from its brokers."""
        try:
            return self._ask_ends(consumer, wait_s)
        except KafkaException as exception:
            if exception.args[0].name() == UNKNOWN:
                raise TimeoutError from exception
            raise

    def _ask_ends(self, consumer: Consumer, wait_s: float) -> list[int]:
        wanted = [TopicPartition(place.topic, place.partition, OFFSET_END) for place in self._places]
        return offsets_of(consumer.offsets_for_times(wanted, timeout=wait_s), self._places)

    def _let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaException):
                consumer.close()
