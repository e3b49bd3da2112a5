"""Orders by number: the same number is the same order whenever it is asked for, so that ten million need not be kept."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from orderctl.bench.orders import MERCHANT, METADATA
from orderctl.ids import new_order_id, partition_of
from orderctl.order import TIMEOUT_MAX_S, NewOrder, Order, Status, body_digest, canonical_metadata

US_PER_MS: Final = 1_000
DAY_MS: Final = 86_400_000
OPEN_SINCE_MS: Final = 600_000
OPEN_EACH_MS: Final = 0.05
"""Open orders came within the last minutes, 20 a millisecond, and stay open for a day: none times out while it is measured."""
FINAL_SINCE_MS: Final = 30 * DAY_MS
FINAL_EACH_MS: Final = 250.0
"""Final orders came over the month before, four a second: more of them fill more time slots, as in a deployment."""
STRIDE: Final = 2_147_483_647
"""A prime beyond any size: steps of it visit every number of a range before one comes again."""

_METADATA: Final = canonical_metadata(METADATA)
_DIGEST: Final = body_digest(NewOrder("any", 1999, "EUR", "card", METADATA, TIMEOUT_MAX_S))


class Population(Struct, frozen=True):
    """Orders that are alike but for their number. `name` begins their references, `status` and `version` are all orders' own."""

    name: str
    began_ms: int
    each_ms: float
    status: Status
    version: int

    @property
    def digest(self) -> bytes:
        """What their bodies have in common."""
        return _DIGEST

    def order_id(self, number: int) -> str:
        """The id of an order: spread over all groups by its reference, later for a larger number."""
        return self._id(number, self.reference(number))

    def reference(self, number: int) -> str:
        """What its merchant calls it."""
        return f"{self.name}-{number:08d}"

    def created_ms(self, number: int) -> int:
        """When it was created."""
        return self.began_ms + int(number * self.each_ms)

    def order(self, number: int) -> Order:
        """All of it."""
        reference, created_us = self.reference(number), self.created_ms(number) * US_PER_MS
        return Order(
            order_id=self._id(number, reference),
            merchant_id=MERCHANT,
            merchant_ref=reference,
            amount=1999,
            currency="EUR",
            payment_method="card",
            metadata=_METADATA,
            status=self.status,
            status_reason=None,
            version=self.version,
            created_at=created_us,
            updated_at=created_us,
            deadline_at=created_us + TIMEOUT_MAX_S * 1_000_000,
        )

    def orders(self, numbers: range, batch: int) -> Iterator[list[Order]]:
        """The orders of these numbers, so many at a time, each batch in the order of the ids."""
        for start in range(numbers.start, numbers.stop, batch):
            found = [self.order(number) for number in range(start, min(start + batch, numbers.stop))]
            yield sorted(found, key=lambda order: order.order_id)

    def _id(self, number: int, reference: str) -> str:
        random = blake2b(b"%d" % number, digest_size=8, key=self.name.encode()).digest()
        return new_order_id(self.created_ms(number), partition_of(MERCHANT, reference), lambda _size: random)


def open_population(name: str, now_ms: int) -> Population:
    """Orders that wait for their payment."""
    return Population(f"{name}o", now_ms - OPEN_SINCE_MS, OPEN_EACH_MS, Status.PENDING, 1)


def final_population(name: str, now_ms: int) -> Population:
    """Orders that have ended well."""
    return Population(f"{name}f", now_ms - FINAL_SINCE_MS, FINAL_EACH_MS, Status.SUCCESS, 2)


class Picker:
    """Picks numbers of a range, all over it and none twice until all have come."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers
        self._step = 0

    def take(self, count: int) -> list[int]:
        """The next ones."""
        size, start = len(self._numbers), self._numbers.start
        first, self._step = self._step, self._step + count
        return [start + step * STRIDE % size for step in range(first, first + count)]
