"""What goes out of a Redis Cluster: keyspace events, which each primary tells to those alone who are connected to it.

Once a second the map of slots is read again, so a fail-over or a slot that moved is followed within that time; what went in
between is lost, as events are. A server that was started anew has forgotten that it is to tell: it is told again.
"""

from __future__ import annotations

import re
import selectors
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct
from redis import exceptions as driver

from orderctl.clock import Clock
from orderctl.errors import TierError, TierUnavailable
from orderctl.ids import group_of, is_canonical
from orderctl.stores.expirations import Expiration, Gone
from orderctl.stores.redis_calls import Caller
from orderctl.stores.redis_due import DueTimers
from orderctl.stores.redis_map import GroupMap
from orderctl.stores.redis_nodes import TIER, Access, Address, Node, parse_addresses, translate
from orderctl.stores.redis_subscription import EVICTED, EXPIRED, KeyEvent, Subscription

HOUSE_S: Final = 1.0
"""How often the map is read, connections are tried, and signs of life are asked for."""
RETRY_MIN_S: Final = 0.25
RETRY_MAX_S: Final = 4.0
FLAGS_S: Final = 5.0
"""How often a server is asked whether it tells of events …"""
REFUSED_S: Final = 60.0
"""… and one that does not let us ask."""
PINGS_MAX: Final = 3
"""Signs of life that may be missing."""

_OPTION: Final = "notify-keyspace-events"
_NEEDED: Final = "Exe"
_ALL: Final = frozenset("g$lshzxetd")
"""What `A` stands for."""
_KEY: Final = re.compile(r"([ot]):\{([0-9]{1,4})\}:([0-9a-f-]{36})")
_WHAT: Final = {
    (EXPIRED, "t"): Gone.TIMER,
    (EVICTED, "t"): Gone.TIMER_EVICTED,
    (EXPIRED, "o"): Gone.RECORD_EXPIRED,
    (EVICTED, "o"): Gone.RECORD_EVICTED,
}


def open_redis_expirations(nodes: Sequence[str], *, groups: int, access: Access, clock: Clock) -> RedisExpirations:
    """Who follows the cluster that `nodes` (`host:port`, some of its members) belong to. It connects when it is first polled.

    Raises:
        ConfigError: there is no node, or one is not `host:port`.

    """
    seeds = parse_addresses(nodes)
    return RedisExpirations(GroupMap(seeds, groups=groups, access=access, clock=clock), groups=groups, clock=clock)


def expiration_of(event: KeyEvent, groups: int) -> Expiration | None:
    """What an event says of an order of ours; None where its key is somebody else's."""
    match = _KEY.fullmatch(event.key.decode("latin-1"))
    if match is None or (event.channel, match[1]) not in _WHAT:
        return None
    order_id = match[3]
    if not is_canonical(order_id) or str(group_of(order_id, groups)) != match[2]:
        return None
    return Expiration(order_id, _WHAT[event.channel, match[1]])


def missing_flags(flags: str) -> str:
    """What is to be added to a server's flags so that it tells of expired and evicted keys by the event."""
    has = set(flags) | (_ALL if "A" in flags else set())
    return "".join(flag for flag in _NEEDED if flag not in has)


class _Ear(Struct, eq=False):
    """A primary, and how it stands with it. `failure` is why it is not connected, `mute` why it may say nothing all the same."""

    node: Node
    subscription: Subscription | None = None
    failure: str | None = None
    mute: str | None = None
    retry_at_s: float = 0.0
    retry_s: float = 0.0
    ask_flags_at_s: float = 0.0

    @property
    def complaint(self) -> str | None:
        """Why nothing may come from there."""
        reason = self.failure if self.subscription is None else self.mute
        return None if reason is None else f"{self.node.address}: {reason}"


class RedisExpirations:
    """`Expirations` of a Redis Cluster: a connection to each primary, all of which are waited for at once."""

    def __init__(self, nodes: GroupMap, *, groups: int, clock: Clock) -> None:
        self._map = nodes
        self._groups = groups
        self._clock = clock
        self._due = DueTimers(Caller(nodes, clock), groups=groups, clock=clock)
        self._selector = selectors.DefaultSelector()
        self._ears: dict[Address, _Ear] = {}
        self._keep_house_at_s = float("-inf")
        self._lost: TierError | None = None
        self._is_closed = False

    def poll(self, wait_s: float) -> list[Expiration]:
        until_s = self._clock.monotonic_s() + wait_s
        while True:
            self._keep_house()
            self._due.touch()
            if found := self._read():
                return found
            now_s = self._clock.monotonic_s()
            if now_s >= until_s:
                return []
            self._selector.select(max(0.0, min(until_s, self._keep_house_at_s, self._due.next_s) - now_s))

    def deaf(self) -> list[str]:
        lines = [] if self._lost is None else [f"the map of slots cannot be read: {self._lost.message}"]
        return lines + [line for ear in list(self._ears.values()) if (line := ear.complaint) is not None]

    def close(self) -> None:
        for address in list(self._ears):
            self._forget(address)
        self._selector.close()
        self._map.close()
        self._is_closed = True

    # --- keeping house: the map, the connections, the flags ---------------------------------------------------------------

    def _keep_house(self) -> None:
        if self._is_closed:
            raise TierUnavailable(TIER, "nobody listens any more: it was closed")
        if self._clock.monotonic_s() < self._keep_house_at_s:
            return
        self._read_map()
        for ear in self._ears.values():
            self._tend(ear)
        self._switch_on()
        self._keep_house_at_s = self._clock.monotonic_s() + HOUSE_S
        if not any(ear.subscription for ear in self._ears.values()):
            why = "; ".join(self.deaf()) or "no node owns a slot of ours"
            raise TierUnavailable(TIER, f"nobody tells of what goes out of the cache: {why}")

    def _read_map(self) -> None:
        try:
            self._map.doubt()
            self._map.refresh()
            self._lost = None
        except TierError as error:
            self._lost = error
            return
        nodes = {node.address: node for node in self._map.primaries()}
        for address in self._ears.keys() - nodes.keys():
            self._forget(address)
        for address in nodes.keys() - self._ears.keys():
            self._ears[address] = _Ear(nodes[address])

    def _tend(self, ear: _Ear) -> None:
        """See to it that the primary is listened to."""
        try:
            if ear.subscription is None:
                self._listen(ear)
            elif ear.subscription.pings_unanswered >= PINGS_MAX:
                self._lose(ear, driver.TimeoutError("it gives no sign of life"))
            else:
                ear.subscription.ping()
        except driver.RedisError as error:
            self._lose(ear, error)

    def _listen(self, ear: _Ear) -> None:
        if self._clock.monotonic_s() < ear.retry_at_s:
            return
        ear.subscription = Subscription(ear.node)
        self._selector.register(ear.subscription, selectors.EVENT_READ)
        ear.failure, ear.retry_s, ear.ask_flags_at_s = None, 0.0, 0.0

    def _lose(self, ear: _Ear, error: driver.RedisError) -> None:
        """Its connection is broken, or could not be made: try again, at first soon and then less often."""
        self._hang_up(ear)
        ear.failure = translate(ear.node.note(error)).message
        ear.retry_s = min(max(2 * ear.retry_s, RETRY_MIN_S), RETRY_MAX_S)
        ear.retry_at_s = self._clock.monotonic_s() + ear.retry_s
        self._keep_house_at_s = min(self._keep_house_at_s, ear.retry_at_s)

    def _forget(self, address: Address) -> None:
        self._hang_up(self._ears.pop(address))

    def _hang_up(self, ear: _Ear) -> None:
        if ear.subscription is not None:
            with suppress(KeyError, ValueError):  # a socket that is closed already is in the selector no more
                self._selector.unregister(ear.subscription)
            ear.subscription.close()
            ear.subscription = None

    def _switch_on(self) -> None:
        """Have every server tell that does not; say of those that may not be told to."""
        now_s = self._clock.monotonic_s()
        due = {ear.node: ear for ear in self._ears.values() if ear.subscription and now_s >= ear.ask_flags_at_s}
        replies = self._map.exchange({node: [("CONFIG", "GET", _OPTION)] for node in due})
        quiet: dict[Node, str] = {}
        for node, [reply] in replies.items():
            ear = due[node]
            if isinstance(reply, Exception):
                self._cannot_tell(ear, reply)
                continue
            ear.mute, ear.ask_flags_at_s = None, now_s + FLAGS_S
            flags = reply[1].decode()
            if missing := missing_flags(flags):
                quiet[node] = flags + missing
        answers = self._map.exchange({node: [("CONFIG", "SET", _OPTION, flags)] for node, flags in quiet.items()})
        for node, [answer] in answers.items():
            if isinstance(answer, Exception):
                due[node].mute = f"{_OPTION} lacks some of {_NEEDED}, and may not be set ({answer})"

    def _cannot_tell(self, ear: _Ear, error: Exception) -> None:
        """The server does not let us look. If an event comes after all, its flags are right."""
        if isinstance(error, driver.ResponseError):
            ear.mute = f"{_OPTION} may not be looked at ({error}); it is to contain {_NEEDED}"
            ear.ask_flags_at_s = self._clock.monotonic_s() + REFUSED_S

    # --- reading ----------------------------------------------------------------------------------------------------------

    def _read(self) -> list[Expiration]:
        found: list[Expiration] = []
        for ear in self._ears.values():
            if ear.subscription is None:
                continue
            try:
                events = ear.subscription.read()
            except driver.RedisError as error:
                self._lose(ear, error)
                continue
            if events:
                ear.mute = None
            found += [one for event in events if (one := expiration_of(event, self._groups)) is not None]
        return found
