"""A member of a group on Kafka: what the driver fetches is handed out in turns, and a commit is only for what is one's own.

The driver keeps the membership alive in the background and joins again by itself, so the member cannot go by whether the broker
takes its commit: it keeps which partitions it had when it last polled, and under which of the broker's names.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as DriverMessage

from orderctl.clock import Clock
from orderctl.errors import TierUnavailable
from orderctl.stores.kafka_commit import Answers
from orderctl.stores.kafka_driver import (
    SLICE_S,
    TIER,
    Complaint,
    KafkaCluster,
    ask,
    in_our_words,
    is_fatal,
    is_passing,
    member_config,
    message_of,
    translate_for_member,
)
from orderctl.stores.kafka_inbox import Inbox
from orderctl.stores.log import Fenced, Message, Place

GATHER_COUNT: Final = 1_000
LEAVE_S: Final = 1.0
LEFT_OUT_S: Final = 15.0
"""Longer than any joining takes, and than a daemon's pause between two polls."""
ANSWER_S: Final = 0.001
"""How often to look for the answer to a commit; one comes within some milliseconds."""
FULL_S: Final = 0.02
"""The same while there is no room, when each look brings one message more."""
CLOSE_S: Final = 3.0
"""To say good-bye; whom it does not reach will notice by the session's end."""


class KafkaMember:
    """`Member` over a consumer of its own, which joins when first polled."""

    def __init__(
        self,
        cluster: KafkaCluster,
        clock: Clock,
        *,
        group: str,
        topics: tuple[str, ...],
        instance: str | None,
        check: Callable[[str], int],
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._topics = topics
        self._instance = instance
        self._check = check
        self._complaint = Complaint()
        self._answers = Answers()
        self._config = member_config(cluster, group, instance) | {
            "error_cb": self._complaint,
            "on_commit": self._answers,
        }
        self._consumer: Consumer | None = None
        self._assigned: frozenset[Place] = frozenset()
        self._places: dict[tuple[str | None, int | None], Place] = {}
        self._known_as: str | None = None
        self._inbox = Inbox()
        self._is_to_rewind = False
        self._last_in_s = 0.0
        self._is_out = False

    def poll(self, limit: int, wait_s: float) -> list[Message]:
        consumer = self._join()
        until_s = self._clock.monotonic_s() + wait_s
        if self._is_to_rewind:
            self._rewind(consumer)
        while True:
            self._gather(consumer)
            if messages := self._inbox.take(limit):
                return messages
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            # One at a time is how the driver returns as soon as there is something.
            message = consumer.poll(min(left_s, SLICE_S))
            self._receive([message] if message is not None else [])
        if self._complaint.last is not None:
            self._look_for(consumer)
        return []

    def assigned(self) -> frozenset[Place]:
        return self._assigned

    def commit(self, next_offsets: Mapping[Place, int]) -> None:
        if not next_offsets:
            return
        try:
            with in_our_words(translate_for_member):
                self._commit(next_offsets)
        except Fenced:
            # Its caller drops the batch, so all partitions that are still its own begin again at the last commit.
            self._is_to_rewind = True
            self._inbox.clear()
            raise

    def close(self) -> None:
        self._is_out = True
        self._inbox.clear()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            if self._instance is None:
                self._leave(consumer)
            _close_aside(consumer).join(CLOSE_S)
        self._assigned = frozenset()

    def _leave(self, consumer: Consumer) -> None:
        """Leave before closing, which is what avoids that wait. With an instance it would give up the instance's place."""
        until_s = self._clock.monotonic_s() + LEAVE_S
        with suppress(KafkaException):
            consumer.unsubscribe()
            consumer.poll(0)
            while self._assigned and self._clock.monotonic_s() < until_s:
                consumer.poll(LEAVE_S / 20)

    def _join(self) -> Consumer:
        if self._is_out:
            raise Fenced("this member has left its group, or another one came under its name")
        if self._consumer is not None and self._is_left_out(self._consumer):
            _close_aside(self._consumer)
            self._consumer = None
        if self._consumer is None:
            for topic in self._topics:
                self._check(topic)
            consumer = Consumer(self._config)
            consumer.subscribe(list(self._topics), on_assign=self._take, on_revoke=self._give_up, on_lost=self._give_up)
            self._consumer, self._last_in_s = consumer, self._clock.monotonic_s()
        return self._consumer

    def _is_left_out(self, consumer: Consumer) -> bool:
        """Whether it has been in no group for so long that another one is to try.

        A driver whose first question for the coordinator falls into the moment in which a broker that was frozen comes back may
        never ask again (seen on librdkafka 2.16: no member id after 90 s, and no request to join in the broker's log).
        """
        now_s = self._clock.monotonic_s()
        if self._assigned or consumer.memberid():
            self._last_in_s = now_s
        return now_s - self._last_in_s >= LEFT_OUT_S

    def _commit(self, next_offsets: Mapping[Place, int]) -> None:
        consumer = self._consumer
        if consumer is None or self._is_out or not next_offsets.keys() <= self._assigned:
            raise Fenced
        # The driver forgets its name when it is out, and would commit as if there were no group where nobody else is in it.
        if consumer.memberid() != self._known_as:
            raise Fenced
        offsets = [TopicPartition(place.topic, place.partition, offset) for place, offset in next_offsets.items()]
        self._answers.forget()
        consumer.commit(offsets=offsets, asynchronous=True)
        until_s = self._clock.monotonic_s() + self._cluster.answer_s
        while not self._answers.have(next_offsets):
            if self._clock.monotonic_s() >= until_s:
                raise TierUnavailable(TIER, f"a commit was not answered within {self._cluster.answer_s:g} s")
            self._clock.wait(threading.Event(), FULL_S if self._inbox.is_full else ANSWER_S)
            self._gather(consumer)
            if not next_offsets.keys() <= self._assigned:
                raise Fenced

    def _gather(self, consumer: Consumer) -> None:
        """Let the driver say who came and went, and take what it has read."""
        while not self._inbox.is_full:
            found = consumer.consume(GATHER_COUNT, 0)
            self._receive(found)
            if len(found) < GATHER_COUNT:
                return
        # Also one that is not hungry has to be seen polling.
        message = consumer.poll(0)
        self._receive([message] if message is not None else [])

    def _receive(self, found: Sequence[DriverMessage]) -> None:
        failure: KafkaError | None = None
        came: defaultdict[Place, list[Message]] = defaultdict(list)
        for driver in found:
            error = driver.error()
            if error is not None:
                failure = failure or error
            elif (place := self._places.get((driver.topic(), driver.partition()))) is not None:
                came[place].append(message_of(driver, place))
        for place, messages in came.items():
            self._inbox.put(place, messages)
        if failure is not None:
            self._fail(failure)

    def _fail(self, error: KafkaError) -> None:
        if error.name() == "_MAX_POLL_EXCEEDED" or is_passing(error):
            return
        if is_fatal(error):
            self._is_out = True
        raise translate_for_member(error)

    def _rewind(self, consumer: Consumer) -> None:
        """Go back to the last commits. A partition that has not begun to be read begins there anyway."""
        wanted = [TopicPartition(place.topic, place.partition) for place in self._assigned]
        if wanted:
            ask_for = partial(consumer.committed, wanted)
            for found in ask(lambda wait_s: ask_for(timeout=wait_s), self._clock, self._cluster.answer_s):
                offset = found.offset if found.offset >= 0 else OFFSET_BEGINNING
                with suppress(KafkaException):
                    consumer.seek(TopicPartition(found.topic, found.partition, offset))
        self._inbox.clear()
        self._is_to_rewind = False

    def _take(self, consumer: Consumer, came: Sequence[TopicPartition]) -> None:
        self._known_as = consumer.memberid()
        self._own(self._assigned | {Place(tp.topic, tp.partition) for tp in came})

    def _give_up(self, _: Consumer, gone: Sequence[TopicPartition]) -> None:
        self._own(self._assigned - {Place(tp.topic, tp.partition) for tp in gone})

    def _own(self, places: frozenset[Place]) -> None:
        self._assigned = places
        self._places = {(place.topic, place.partition): place for place in places}
        self._inbox.keep(places)

    def _look_for(self, consumer: Consumer) -> None:
        """The driver connects again for ever and says nothing, and whoever waits is to know why nothing comes."""
        ask(lambda wait_s: consumer.list_topics(self._topics[0], timeout=wait_s), self._clock, SLICE_S)
        self._complaint.last = None


def _close_aside(consumer: Consumer) -> threading.Thread:
    """Close in a thread: the driver may wait for ever where the group is rebalanced at that moment (librdkafka, issue 4527)."""
    thread = threading.Thread(target=_close, args=[consumer], name="leaving a group", daemon=True)
    thread.start()
    return thread


def _close(consumer: Consumer) -> None:
    with suppress(KafkaException):
        consumer.close()
