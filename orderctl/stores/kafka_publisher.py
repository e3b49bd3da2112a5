"""Publishing: at least once, in order within each partition, and nothing behind the caller's back.

A producer lives until its first failure. What it still holds then is purged before the error is raised, so nothing of a call is
sent once it has failed. What had left this process by then may still be appended: a prefix in each partition, since requests are
handled in the order of one connection and an idempotent producer leaves no gap. So whoever publishes the same again before
anything newer repeats, at whatever time the rest arrives, and what is new still comes in its order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as DriverMessage

from orderctl.clock import Clock
from orderctl.errors import TierUnavailable
from orderctl.stores.kafka_driver import TIER, Complaint, KafkaCluster, producer_config, translate
from orderctl.stores.log import Outgoing

PUSH_S: Final = 0.01
"""Another thread may have been told of our acknowledgement, so nobody waits long for being told."""
PUSH_MIN_S: Final = 0.001
"""In no time at all nothing is told."""
_PURGED: Final = frozenset({"_PURGE_QUEUE", "_PURGE_INFLIGHT"})


class Outcome:
    """What has become of the messages of one call. Told by whichever thread polls the producer."""

    def __init__(self) -> None:
        # Lists, since appending is atomic and adding is not.
        self.acknowledged: list[None] = []
        self.errors: list[KafkaError] = []

    def __call__(self, error: KafkaError | None, _: DriverMessage) -> None:
        """The driver's report on one message."""
        if error is None:
            self.acknowledged.append(None)
        else:
            self.errors.append(error)


class Line:
    """One producer, for several threads, until the first failure."""

    def __init__(self, cluster: KafkaCluster, clock: Clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._complaint = Complaint()
        self._producer = Producer(producer_config(cluster) | {"error_cb": self._complaint})
        self.is_cut = False

    def send(self, messages: Sequence[Outgoing], within_s: float) -> None:
        """Publish these, or give the whole line up.

        Raises:
            TierUnavailable: not all were acknowledged within `within_s`, or another call gave the line up meanwhile.
            TierRejected: the broker refuses one.

        """
        until_s = self._clock.monotonic_s() + within_s
        outcome = Outcome()
        try:
            rest = iter(messages)
            waiting: Outgoing | None = None
            while (waiting := self._enqueue(waiting, rest, outcome)) is not None:
                self._push(outcome, until_s)
            while len(outcome.acknowledged) < len(messages):
                self._push(outcome, until_s)
        except KafkaException as exception:
            self.cut()
            raise translate(exception.args[0]) from exception
        except BaseException:
            self.cut()
            raise

    def cut(self) -> None:
        """Send no more: purge what is queued or not answered. The calls that wait for it fail."""
        with self._guard:
            if not self.is_cut:
                self.is_cut = True
                self._producer.purge(in_queue=True, in_flight=True)

    def _enqueue(self, first: Outgoing | None, rest: Iterator[Outgoing], outcome: Outcome) -> Outgoing | None:
        """Enqueue as much as there is room for; returns the message that found none.

        Under the lock, lest a part be enqueued behind a purge that took what came before it.
        """
        with self._guard:
            if self.is_cut:
                raise TierUnavailable(TIER, "another batch was not acknowledged, and this one with it")
            produce, message = self._producer.produce, first or next(rest, None)
            while message is not None:
                place = message.place
                try:
                    produce(
                        place.topic,
                        message.value,
                        message.key,
                        place.partition,
                        on_delivery=outcome,
                        headers=list(message.headers) or None,
                    )
                except BufferError:
                    return message
                message = next(rest, None)
        return None

    def _push(self, outcome: Outcome, until_s: float) -> None:
        """Have what is queued sent without lingering, and be told of what was acknowledged."""
        left_s = until_s - self._clock.monotonic_s()
        self._producer.flush(max(PUSH_MIN_S, min(PUSH_S, left_s)))
        if outcome.errors:
            error = next((error for error in outcome.errors if error.name() not in _PURGED), outcome.errors[0])
            raise translate(error)
        if left_s <= 0:
            reason = f": {self._complaint.last.str()}" if self._complaint.last else ""
            raise TierUnavailable(TIER, f"a batch was not acknowledged in time{reason}")


class Publisher:
    """A line at a time, and a new one after a failure."""

    def __init__(self, cluster: KafkaCluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._guard = threading.Lock()
        self._line: Line | None = None
        self._open = True

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish a batch, within the time that the cluster's settings give it.

        Raises:
            TierUnavailable: not all were acknowledged in time.
            TierRejected: the broker refuses one.

        """
        with self._guard:
            if not self._open:
                raise TierUnavailable(TIER, "the store is closed")
            if self._line is None or self._line.is_cut:
                self._line = Line(self._cluster, self._clock)
            line = self._line
        line.send(messages, self._cluster.publish_s)

    def close(self) -> None:
        """Publish no more. Calls that are under way fail."""
        with self._guard:
            self._open = False
            line, self._line = self._line, None
        if line is not None:
            line.cut()
