"""Late results: outcomes that came after an order was final. Each was answered 409, and money may depend on it: none is dropped.

They are no part of the order's body or version. Kept beside the orders first, then moved to the archive by a loop of their own,
by their own key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from orderctl.order import Status


class LateResult(Struct, frozen=True):
    """An outcome that came too late. `received_at` is Unix microseconds, by the command server's clock.

    Its key is the order, the status and the reason: the same words again are the same result, kept as it was first received.
    """

    order_id: str
    status: Status
    status_reason: str | None
    received_at: int

    @property
    def key(self) -> LateKey:
        """What two askings in the same words have in common."""
        return self.order_id, self.status, self.status_reason


LateKey = tuple[str, Status, str | None]


class LateStore(Protocol):
    """Where they are kept first: beside the orders, on the order's shard. Errors are as in `HotStore`.

    It shares the hot store's connections, and is closed with it.
    """

    def keep(self, results: Sequence[LateResult]) -> None:
        """Keep each, durably when it returns. One that is kept already stays as it is; so repeating is harmless."""
        ...

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        """Each order's late results, the earliest received first."""
        ...

    def oldest(self, groups: frozenset[int] | None, *, after: LateResult | None, limit: int) -> list[LateResult]:
        """At most `limit` of them, of these groups (None: of all), the earliest received first.

        Only those behind `after`, so that a caller can page past those that it has in hand. They are received by many clocks:
        some turn up behind, so begin again from None now and then.
        """
        ...

    def remove(self, results: Sequence[LateResult]) -> None:
        """Remove these very ones: they are in the archive. One that is not there, or was kept at another time, is passed over."""
        ...


class LateArchive(Protocol):
    """Where they end. Errors are as in `ArchiveStore`, with which it shares its connections, and is closed."""

    def write(self, results: Sequence[LateResult]) -> None:
        """Write each; returns once all are acknowledged. Of one key the earliest received stays, in whatever order they come."""
        ...

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        """Each order's late results, the earliest received first."""
        ...
