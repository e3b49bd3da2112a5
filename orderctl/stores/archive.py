"""The archive's Protocol: final orders for as long as they are wanted (Cassandra).

Rows are only ever inserted, each with its order's version as write timestamp, so that writing again, or late, changes nothing.
**Acknowledged is not on disk**: a write may be lost with the power until the commit log was synced, and reading it back proves no
more than that it is in memory. Whoever removes the original waits longer than the sync takes, counted from its own acknowledged
write. And a loss may take one table's row and leave another's, so it reads every table back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orderctl.order import Order
from orderctl.stores.hot import Ref


class ArchiveStore(Protocol):
    """Final orders, by id and by the merchant's reference. Safe for several threads.

    Each call raises `TierUnavailable` where the archive, or a quorum of it, cannot be reached.
    """

    def write(self, orders: Sequence[Order]) -> None:
        """Write each order to every table; returns once all are acknowledged by a quorum.

        In each table the larger version of an order wins, whatever comes last. A version has one content: of two under one
        version it is not said which stays. After an error any part of them may be there, in any of the tables; writing them
        again is harmless.

        Raises:
            TierRejected: a value cannot be held; trying again does not help.

        """
        ...

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        """Each order, None where a quorum has none. What was acknowledged before the call began is seen."""
        ...

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        """The newest order (by id, so by creation) that each reference stood for, None where it stood for none.

        Whoever compares a copy is content with the order itself or a newer one: nobody is ever led to an older.
        """
        ...

    def ping(self) -> None:
        """Ask for a sign of life."""
        ...

    def close(self) -> None:
        """Let go of connections. Closing twice is closing once; what is closed answers every call with `TierUnavailable`."""
        ...
