"""Sends each group's call to the node that owns the group, and repeats what a cluster asks to be repeated.

All calls for one node travel in one round trip, and all nodes work at the same time. What may be answered instead of a reply:

    NOSCRIPT   the node does not know the script: that call again, with the script's text
    MOVED      another node owns the slot: the call again, there, and later ones too
    ASK        the slot is on the move, and its keys are at the other end already: this call again, there
    TRYAGAIN   the slot is on the move, and the keys are at both ends: one call for each key; a call that must stay whole waits
    no answer  the map of slots is read again. A lost connection is made again once; a node that is silent is not waited for
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct, structs
from redis import exceptions as driver

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.stores.redis_map import GroupMap
from orderctl.stores.redis_nodes import MISPLACED, Address, Command, Node, translate
from orderctl.stores.redis_scripts import Script
from orderctl.stores.redis_words import Word

MOVE_PATIENCE_S: Final = 2.0
"""So long a call that must stay whole waits for a slot to arrive; whoever follows the log asks again later."""
MOVE_PAUSE_S: Final = 0.02
REPEATS_MAX: Final = 8
"""A call that is sent from one node to the next for ever is given up."""


class Call(Struct, frozen=True):
    """What one group's node is to do with some of the group's keys: a script, or a command that takes nothing but keys.

    `head` are the arguments that are for all keys; then come `arguments`, equally many for each key. The reply is a list with an
    item for each key, or a sum over them, which becomes a list where the call is split. A call that `is_whole` never is split,
    and its reply may be anything.
    """

    group: int
    what: Script | str
    keys: Sequence[str]
    head: Sequence[Word] = ()
    arguments: Sequence[Word] = ()
    is_whole: bool = False

    def command(self, *, with_text: bool) -> Command:
        """The words that are sent."""
        if isinstance(self.what, str):
            return [self.what, *self.keys]
        name, script = ("EVAL", self.what.text) if with_text else ("EVALSHA", self.what.digest)
        return [name, script, len(self.keys), *self.keys, *self.head, *self.arguments]

    def split(self) -> list[Call]:
        """The same as one call for each key."""
        width = len(self.arguments) // len(self.keys)
        return [
            structs.replace(self, keys=[key], arguments=self.arguments[i * width : (i + 1) * width])
            for i, key in enumerate(self.keys)
        ]


class _Attempt(Struct):
    """A call on its way; `at` is its place among the calls. `asked` is the node that ASK named, for once."""

    at: int
    call: Call
    asked: Address | None = None
    with_text: bool = False
    was_cut_off: bool = False
    repeats: int = 0

    def commands(self) -> list[Command]:
        """What is sent, to be answered by as many replies, of which the last one counts."""
        command = self.call.command(with_text=self.with_text)
        return [("ASKING",), command] if self.asked is not None else [command]


class Caller:
    """Runs calls on the nodes of a cluster. For several threads."""

    def __init__(self, nodes: GroupMap, clock: Clock) -> None:
        self._nodes = nodes
        self._clock = clock
        self._closing = threading.Event()

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Each call's reply. Where it raises, all were tried, and some of them may have been done and others not.

        Raises:
            TierUnavailable: a node cannot be reached, has no room, or keeps its slot on the move.
            TierRejected: a node refuses what it is given.

        """
        replies = self.run_each(calls)
        for reply in replies:
            if isinstance(reply, TierError):
                raise reply
        return replies

    def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """Each call's reply, or in its place why there is none: one node's failure is not that of what others were asked.

        Raises:
            TierUnavailable: nobody tells which node is to be asked for what.

        """
        replies: list[Any] = [None] * len(calls)
        attempts = [_Attempt(at, call) for at, call in enumerate(calls)]
        deadline_s = self._clock.monotonic_s() + MOVE_PATIENCE_S
        while attempts:
            self._nodes.refresh()
            again: list[_Attempt] = []
            for attempt, reply in self._round(attempts):
                if isinstance(reply, TierError) or not isinstance(reply, Exception):
                    replies[attempt.at] = reply
                elif self._is_torn(attempt.call, reply):
                    replies[attempt.at] = self._torn(attempt.call)
                elif isinstance(following := self._next(attempt, reply, deadline_s), TierError):
                    replies[attempt.at] = following
                else:
                    again.append(following)
            attempts = again
        return replies

    def one_of_each_node(self) -> list[int]:
        """A group of each node.

        Raises:
            TierUnavailable: nobody tells which there are.

        """
        self._nodes.refresh()
        return self._nodes.one_of_each()

    def close(self) -> None:
        """Let go of connections; whoever waits for a slot to arrive stops."""
        self._closing.set()
        self._nodes.close()

    def _round(self, attempts: Sequence[_Attempt]) -> list[tuple[_Attempt, Any]]:
        """Each attempt and what came of it: a reply or an error."""
        by_node: dict[Node, list[_Attempt]] = {}
        outcome: list[tuple[_Attempt, Any]] = []
        for attempt in attempts:
            try:
                node = self._nodes.node(attempt.asked) if attempt.asked else self._nodes.owner(attempt.call.group)
            except TierError as error:
                outcome.append((attempt, error))
            else:
                by_node.setdefault(node, []).append(attempt)
        batches = {node: [c for attempt in sent for c in attempt.commands()] for node, sent in by_node.items()}
        for node, replies in self._nodes.exchange(batches).items():
            in_turn = iter(replies)
            for attempt in by_node[node]:
                reply = [next(in_turn) for _ in attempt.commands()][-1]
                outcome.append((attempt, _located(reply, node)))
        return outcome

    def _is_torn(self, call: Call, error: Exception) -> bool:
        """Whether the call's keys are at both ends of a move, and may be asked for one by one: a single one is at one end."""
        return isinstance(error, driver.TryAgainError) and not call.is_whole and len(call.keys) > 1

    def _torn(self, call: Call) -> Any:
        """What the call's keys say, each asked for by itself."""
        ones = self.run_each(call.split())
        failures = [one for one in ones if isinstance(one, TierError)]
        return failures[0] if failures else [one[0] if isinstance(one, list) else one for one in ones]

    def _next(self, attempt: _Attempt, error: Exception, deadline_s: float) -> _Attempt | TierError:
        """How to repeat what was answered by `error`, or what that means where it is not to be repeated."""
        again = structs.replace(attempt, asked=None, repeats=attempt.repeats + 1)
        match error:
            case driver.TryAgainError() if self._clock.monotonic_s() < deadline_s:
                self._clock.wait(self._closing, MOVE_PAUSE_S)
                return structs.replace(again, repeats=attempt.repeats)
            case _ if again.repeats > REPEATS_MAX:
                pass
            case driver.NoScriptError():
                return structs.replace(again, asked=attempt.asked, with_text=True)
            case driver.MovedError():
                self._nodes.moved(attempt.call.group, Address(error.host, error.port))
                return again
            case driver.AskError():
                return structs.replace(again, asked=Address(error.host, error.port))
            case _ if isinstance(error, MISPLACED):
                self._nodes.doubt()
                if _may_be_stale(error) and not attempt.was_cut_off:
                    return structs.replace(again, was_cut_off=True)
        return translate(error)


def _may_be_stale(error: Exception) -> bool:
    """Whether the failure may be the connection's or the map's alone: a second try costs nothing and may go well."""
    if isinstance(error, driver.AuthenticationError | driver.BusyLoadingError | driver.MaxConnectionsError):
        return False
    return isinstance(error, driver.ConnectionError | driver.ReadOnlyError)


def _located(reply: Any, node: Node) -> Any:
    """`reply`; a redirection that names no host means the one that gave it."""
    if isinstance(reply, driver.AskError) and not reply.host:
        reply.host = node.address.host
    return reply
