"""What must be true of the Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator

from orderctl.admin.checks import Check, Seen, State, at_least, host_of, is_loopback, of_each, one_of, seen, unseen
from orderctl.stores.facts_redis import SLOTS, ClusterFacts
from orderctl.stores.redis_expirations import missing_flags

SKEW_MAX_S = 1.0
FULL_SHARE = 0.95
RELEASE = 7


def _settings(facts: ClusterFacts) -> Iterator[tuple[str, dict[str, str] | None]]:
    return ((node.address, node.settings) for node in facts.nodes if node.failure is None)


def _answer(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        yield seen(node.address, node.failure or "answers", "an answer", good=node.failure is None)


def _state(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        if node.failure is None:
            state = node.cluster.get("cluster_state", "no cluster")
            yield seen(node.address, state, "ok", good=state == "ok")


def _covered(facts: ClusterFacts) -> Iterator[Seen]:
    yield seen("cluster", f"{facts.slots} slots have an owner", f"all {SLOTS}", good=facts.slots == SLOTS)


def _replicas(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        if node.is_primary and node.failure is None:
            count = node.info.get("connected_slaves", "0")
            yield seen(node.address, f"{count} replicas", "1 or more", good=count != "0", otherwise=State.NOTE)


def _events(facts: ClusterFacts) -> Iterator[Seen]:
    wanted = "notify-keyspace-events with E, x and e"
    for node in facts.nodes:
        if not node.is_primary or node.failure is not None:
            continue
        if node.settings is None:
            yield unseen(node.address, wanted)
        else:
            flags = node.settings.get("notify-keyspace-events", "")
            yield seen(node.address, flags or '""', wanted, good=not missing_flags(flags))


def _room(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        bound = int(node.info.get("maxmemory", "0") or 0)
        if node.failure is None and bound:
            share = int(node.info.get("used_memory", "0")) / bound
            wanted = f"below {FULL_SHARE:.0%}"
            yield seen(node.address, f"{share:.0%} used", wanted, good=share < FULL_SHARE, otherwise=State.NOTE)


def _clock(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        if node.failure is None:
            good = abs(node.skew_s) <= SKEW_MAX_S
            yield seen(node.address, f"{node.skew_s:+.3f} s", f"within {SKEW_MAX_S:g} s of this machine's", good=good)


def _release(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        if node.failure is None:
            release = node.info.get("redis_version", "?")
            yield seen(node.address, release, f"{RELEASE} or later", good=at_least(RELEASE)(release.partition(".")[0]))


def _password(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        good = facts.has_password or is_loopback(host_of(node.address))
        found = "a password" if facts.has_password else "none"
        yield seen(node.address, found, "a password, except on this machine", good=good)


def _plain_text(facts: ClusterFacts) -> Iterator[Seen]:
    for node in facts.nodes:
        good = is_loopback(host_of(node.address))
        found = "this machine" if good else "plain text over the network"
        yield seen(node.address, found, "a network of its own, or this machine", good=good, otherwise=State.NOTE)


CHECKS: tuple[Check[ClusterFacts], ...] = (
    Check(
        "nodes",
        "What a node holds is read from the databases while it is away.",
        "Start it, or let its replica take over: CLUSTER FAILOVER.",
        _answer,
    ),
    Check(
        "cluster_state",
        "A node that has lost the majority answers nothing.",
        "See CLUSTER NODES on it, and the network between the nodes.",
        _state,
    ),
    Check(
        "slots",
        "Orders of groups in a slot without an owner cannot be cached.",
        "redis-cli --cluster fix, or CLUSTER ADDSLOTS.",
        _covered,
    ),
    Check(
        "full_coverage",
        "Half a cache is better than none: else one lost node takes all the others with it.",
        "CONFIG SET cluster-require-full-coverage no, and in redis.conf.",
        of_each(_settings, "cluster-require-full-coverage", "no", one_of("no"), otherwise=State.NOTE),
    ),
    Check(
        "replicas",
        "Without one, a lost node's records are all read from the databases again.",
        "Add a replica for each primary.",
        _replicas,
    ),
    Check(
        "keyspace_events",
        "Time-outs are prompt only if every primary tells of timers that expired; the sweep finds them later.",
        "CONFIG SET notify-keyspace-events Exe, and in redis.conf.",
        _events,
    ),
    Check(
        "eviction",
        "Keys without a TTL say how far the cache has followed the log; only a volatile policy spares them.",
        "CONFIG SET maxmemory-policy volatile-lru, and in redis.conf.",
        of_each(_settings, "maxmemory-policy", "volatile-…", lambda value: value.startswith("volatile-")),
    ),
    Check(
        "memory_bound",
        "Without a bound the kernel ends the process instead of Redis evicting records.",
        "CONFIG SET maxmemory to what the machine can spare, and in redis.conf.",
        of_each(_settings, "maxmemory", "above 0", at_least(1)),
    ),
    Check(
        "memory_room",
        "A node that is full evicts records that readers then load from the databases.",
        "Give it more memory, add nodes, or shorten [cache] record_ttl.",
        _room,
    ),
    Check(
        "snapshots",
        "A node that starts from a snapshot brings old states back.",
        'CONFIG SET save "", in redis.conf too, and delete its dump file.',
        of_each(_settings, "save", 'save ""', lambda value: value == ""),
    ),
    Check(
        "append_only_file",
        "A node that starts from its file brings back states that were since invalidated.",
        "CONFIG SET appendonly no, and in redis.conf.",
        of_each(_settings, "appendonly", "appendonly no", one_of("no")),
    ),
    Check(
        "clock",
        "A node whose clock is behind refuses the creators' tentative records.",
        "Let NTP (chrony, systemd-timesyncd) keep its clock.",
        _clock,
    ),
    Check(
        "release",
        "The scripts use what Redis has since 7.0.",
        "Upgrade the node.",
        _release,
    ),
    Check(
        "password",
        "Whoever reaches a node can read every cached order, and write what readers believe.",
        "Set requirepass (or an ACL user) and masterauth, and [redis] password_file.",
        _password,
    ),
    Check(
        "plain_text",
        "Connections to Redis are not encrypted.",
        "Keep nodes and daemons in a network that nobody else is in, or tunnel it.",
        _plain_text,
    ),
)
