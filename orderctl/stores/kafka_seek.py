"""Moving where a group goes on, by somebody who is none of its members, while it has none.

The coordinator decides: it takes a commit that comes from no member only while the group is empty. So no member's commit is
written over, whoever joins at that moment.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from orderctl.clock import Clock
from orderctl.errors import TierUnavailable
from orderctl.stores.kafka_commit import Answers
from orderctl.stores.kafka_driver import (
    AGAIN_S,
    TIER,
    KafkaCluster,
    ask,
    client_config,
    consumer_config,
    is_passing,
    translate,
)
from orderctl.stores.log import GroupActive, Place

CLOSE_S: Final = 3.0
_ACTIVE: Final = frozenset({
    *("UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "FENCED_INSTANCE_ID", "NON_EMPTY_GROUP"),
})  # fmt: skip
_EMPTY: Final = frozenset({ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD})


def is_group_active(cluster: KafkaCluster, group: str, clock: Clock) -> bool:
    """Whether the group has a member, one whose session has not ended included.

    Raises:
        TierUnavailable: its coordinator does not answer.

    """

    def question(wait_s: float) -> bool:
        # Ended right here, as every administrative client: where garbage is collected, its end would be the process's.
        with AdminClient(client_config(cluster)) as admin:
            [described] = admin.describe_consumer_groups([group], request_timeout=wait_s).values()
            try:
                return described.result(wait_s + 1).state not in _EMPTY
            except KafkaException as exception:
                if exception.args[0].name() == "GROUP_ID_NOT_FOUND":
                    return False
                raise

    return ask(question, clock, cluster.answer_s, slice_s=cluster.answer_s)


def seek_group(cluster: KafkaCluster, group: str, next_offsets: Mapping[Place, int], clock: Clock) -> None:
    """Commit these offsets for the group. It looks first whether there are members: a coordinator that is away is known by that.

    Raises:
        GroupActive: it has members.
        TierUnavailable: its coordinator does not answer; it may have been done.

    """
    if is_group_active(cluster, group, clock):
        raise GroupActive(group)
    answers = Answers()
    consumer = Consumer(consumer_config(cluster, group) | {"on_commit": answers})
    offsets = [TopicPartition(place.topic, place.partition, offset) for place, offset in next_offsets.items()]
    until_s = clock.monotonic_s() + cluster.answer_s
    try:
        while not _is_taken(consumer, answers, offsets, next_offsets):
            if clock.monotonic_s() >= until_s:
                raise TierUnavailable(TIER, f"where {group} goes on was not taken down within {cluster.answer_s:g} s")
    except KafkaException as exception:
        error = exception.args[0]
        if error.name() in _ACTIVE:
            raise GroupActive(group) from exception
        raise translate(error) from exception
    finally:
        # It waits for the answer to its last commit, for 46 s where the broker has gone meanwhile.
        thread = threading.Thread(target=_close, args=[consumer], name="closing a consumer", daemon=True)
        thread.start()
        thread.join(CLOSE_S)


def _is_taken(
    consumer: Consumer, answers: Answers, offsets: list[TopicPartition], next_offsets: Mapping[Place, int]
) -> bool:
    """Send the commit and poll for its answer; False where it is to be sent again."""
    answers.forget()
    try:
        consumer.commit(offsets=offsets, asynchronous=True)
        for _ in range(round(1 / AGAIN_S)):
            consumer.poll(AGAIN_S)
            if answers.have(next_offsets):
                return True
    except KafkaException as exception:
        if not is_passing(exception.args[0]):
            raise
        consumer.poll(AGAIN_S)
    return False


def _close(consumer: Consumer) -> None:
    with suppress(KafkaException):
        consumer.close()
