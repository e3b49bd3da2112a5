"""The change feed over a MySQL's or MariaDB's binlog: what the primary itself tells its replicas, read as one of them would.

Positions are GTIDs, so they mean the same on a promoted replica. A reader is one connection and never reconnects: when that
is lost, whoever reads opens another at the last boundary that it kept.

The time of a change: MySQL tells when it was committed, in microseconds. MariaDB 10.11 tells in which second its statement began;
the order's own `updated_at` is taken instead where it agrees with that to two seconds, and the second where not (and for
deletions, which do not touch `updated_at`).
"""

from __future__ import annotations

import os
from typing import Final

from orderctl.clock import Clock
from orderctl.errors import TierUnavailable
from orderctl.ids import RandomBytes
from orderctl.stores.binlog_stream import EventStream, open_stream
from orderctl.stores.binlog_transactions import Transactions
from orderctl.stores.feed import FeedItem
from orderctl.stores.mysql_driver import TIER, MysqlServer

HEARTBEAT_S: Final = 1.0
"""How often a quiet server shows that it is there."""
SILENCE_MAX_S: Final = 5.0
"""A server that is silent for so long is lost."""
IDLE_BOUNDARY_S: Final = 30.0
"""So often the reader of a quiet shard is given a boundary though no order changed: other tables' transactions go through the
binlog all the same, and a checkpoint that stood still for days would be found purged."""


class BinlogFeed:
    """`ChangeFeed` of one shard. It holds no connection; each reader has its own.

    Its user needs REPLICATION SLAVE and REPLICATION CLIENT (in MariaDB, BINLOG MONITOR), and any right on the database.
    """

    def __init__(
        self,
        server: MysqlServer,
        *,
        shard: str,
        clock: Clock,
        random: RandomBytes = os.urandom,
        heartbeat_s: float = HEARTBEAT_S,
        silence_max_s: float = SILENCE_MAX_S,
        idle_boundary_s: float = IDLE_BOUNDARY_S,
    ) -> None:
        self._server = server
        self._shard = shard
        self._clock = clock
        self._random = random
        self._heartbeat_s = heartbeat_s
        self._silence_max_s = silence_max_s
        self._idle_boundary_s = idle_boundary_s

    @property
    def shard(self) -> str:
        return self._shard

    def open(self, position: str | None) -> BinlogReader:
        stream, start, first = open_stream(
            self._server,
            position,
            server_id=_server_id(self._random),
            clock=self._clock,
            heartbeat_s=self._heartbeat_s,
            silence_max_s=self._silence_max_s,
        )
        try:
            transactions = Transactions(shard=self._shard, database=self._server.database, position=start)
            transactions.take(first)
        except BaseException:
            stream.close()
            raise
        return BinlogReader(stream, transactions, clock=self._clock, idle_boundary_s=self._idle_boundary_s)

    def purge(self, position: str) -> None:
        """Nothing to do: the server purges its binlog by its own settings, and other readers may need it."""

    def close(self) -> None:
        """Nothing is held."""


class BinlogReader:
    """`FeedReader`: asks for no more than it hands out, so a backlog waits in the server, and here is a megabyte of it."""

    def __init__(
        self, stream: EventStream, transactions: Transactions, *, clock: Clock, idle_boundary_s: float
    ) -> None:
        self._stream = stream
        self._transactions = transactions
        self._clock = clock
        self._idle_boundary_s = idle_boundary_s
        self._boundary_at_s = clock.monotonic_s()
        self._is_open = True

    @property
    def position(self) -> str:
        """The last transaction that was read, whoever wrote it. What is read ahead of `read` counts."""
        return str(self._transactions.position)

    def read(self, limit: int, wait_s: float) -> list[FeedItem]:
        if not self._is_open:
            raise TierUnavailable(TIER, "the reader is closed")
        try:
            self._fill(limit, wait_s)
        except BaseException:
            # Events may have been lost half-way through one: going on behind them would leave changes out.
            self.close()
            raise
        ready = self._transactions.items
        taken = ready[:limit]
        del ready[:limit]
        return taken

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._stream.close()

    def _fill(self, limit: int, wait_s: float) -> None:
        """Take events until there are `limit` items, or there is nothing to wait for, or `wait_s` is over.

        Inside a transaction the rest is on its way, so it is waited for.
        """
        stream, transactions = self._stream, self._transactions
        ready = transactions.items
        deadline_s = self._clock.monotonic_s() + wait_s
        is_last = False
        while len(ready) < limit:
            for event in stream.events():
                transactions.take(event)
                if len(ready) >= limit:
                    break
            else:
                if is_last:
                    break
                left_s = deadline_s - self._clock.monotonic_s()
                is_last = left_s <= 0 or (bool(ready) and not transactions.is_inside)
                stream.receive(0.0 if is_last else left_s)
        self._mark_idle_time()

    def _mark_idle_time(self) -> None:
        """Hand out a boundary, once in a while, where only others' transactions have passed."""
        transactions = self._transactions
        now_s = self._clock.monotonic_s()
        if transactions.items:
            self._boundary_at_s = now_s
        elif (
            transactions.has_moved
            and not transactions.is_inside
            and now_s - self._boundary_at_s >= self._idle_boundary_s
        ):
            transactions.items.append(transactions.boundary())
            self._boundary_at_s = now_s


def _server_id(random: RandomBytes) -> int:
    """A replica's number, which a server wants of each of its readers: it lets go of one when another with its number comes.

    Drawn from the upper half of the range (2^31 … 2^32 - 1), where people do not number their servers. Should two readers ever be
    alike, the one that is let go of is told that its connection was lost, and draws again.
    """
    return 1 << 31 | int.from_bytes(random(4), "big")
