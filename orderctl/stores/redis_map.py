"""Which server of a Redis Cluster owns each group, and asking several of them at the same time.

Why not redis-py's own cluster client: it finds the slot of every key in Python, has all threads wait for the one that reads the
map of slots, from servers that may all hang, and fails where ASK names a server that owns no slot yet, which is how a cluster
grows. Its connections, parsers and errors are used as they are.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

from redis import exceptions as driver
from redis.crc import key_slot

from orderctl.clock import Clock
from orderctl.errors import TierUnavailable
from orderctl.stores.redis_nodes import KNOCK_S, TIER, Access, Address, Command, Conversation, Deadline, Node, translate

REFRESH_PAUSE_S: Final = 0.1
"""The map of slots is read at most this often, however many calls fail."""


class GroupMap:
    """Which node owns each group, as CLUSTER SLOTS said last and MOVED has said since. For several threads.

    Nothing is asked before the first call, so a daemon starts, and says so, while the cluster is away.
    """

    def __init__(self, seeds: Sequence[Address], *, groups: int, access: Access, clock: Clock) -> None:
        self._seeds = tuple(seeds)
        self._slots = [key_slot(b"{%d}" % group) for group in range(groups)]
        self._access = access
        self._clock = clock
        self._owners: list[Address | None] = []
        self._nodes: dict[Address, Node] = {}
        self._nodes_lock = threading.Lock()
        self._is_closed = False
        self._refreshing = threading.Lock()
        self._is_doubtful = True
        self._next_refresh_s = float("-inf")
        self._failure: Exception | None = None

    def owner(self, group: int) -> Node:
        """The node that owns the group, as far as is known.

        Raises:
            TierUnavailable: none does.

        """
        address = self._owners[group]
        if address is None:
            self.doubt()
            raise TierUnavailable(TIER, f"no node of the cluster owns slot {self._slots[group]}, of group {group}")
        return self.node(address)

    def node(self, address: Address) -> Node:
        """The node at an address, be it of the cluster as yet or not."""
        with self._nodes_lock:
            if self._is_closed:
                raise TierUnavailable(TIER, "the store was closed")
            if address not in self._nodes:
                self._nodes[address] = Node(address, self._access, self._clock)
            return self._nodes[address]

    def one_of_each(self) -> list[int]:
        """A group of each node that owns any, and one that nobody owns if there is one."""
        return list({owner: group for group, owner in enumerate(self._owners)}.values())

    def primaries(self) -> list[Node]:
        """The nodes that own a group, as far as is known."""
        return [self.node(address) for address in dict.fromkeys(self._owners) if address is not None]

    def moved(self, group: int, address: Address) -> None:
        """A node said that another one owns the group."""
        self._owners[group] = address

    def doubt(self) -> None:
        """What a node did was not what the map says of it: read the map again before the next call."""
        self._is_doubtful = True

    def refresh(self) -> None:
        """Read the map again if it is in doubt, unless another thread does so or has done so a moment ago.

        Raises:
            TierUnavailable: there is no map, and no node that would tell.

        """
        # A thread that has a map goes on with it while another one reads the next.
        has_map = bool(self._owners)
        if (not has_map or self._is_due()) and self._refreshing.acquire(
            timeout=0 if has_map else self._access.timeout_s
        ):
            try:
                if self._is_due():
                    self._is_doubtful = not self._read_map()
                    self._next_refresh_s = self._clock.monotonic_s() + REFRESH_PAUSE_S
            finally:
                self._refreshing.release()
        if not self._owners:
            asked = f"asked {', '.join(map(str, self._seeds))}"
            error = translate(self._failure or driver.TimeoutError("no answer"))
            raise TierUnavailable(TIER, f"no node told which owns what ({asked}): {error.message}", hint=error.hint)

    def exchange(self, batches: Mapping[Node, Sequence[Command]]) -> dict[Node, list[Any]]:
        """Every node's replies to its commands, errors among them. All are asked before any is listened to."""
        with ExitStack() as stack:
            # Those that may not answer come last, and take nothing of the others' time.
            in_turn = sorted(batches, key=lambda node: node.is_in_doubt)
            conversations = {node: Conversation(node, batches[node]) for node in in_turn}
            deadline, patience = Deadline(self._clock, self._access.timeout_s), Deadline(self._clock, KNOCK_S)
            for conversation in conversations.values():
                stack.callback(conversation.close)
                conversation.begin(deadline, patience)
            deadline = Deadline(self._clock, self._access.timeout_s)
            return {node: conversation.replies(deadline) for node, conversation in conversations.items()}

    def close(self) -> None:
        """Let go of connections; those in use are let go of when they are given back."""
        with self._nodes_lock:
            nodes, self._nodes = list(self._nodes.values()), {}
            self._is_closed = True
        for node in nodes:
            node.pool.close()

    def _is_due(self) -> bool:
        return self._is_doubtful and self._clock.monotonic_s() >= self._next_refresh_s

    def _read_map(self) -> bool:
        """Take the map of the first node that knows an owner for every group, else the fullest; returns whether it is full."""
        deadline = Deadline(self._clock, self._access.timeout_s)
        known = [owner for owner in self._owners if owner is not None]
        fullest: list[Address | None] = []
        for node in map(self.node, dict.fromkeys([*known, *self._seeds])):
            [reply] = self.exchange({node: [("CLUSTER", "SLOTS")]})[node]
            if isinstance(reply, Exception):
                self._failure = reply
            else:
                owners = self._owners_in(reply, node.address)
                # A node that was cut off or has just begun to exist may know of nobody.
                fullest = min(fullest, owners, key=lambda heard: heard.count(None)) if fullest else owners
            if (fullest and None not in fullest) or deadline.is_over:
                break
        if any(fullest):
            self._owners = fullest
            self._forget_others()
        return bool(fullest) and None not in fullest

    def _owners_in(self, reply: Iterable[Sequence[Any]], asked: Address) -> list[Address | None]:
        """Each group's owner in a reply to CLUSTER SLOTS."""
        ranges = sorted((first, last, owner[0] or b"", owner[1]) for first, last, owner, *_ in reply)
        starts = [first for first, *_ in ranges]
        owners: list[Address | None] = []
        for slot in self._slots:
            at = bisect_right(starts, slot) - 1
            if at < 0 or ranges[at][1] < slot:
                owners.append(None)
                continue
            # A node that does not know its own name leaves it to whoever has reached it.
            host = ranges[at][2].decode()
            owners.append(Address(host if host not in {"", "?"} else asked.host, ranges[at][3]))
        return owners

    def _forget_others(self) -> None:
        wanted = {*self._owners, *self._seeds}
        with self._nodes_lock:
            gone = [self._nodes.pop(address) for address in list(self._nodes) if address not in wanted]
        for node in gone:
            node.pool.disconnect(inuse_connections=False)
