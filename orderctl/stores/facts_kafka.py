"""What the Kafka brokers say of themselves and of our topics, for `doctor`: nothing is written, and no message is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from msgspec import Struct

from orderctl.clock import Clock
from orderctl.stores.kafka_driver import KafkaCluster, ask, client_config

ANSWER_S: Final = 5.0
GRACE_S: Final = 1.0


class TopicFacts(Struct, frozen=True, kw_only=True):
    """A topic. `copies` is the fewest that a partition has; `lagging` and `leaderless` are numbers of partitions."""

    name: str
    partitions: int
    copies: int
    lagging: int
    leaderless: int
    settings: dict[str, str] | None


class BrokerFacts(Struct, frozen=True, kw_only=True):
    """A broker. `settings` is None where the user may not see them."""

    address: str
    settings: dict[str, str] | None


class LogFacts(Struct, frozen=True, kw_only=True):
    """The cluster: its brokers, and those of our topics that there are."""

    brokers: tuple[BrokerFacts, ...]
    topics: dict[str, TopicFacts]


def log_facts(cluster: KafkaCluster, names: Sequence[str], clock: Clock) -> LogFacts:
    """Look at the brokers, and at the topics of these names.

    Raises:
        TierUnavailable: none of the brokers answers.

    """

    def question(wait_s: float) -> LogFacts:
        # The client is ended right here: garbage may be collected in its own thread, where its end would be the process's.
        with AdminClient(client_config(cluster)) as admin:
            return _look(admin, names, wait_s)

    return ask(question, clock, ANSWER_S, slice_s=ANSWER_S)


def _look(admin: AdminClient, names: Sequence[str], wait_s: float) -> LogFacts:
    metadata = admin.list_topics(timeout=wait_s)
    there = [name for name in names if name in metadata.topics]
    topics = {}
    for name in there:
        partitions = metadata.topics[name].partitions.values()
        topics[name] = TopicFacts(
            name=name,
            partitions=len(partitions),
            copies=min((len(one.replicas) for one in partitions), default=0),
            lagging=sum(len(one.isrs) < len(one.replicas) for one in partitions),
            leaderless=sum(one.leader < 0 for one in partitions),
            settings=_settings(admin, ResourceType.TOPIC, name, wait_s),
        )
    brokers = tuple(
        BrokerFacts(
            address=f"{broker.host}:{broker.port}",
            settings=_settings(admin, ResourceType.BROKER, str(number), wait_s),
        )
        for number, broker in sorted(metadata.brokers.items())
    )
    return LogFacts(brokers=brokers, topics=topics)


def _settings(admin: AdminClient, kind: ResourceType, name: str, wait_s: float) -> dict[str, str] | None:
    resource = ConfigResource(kind, name)
    [future] = admin.describe_configs([resource], request_timeout=wait_s).values()
    try:
        entries = future.result(wait_s + GRACE_S)
    except KafkaException as exception:
        if exception.args[0].name() in {"TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"}:
            return None
        raise
    return {key: entry.value for key, entry in entries.items() if entry.value is not None}
