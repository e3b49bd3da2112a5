"""What the coordinator said of commits, so that whoever waits for its word can poll meanwhile, and stop waiting.

Found by trying (librdkafka 2.16): while a broker is frozen or gone a synchronous commit does not return, and where a rebalance
follows it does not return ever, since nobody polls. So commits are sent without waiting, and their answers come by polling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from orderctl.stores.log import Place


class Answers:
    """The driver's `on_commit`. As `Complaint` it knows nobody.

    One that comes late, when its caller has stopped waiting, is taken for the answer to a later commit of the same offsets: it
    is true of that one as well.
    """

    def __init__(self) -> None:
        self._heard: list[tuple[dict[Place, int], KafkaError | None]] = []

    def __call__(self, error: KafkaError | None, committed: Sequence[TopicPartition]) -> None:
        """The driver's call."""
        offsets = {Place(tp.topic, tp.partition): tp.offset for tp in committed}
        self._heard.append((offsets, error or next((tp.error for tp in committed if tp.error is not None), None)))

    def forget(self) -> None:
        """A commit begins: what came before is of no interest."""
        self._heard.clear()

    def have(self, offsets: Mapping[Place, int]) -> bool:
        """Whether these were committed.

        Raises:
            KafkaException: they were refused.

        """
        for heard, error in self._heard:
            if heard == offsets:
                if error is not None:
                    raise KafkaException(error)
                return True
        return False
