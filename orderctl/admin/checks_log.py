"""What must be true of the Kafka brokers and our topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from msgspec import Struct

from orderctl.admin.checks import Check, Seen, State, at_least, host_of, is_loopback, of_each, one_of, seen, unseen
from orderctl.services.lag import Lag
from orderctl.stores.facts_kafka import LogFacts, TopicFacts
from orderctl.stores.log import CHECKPOINTS, Topic

SESSION_MS = 6_000
"""How long a member may say nothing: a killed pump is succeeded within 15 s."""
MESSAGE_BYTES = 2 << 20
LAG_SHARE = 0.5
WEEK_MIN = 7 * 24 * 60
COPIES = 3


class FollowerLag(Struct, frozen=True):
    """How far the group of a daemon is behind a topic."""

    daemon: str
    topic: str
    lag: Lag


class LogChecked(Struct, frozen=True, kw_only=True):
    """The log, and what this deployment expects of it. `replication` is the configured number of copies."""

    log: LogFacts
    topics: tuple[Topic, ...]
    replication: int
    lags: tuple[FollowerLag, ...] = ()

    @property
    def both(self) -> list[tuple[Topic, TopicFacts]]:
        """The topics that are wanted and there."""
        return [(topic, self.log.topics[topic.name]) for topic in self.topics if topic.name in self.log.topics]


def _brokers(facts: LogChecked) -> Iterator[tuple[str, dict[str, str] | None]]:
    return ((broker.address, broker.settings) for broker in facts.log.brokers)


def _topics(facts: LogChecked) -> Iterator[tuple[str, dict[str, str] | None]]:
    return ((found.name, found.settings) for _, found in facts.both)


def _there(facts: LogChecked) -> Iterator[Seen]:
    for topic in facts.topics:
        is_there = topic.name in facts.log.topics
        yield seen(topic.name, "there" if is_there else "missing", "there", good=is_there)


def _partitions(facts: LogChecked) -> Iterator[Seen]:
    for topic, found in facts.both:
        good = found.partitions == topic.partitions
        yield seen(topic.name, found.partitions, f"{topic.partitions} partitions", good=good)


def _copies(facts: LogChecked) -> Iterator[Seen]:
    for topic, found in facts.both:
        if found.copies < facts.replication:
            yield Seen(topic.name, State.FINDING, f"{found.copies} copies", f"{facts.replication}, as configured")
        else:
            good = found.copies >= COPIES
            yield seen(topic.name, f"{found.copies} copies", f"{COPIES}", good=good, otherwise=State.NOTE)


def _in_sync_required(facts: LogChecked) -> Iterator[Seen]:
    for topic, found in facts.both:
        wanted = max(1, found.copies - 1)
        value = None if found.settings is None else found.settings.get("min.insync.replicas")
        if value is None:
            yield unseen(topic.name, f"min.insync.replicas = {wanted}")
        else:
            yield seen(topic.name, value, f"min.insync.replicas = {wanted}", good=int(value) == wanted)


def _in_sync(facts: LogChecked) -> Iterator[Seen]:
    for topic, found in facts.both:
        text = f"{found.leaderless} partitions without a leader, {found.lagging} with a lagging copy"
        good = not found.leaderless and not found.lagging
        yield seen(topic.name, "in sync" if good else text, "all copies in sync", good=good)


def _cleanup(facts: LogChecked) -> Iterator[Seen]:
    for topic, found in facts.both:
        wanted = "compact" if topic.compacted else "delete"
        value = None if found.settings is None else found.settings.get("cleanup.policy")
        yield unseen(topic.name, wanted) if value is None else seen(topic.name, value, wanted, good=value == wanted)


def _retention(facts: LogChecked) -> Iterator[Seen]:
    for topic, found in facts.both:
        if topic.compacted:
            continue
        needed_ms = topic.retention_s * 1000
        value = None if found.settings is None else found.settings.get("retention.ms")
        wanted = f"retention.ms >= {needed_ms}"
        if value is None:
            yield unseen(topic.name, wanted)
        else:
            yield seen(topic.name, value, wanted, good=int(value) < 0 or int(value) >= needed_ms)


def _retention_bytes(facts: LogChecked) -> Iterator[Seen]:
    yield from of_each(_topics, "retention.bytes", "retention.bytes = -1", one_of("-1"), absent="-1")(facts)


def _ahead_of_readers(facts: LogChecked) -> Iterator[Seen]:
    kept_s = {topic.name: topic.retention_s for topic in facts.topics}
    kept_s |= {
        topic.name: int((found.settings or {}).get("retention.ms", topic.retention_s * 1000)) // 1000
        for topic, found in facts.both
    }
    for each in facts.lags:
        limit_s = kept_s.get(each.topic, 0) * LAG_SHARE
        text = f"{each.lag.events} events behind, the oldest for {each.lag.age_s:.0f} s"
        good = limit_s < 0 or each.lag.age_s <= limit_s
        yield seen(f"{each.daemon} on {each.topic}", text, f"no older than {limit_s:.0f} s", good=good)


def _internal(facts: LogChecked) -> Iterator[Seen]:
    wanted = min(facts.replication, COPIES)
    yield from of_each(
        _brokers, "offsets.topic.replication.factor", f"{wanted} or more", at_least(wanted), otherwise=State.NOTE
    )(facts)


def _plain_text(facts: LogChecked) -> Iterator[Seen]:
    for broker in facts.log.brokers:
        good = is_loopback(host_of(broker.address))
        found = "this machine" if good else "plain text over the network"
        yield seen(broker.address, found, "a network of its own, or this machine", good=good, otherwise=State.NOTE)


def _topic(name: str, wanted: str, good: Callable[[str], bool]) -> Callable[[LogChecked], Iterable[Seen]]:
    return of_each(_topics, name, wanted, good)


def _broker(
    name: str, wanted: str, good: Callable[[str], bool], otherwise: State = State.FINDING
) -> Callable[[LogChecked], Iterable[Seen]]:
    return of_each(_brokers, name, wanted, good, otherwise=otherwise)


_MEND: Mapping[str, str] = MappingProxyType(
    {
        "topic": "kafka-configs.sh --alter --entity-type topics --entity-name TOPIC --add-config …",
        "broker": "Set it in the brokers' configuration, and start them again one by one.",
    }
)

CHECKS: tuple[Check[LogChecked], ...] = (
    Check("topics", "Daemons wait for topics that are not there.", "Run `orderctl migrate`.", _there),
    Check(
        "partitions",
        "A partition is a group: with another number, an order's events are looked for elsewhere.",
        "Partitions cannot be taken away: make the topic anew, with the daemons stopped, by `orderctl migrate`.",
        _partitions,
    ),
    Check(
        "copies",
        "An acknowledged change must outlive a broker; of three copies two may lag or one be lost.",
        "kafka-reassign-partitions.sh gives a topic more copies; [kafka] replication is for new ones.",
        _copies,
    ),
    Check(
        "min_insync",
        "acks=all waits for as many copies as this says: too few and a broker's loss loses changes.",
        _MEND["topic"] + " min.insync.replicas=2",
        _in_sync_required,
    ),
    Check(
        "in_sync",
        "A partition without a leader stops its group; one with a lagging copy is a broker from it.",
        "Start the broker that is away; see kafka-topics.sh --describe --under-replicated-partitions.",
        _in_sync,
    ),
    Check(
        "unclean_election",
        "A lagging broker that is made leader forgets what was acknowledged.",
        _MEND["topic"] + " unclean.leader.election.enable=false",
        _topic("unclean.leader.election.enable", "false", one_of("false")),
    ),
    Check(
        "cleanup",
        f"Changes must not be compacted away, and the positions in {CHECKPOINTS} must not be deleted by age.",
        _MEND["topic"] + " cleanup.policy=…",
        _cleanup,
    ),
    Check(
        "retention",
        "A daemon that was away for longer than messages are kept has missed some.",
        _MEND["topic"] + " retention.ms=604800000",
        _retention,
    ),
    Check(
        "retention_bytes",
        "A bound on bytes deletes messages long before their time when there is much to do.",
        _MEND["topic"] + " retention.bytes=-1",
        _retention_bytes,
    ),
    Check(
        "retention_against_lag",
        "Messages that are deleted before they are read have to be made up for by reconciling.",
        "See why the daemon is behind (orderctl status), and raise retention.ms meanwhile.",
        _ahead_of_readers,
    ),
    Check(
        "append_time",
        "Only the broker's time never runs backwards in a partition: replay by time relies on it.",
        _MEND["topic"] + " message.timestamp.type=LogAppendTime",
        _topic("message.timestamp.type", "LogAppendTime", one_of("LogAppendTime")),
    ),
    Check(
        "message_size",
        "A change that the broker refuses as too large stops the pump.",
        _MEND["topic"] + f" max.message.bytes={MESSAGE_BYTES}",
        _topic("max.message.bytes", f"{MESSAGE_BYTES} or more", at_least(MESSAGE_BYTES)),
    ),
    Check(
        "session_timeout",
        "Members whose silence is shorter than the brokers allow may not join.",
        _MEND["broker"] + f" group.min.session.timeout.ms={SESSION_MS}",
        _broker("group.min.session.timeout.ms", f"{SESSION_MS} or less", lambda value: int(value) <= SESSION_MS),
    ),
    Check(
        "offsets_kept",
        "A group that was stopped for longer than its offsets are kept begins again at the oldest message.",
        _MEND["broker"] + f" offsets.retention.minutes={WEEK_MIN}",
        _broker("offsets.retention.minutes", f"{WEEK_MIN} or more", at_least(WEEK_MIN)),
    ),
    Check(
        "offsets_copies",
        "Groups whose offsets are lost read everything again.",
        "kafka-reassign-partitions.sh for __consumer_offsets; offsets.topic.replication.factor is for new ones.",
        _internal,
    ),
    Check(
        "auto_create",
        "A topic that a stranger's typing error made has the wrong partitions.",
        _MEND["broker"] + " auto.create.topics.enable=false",
        _broker("auto.create.topics.enable", "false", one_of("false"), State.NOTE),
    ),
    Check(
        "plain_text",
        "Connections to Kafka are not encrypted.",
        "Keep brokers and daemons in a network that nobody else is in, or tunnel it.",
        _plain_text,
    ),
)
