"""One connection to one server of a Redis Cluster, on which it tells of each key that expires or is evicted."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from redis import exceptions as driver

from orderctl.stores.redis_nodes import Node

EXPIRED: Final = b"__keyevent@0__:expired"
EVICTED: Final = b"__keyevent@0__:evicted"
READ_MAX: Final = 10_000
"""So many messages are read at a time, so that one server in a storm leaves the others their turn."""


class KeyEvent(NamedTuple):
    """What happened (the channel) to a key."""

    channel: bytes
    key: bytes


class Subscription:
    """A connection that listens. What comes while nobody reads waits on both ends, within the server's own limit."""

    def __init__(self, node: Node) -> None:
        """Connect and subscribe.

        Raises:
            RedisError: the server cannot be reached, or refuses.

        """
        if not node.may_be_asked():
            raise driver.TimeoutError(f"{node.address} does not answer")
        self._node = node
        self._connection = node.pool.get_connection()
        try:
            self._send("SUBSCRIBE", EXPIRED, EVICTED)
            for _ in (EXPIRED, EVICTED):
                self._connection.read_response()
        except BaseException:
            self.close()
            raise
        self.pings_unanswered = 0
        # The driver has no other way to wait for several connections at once.
        self._fd: int = self._connection._sock.fileno()  # type: ignore[attr-defined]  # noqa: SLF001

    def fileno(self) -> int:
        """The socket, for waiting on several of them."""
        return self._fd

    def ping(self) -> None:
        """Ask for a sign of life: a connection that somebody in between has forgotten would be quiet for ever.

        Raises:
            RedisError: the connection is broken.

        """
        self._send("PING")
        self.pings_unanswered += 1

    def read(self) -> list[KeyEvent]:
        """What has come; does not wait.

        Raises:
            RedisError: the connection is broken.

        """
        found: list[KeyEvent] = []
        for _ in range(READ_MAX):
            try:
                reply: Any = self._connection.read_response(timeout=0, disconnect_on_error=False)
            except driver.TimeoutError:
                break
            self.pings_unanswered = 0
            if reply[0] == b"message":
                found.append(KeyEvent(reply[1], reply[2]))
        return found

    def close(self) -> None:
        """Hang up: a connection that has subscribed is of no use to anybody else."""
        self._connection.disconnect()  # type: ignore[no-untyped-call]
        self._node.pool.release(self._connection)

    def _send(self, *words: bytes | str) -> None:
        self._connection.send_command(*words, check_health=False)  # type: ignore[no-untyped-call]
