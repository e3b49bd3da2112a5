"""What the nodes of a Redis Cluster say of themselves, for `doctor`: nothing is written, and no record is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct
from redis import exceptions as driver

from orderctl.clock import US_PER_S, Clock
from orderctl.errors import TierUnavailable
from orderctl.stores.redis_nodes import (
    TIER,
    Access,
    Address,
    Command,
    Conversation,
    Deadline,
    Node,
    parse_addresses,
    translate,
)

SLOTS: Final = 16_384
_COMMANDS: Final[tuple[Command, ...]] = (("TIME",), ("INFO",), ("CLUSTER", "INFO"), ("CONFIG", "GET", "*"))


class NodeFacts(Struct, frozen=True, kw_only=True):
    """One node. `settings` is None where the user may not see them; `info` and `cluster` are INFO's and CLUSTER INFO's lines.

    `skew_s` is how far its clock is ahead of this machine's, at the least. `failure` is why it does not answer; then it has
    nothing else.
    """

    address: str
    is_primary: bool
    skew_s: float = 0.0
    settings: dict[str, str] | None = None
    info: dict[str, str] = {}
    cluster: dict[str, str] = {}
    failure: str | None = None


class ClusterFacts(Struct, frozen=True, kw_only=True):
    """A cluster: how many slots have an owner, whether a password is used, and its nodes."""

    slots: int
    has_password: bool
    nodes: tuple[NodeFacts, ...]


def cluster_facts(nodes: Sequence[str], access: Access, clock: Clock) -> ClusterFacts:
    """Look at a cluster; `nodes` are some of its members, as host:port.

    Raises:
        TierError: none of them tells of the others.

    """
    seeds = parse_addresses(nodes)
    slots, primaries, replicas = _members(seeds, access, clock)
    found = [_node(address, access, clock, is_primary=True) for address in primaries]
    found += [_node(address, access, clock, is_primary=False) for address in replicas]
    return ClusterFacts(slots=slots, has_password=access.password is not None, nodes=tuple(found))


def _members(seeds: Sequence[Address], access: Access, clock: Clock) -> tuple[int, list[Address], list[Address]]:
    """How many slots are owned, by whom, and who copies those."""
    failure: Exception = driver.TimeoutError("no answer")
    for seed in seeds:
        [reply] = _ask(seed, [("CLUSTER", "SLOTS")], access, clock)
        if isinstance(reply, Exception):
            failure = reply
            continue
        primaries: dict[Address, None] = {}
        replicas: dict[Address, None] = {}
        for _, _, owner, *copies in reply:
            primaries[_address(owner, seed)] = None
            replicas |= dict.fromkeys(_address(copy, seed) for copy in copies)
        slots = sum(last - first + 1 for first, last, *_ in reply)
        return slots, list(primaries) or [seed], list(replicas)
    error = translate(failure)
    raise TierUnavailable(TIER, f"no node told of the others: {error.message}", hint=error.hint)


def _address(node: Sequence[Any], asked: Address) -> Address:
    host = (node[0] or b"").decode()
    return Address(host if host not in {"", "?"} else asked.host, int(node[1]))


def _node(address: Address, access: Access, clock: Clock, *, is_primary: bool) -> NodeFacts:
    asked_us = clock.now_us()
    replies = _ask(address, _COMMANDS, access, clock)
    answered_us = clock.now_us()
    time, info, cluster, settings = replies
    for reply in (time, info, cluster):
        if isinstance(reply, Exception):
            return NodeFacts(address=str(address), is_primary=is_primary, failure=translate(reply).message)
    there_us = int(time[0]) * US_PER_S + int(time[1])
    return NodeFacts(
        address=str(address),
        is_primary=is_primary,
        skew_s=(max(0, there_us - answered_us) - max(0, asked_us - there_us)) / US_PER_S,
        settings=None if isinstance(settings, Exception) else _settings(settings),
        info=_lines(info),
        cluster=_lines(cluster),
    )


def _settings(reply: Sequence[bytes]) -> dict[str, str]:
    values: Iterable[bytes] = reply[1::2]
    return {name.decode(): value.decode(errors="replace") for name, value in zip(reply[::2], values, strict=True)}


def _lines(reply: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in reply.decode(errors="replace").splitlines() if ":" in line)
    return {name: value for name, _, value in pairs}


def _ask(address: Address, commands: Sequence[Command], access: Access, clock: Clock) -> list[Any]:
    """Each command's reply, an error where there is none."""
    node = Node(address, access, clock)
    deadline = Deadline(clock, access.timeout_s)
    conversation = Conversation(node, commands)
    try:
        conversation.begin(deadline, deadline)
        return conversation.replies(deadline)
    finally:
        conversation.close()
        node.pool.close()
