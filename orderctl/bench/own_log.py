"""Topics of the bench's own: the log as a service sees it, under other names, so that no deployment's topics are filled.

A message's topic is renamed on its way out, which costs the measured process about a microsecond and flatters nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from confluent_kafka.admin import AdminClient

from orderctl.bench.ground import Ground
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.stores.kafka import KafkaLogStore
from orderctl.stores.kafka_driver import KafkaCluster, client_config
from orderctl.stores.kafka_member import KafkaMember
from orderctl.stores.kafka_tail import KafkaTail
from orderctl.stores.log import Message, Outgoing, Place, Topic, topics

GONE_S = 30.0


def cluster_of(config: Config) -> KafkaCluster:
    """The brokers."""
    return KafkaCluster(brokers=config.kafka.brokers, replicas=config.kafka.replication)


class OwnLog(KafkaLogStore):
    """A `LogStore` whose topics' names begin with `prefix`."""

    def __init__(self, config: Config, prefix: str) -> None:
        super().__init__(cluster_of(config), clock=SystemClock())
        self._prefix = prefix
        self._own_places: dict[Place, Place] = {}

    def ensure_topics(self, topics: Sequence[Topic]) -> list[str]:
        return super().ensure_topics(
            [Topic(self.name(topic.name), topic.partitions, topic.compacted, topic.retention_s) for topic in topics]
        )

    def publish(self, messages: Sequence[Outgoing]) -> None:
        super().publish(
            [Outgoing(self._place(message.place), message.key, message.value, message.headers) for message in messages]
        )

    def join(self, group: str, topics: Sequence[str], *, instance: str | None = None) -> KafkaMember:
        return OwnMember(
            self._cluster,
            self._clock,
            group=group,
            topics=tuple(sorted({self.name(topic) for topic in topics})),
            instance=instance,
            check=self._directory.partitions,
            prefix=self._prefix,
        )

    def tail(self, topic: str, *, silence_s: float = 2.0) -> KafkaTail:
        return super().tail(self.name(topic), silence_s=silence_s)

    def read(self, place: Place, offset: int, limit: int) -> list[Message]:
        return super().read(self._place(place), offset, limit)

    def ends(self, topic: str) -> list[tuple[int, int]]:
        return super().ends(self.name(topic))

    def committed(self, group: str, topic: str) -> list[int | None]:
        return super().committed(group, self.name(topic))

    def name(self, topic: str) -> str:
        """What a topic is called here."""
        return f"{self._prefix}.{topic}"

    def _place(self, place: Place) -> Place:
        known = self._own_places.get(place)
        if known is None:
            known = self._own_places[place] = Place(self.name(place.topic), place.partition)
        return known


class OwnMember(KafkaMember):
    """A member that says of its messages what a deployment's would: cache-sync parks those of other topics."""

    def __init__(self, *arguments: Any, prefix: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._prefix = f"{prefix}."
        self._shown: dict[Place, Place] = {}

    def assigned(self) -> frozenset[Place]:
        return frozenset(map(self._show, super().assigned()))

    def commit(self, next_offsets: Mapping[Place, int]) -> None:
        super().commit(
            {Place(self._prefix + place.topic, place.partition): offset for place, offset in next_offsets.items()}
        )

    def _own(self, places: frozenset[Place]) -> None:
        # Messages are made of the deployment's places, so that none has to be made again.
        self._assigned = places
        self._places = {(place.topic, place.partition): self._show(place) for place in places}
        self._inbox.keep(frozenset(self._places.values()))

    def _show(self, place: Place) -> Place:
        known = self._shown.get(place)
        if known is None:
            known = self._shown[place] = Place(place.topic.removeprefix(self._prefix), place.partition)
        return known


@contextmanager
def own_log(ground: Ground, prefix: str, *more: Topic) -> Iterator[OwnLog]:
    """The topics of a deployment, and `more`, under names of their own, and gone afterwards."""
    with closing(OwnLog(ground.config, prefix)) as log:
        wanted = [*topics(groups=ground.groups, shards=1), *more]
        try:
            log.ensure_topics(wanted)
            yield log
        finally:
            with AdminClient(client_config(cluster_of(ground.config))) as admin:
                for done in admin.delete_topics([log.name(topic.name) for topic in wanted]).values():
                    done.exception(GONE_S)


def versions(config: Config) -> dict[str, str]:
    """What answers. A broker does not say which release it is."""
    with AdminClient(client_config(cluster_of(config))) as admin:
        return {"Kafka": f"{len(admin.list_topics(timeout=10).brokers)} broker(s)"}
