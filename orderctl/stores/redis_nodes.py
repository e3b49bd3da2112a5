"""One server of a Redis Cluster: its connections, what is said on them, and what the driver's errors mean in our words."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct
from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool
from redis.retry import Retry

from orderctl.clock import Clock
from orderctl.errors import ConfigError, TierError, TierRejected, TierUnavailable
from orderctl.secret import Secret
from orderctl.stores.redis_words import Word, spell

TIER: Final = "cache"
SILENCE_S: Final = 1.0
"""A node that let a time-out pass is not asked again for so long: otherwise each batch would pay it anew."""
KNOCK_S: Final = 0.2
"""How long the one call waits that then knocks for all, at all such nodes; before an answer nothing else is sent."""

Command = Sequence[Word]

# Enough for what came in while others were waited for: a node must not count as silent since another one is.
_SHORTEST_WAIT_S: Final = 0.02
# What a node that is no longer what the map says it is answers, or that nothing comes back from.
MISPLACED: Final = (driver.ConnectionError, driver.TimeoutError, driver.ClusterDownError, driver.ReadOnlyError)
_PASSING: Final = (*MISPLACED, driver.AskError, driver.TryAgainError, driver.OutOfMemoryError, driver.InvalidResponse)
# Those that have no class in the driver.
_PASSING_WORDS: Final = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNKILLABLE ")


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Address:
        """The address in `host:port`; an IPv6 host may stand in brackets.

        Raises:
            ValueError: it is none.

        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65_536:
            raise ValueError(f"{text!r} is not host:port")
        return Address(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(nodes: Sequence[str]) -> list[Address]:
    """Where a cluster's nodes are, as `[redis] nodes` names some of them.

    Raises:
        ConfigError: there is none, or one is not `host:port`.

    """
    try:
        found = [Address.parse(node) for node in nodes]
    except ValueError as error:
        raise ConfigError(f"[redis] nodes: {error}") from error
    if not found:
        raise ConfigError("[redis] nodes is empty; it names some of the cluster's nodes, each as host:port")
    return found


class Access(Struct, frozen=True):
    """How to come to the nodes. `timeout_s` bounds connecting to all that are asked, and again the wait for their answers."""

    username: str | None = None
    password: Secret | None = None
    timeout_s: float = 1.0


def translate(error: Exception) -> TierError:
    """What the driver's `error` is in our words.

    Never `OutcomeUnknown`: a call that may or may not have been done is one that may be repeated, or whose repetition is fenced
    (see `RedisCacheStore`). Nor is a node that is out of memory a fault of what it was given.
    """
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, driver.AuthenticationError):
        return TierUnavailable(TIER, message, hint="check the user name and the password for Redis")
    if isinstance(error, driver.NoPermissionError):
        return TierRejected(TIER, message, hint="the Redis user may not do this; see its ACL")
    passing = isinstance(error, _PASSING) or str(error).startswith(_PASSING_WORDS)
    return TierUnavailable(TIER, message) if passing else TierRejected(TIER, message)


class Node:
    """One server, and until when nobody waits for it. For several threads."""

    def __init__(self, address: Address, access: Access, clock: Clock) -> None:
        self.address = address
        self._clock = clock
        self._lock = threading.Lock()
        self._silent_until_s = float("-inf")
        self.is_in_doubt = False
        """Whether it let a time-out pass and has not answered since."""
        # RESP2: nothing here needs RESP3, and no server of it is asked for notifications that nobody would read.
        self.pool = ConnectionPool(
            host=address.host,
            port=address.port,
            username=access.username,
            password=access.password.reveal() if access.password is not None else None,
            protocol=2,
            socket_timeout=access.timeout_s,
            socket_connect_timeout=access.timeout_s,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )

    def may_be_asked(self, within_s: float = KNOCK_S) -> bool:
        """Whether to ask it now. At one that let a time-out pass one call at a time knocks, and the others go without it."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if now_s < self._silent_until_s:
                return False
            if not self.is_in_doubt:
                return True
            self._silent_until_s = now_s + SILENCE_S
        if not self._is_answering(within_s):
            return False
        with self._lock:
            self.is_in_doubt, self._silent_until_s = False, float("-inf")
        return True

    def note(self, error: driver.RedisError) -> driver.RedisError:
        """Remember a failure of its connection; returns the error."""
        if isinstance(error, driver.TimeoutError):
            with self._lock:
                self.is_in_doubt = True
                self._silent_until_s = self._clock.monotonic_s() + SILENCE_S
        return error

    def _is_answering(self, within_s: float) -> bool:
        """Whether it says anything, be it no."""
        brief = {"socket_timeout": within_s, "socket_connect_timeout": within_s}
        connection = Connection(**{**self.pool.connection_kwargs, **brief})  # type: ignore[no-untyped-call]
        try:
            connection.connect()  # type: ignore[no-untyped-call]
            connection.send_command("PING")  # type: ignore[no-untyped-call]
            connection.read_response()
        except driver.TimeoutError:
            return False
        except driver.RedisError:
            return True
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]
        return True


class Deadline:
    """A moment until which something may take."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._at_s = clock.monotonic_s() + seconds

    def left_s(self) -> float:
        """How long it is until then; a moment, where it is over."""
        return max(self._at_s - self._clock.monotonic_s(), _SHORTEST_WAIT_S)

    @property
    def is_over(self) -> bool:
        """Whether it has come."""
        return self._clock.monotonic_s() >= self._at_s


class Conversation:
    """Commands for a node, and their replies, which are read once or never."""

    def __init__(self, node: Node, commands: Sequence[Command]) -> None:
        self._node = node
        self._commands = commands
        self._unread = len(commands)
        self._error: driver.RedisError | None = None
        self._connection: Connection | None = None

    def begin(self, deadline: Deadline, patience: Deadline) -> None:
        """Send the commands, unless the time for it was over before it came to this node. `patience` is for knocking."""
        if deadline.is_over or not self._node.may_be_asked(patience.left_s()):
            self._error = driver.TimeoutError(
                f"{self._node.address} was not asked: it, or others, took too long before"
            )
            return
        try:
            self._connection = self._node.pool.get_connection()
            spelt = b"".join(map(spell, self._commands))
            self._connection.send_packed_command([spelt])  # type: ignore[no-untyped-call]
        except driver.RedisError as error:
            self._error = self._node.note(error)

    def replies(self, deadline: Deadline) -> list[Any]:
        """The reply to each command; an error where there was one, for all that follow if the connection broke."""
        found: list[Any] = []
        while self._unread and self._error is None:
            assert self._connection is not None
            try:
                found.append(self._connection.read_response(timeout=deadline.left_s()))
            except driver.ResponseError as error:
                found.append(error)
            except driver.RedisError as error:
                self._error = self._node.note(error)
                break
            self._unread -= 1
        return found + [self._error] * self._unread

    def close(self) -> None:
        """Give the connection back; broken, where replies are unread that its next user would take for its own."""
        if self._connection is not None:
            if self._unread:
                self._connection.disconnect()  # type: ignore[no-untyped-call]
            self._node.pool.release(self._connection)
