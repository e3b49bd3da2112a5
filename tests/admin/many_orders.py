"""Many orders in a deployment's tiers, all as they should be, and what may be done to some of them behind everybody's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from random import Random
from typing import Any, TypeVar

from msgspec import structs

from orderctl.clock import US_PER_S, Clock
from orderctl.ids import new_order_id, partition_of
from orderctl.order import Change, Order, Status
from orderctl.stores.cache import Fill, Granted
from orderctl.stores.hot import Changed, Created, Draft, Removal
from orderctl.stores.record import record_of
from orderctl.stores.tiers import Tiers

BATCH = 500
TTL_MS = 600_000

T = TypeVar("T")


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as a call is given."""
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))


class ManyOrders:
    """Orders of one merchant, each of a kind: open or archived, cached or not. `newest` changed last in the hot store."""

    def __init__(self, tiers: Tiers, clock: Clock, *, merchant: str = "acme", seed: bytes = b"7") -> None:
        self.tiers = tiers
        self.clock = clock
        self.merchant = merchant
        self.made: list[Order] = []
        self.newest: Order
        self.open_cached: list[Order] = []
        self.open_bare: list[Order] = []
        self.archived_cached: list[Order] = []
        self.archived_bare: list[Order] = []
        self._random = Random(seed)
        self._serial = 0

    def fill_up(self, count: int) -> ManyOrders:
        """So many orders: half of them open, half of them archived, and of both four fifths cached."""
        open_, archived = self.create(count - count // 2), self.archive(self.finish(self.create(count // 2)))
        at, until = len(open_) * 4 // 5, len(archived) * 4 // 5
        self.open_cached, self.open_bare = open_[:at], open_[at:]
        self.archived_cached, self.archived_bare = archived[:until], archived[until:]
        self.cache([*self.open_cached, *self.archived_cached])
        return self

    def create(self, count: int, *, due_in_s: int = 900) -> list[Order]:
        """New orders, in the hot store."""
        drafts = [self._draft(due_in_s) for _ in range(count)]
        made = [self._created(outcome) for batch in batches(drafts) for outcome in self.tiers.hot.create(batch)]
        self.made += made
        self.newest = made[-1]
        return made

    def move(self, orders: Sequence[Order], status: Status) -> list[Order]:
        """On, in the hot store, and nobody is told."""
        moved: list[Order] = []
        for batch in batches(orders):
            changes = [Change(order.order_id, status) for order in batch]
            for outcome in self.tiers.hot.change(changes, now_us=self.clock.now_us()):
                assert isinstance(outcome, Changed)
                moved.append(outcome.order)
        self.newest = moved[-1]
        return moved

    def finish(self, orders: Sequence[Order]) -> list[Order]:
        """To a final state."""
        return self.move(orders, Status.SUCCESS)

    def copy(self, orders: Sequence[Order], **fields: Any) -> list[Order]:
        """Into the archive, perhaps with other fields than they have."""
        copies = [structs.replace(order, **fields) for order in orders]
        for batch in batches(copies):
            self.tiers.archive.write(batch)
        return copies

    def remove(self, orders: Sequence[Order]) -> list[Order]:
        """Out of the hot store, whatever the archive has; their references stay."""
        for batch in batches(orders):
            removals = [Removal(order.order_id, order.version) for order in batch]
            assert all(self.tiers.hot.remove(removals, now_us=self.clock.now_us()))
        return list(orders)

    def archive(self, orders: Sequence[Order]) -> list[Order]:
        """As the archiver does."""
        self.copy(orders)
        return self.remove(orders)

    def cache(self, orders: Sequence[Order], **fields: Any) -> list[Order]:
        """Into the cache, in the place of what is there, perhaps with other fields than they have."""
        for batch in batches(orders):
            ids = [order.order_id for order in batch]
            tokens = [self._random.randbytes(16) for _ in batch]
            self.tiers.cache.invalidate(ids)
            assert self.tiers.cache.lookup(ids, tokens=tokens) == [Granted(token) for token in tokens]
            records = [record_of(structs.replace(order, **fields)) for order in batch]
            fills = [Fill(*one, TTL_MS) for one in zip(ids, tokens, records, strict=True)]
            assert all(self.tiers.cache.fill(fills))
        return list(orders)

    def cache_each(self, orders: Sequence[Order], other: Callable[[Order], Order]) -> list[Order]:
        """Into the cache, each as another than it is."""
        for order in orders:
            self.cache([other(order)])
        return list(orders)

    def _draft(self, due_in_s: int) -> Draft:
        self._serial += 1
        now_us, ref = self.clock.now_us(), f"many-{self._serial}"
        order_id = new_order_id(now_us // 1000, partition_of(self.merchant, ref), self._random.randbytes)
        order = Order(
            order_id, self.merchant, ref, 1999, "EUR", "card", "{}", Status.PENDING, None, 0, now_us, now_us,
            now_us + due_in_s * US_PER_S,
        )  # fmt: skip
        return Draft(order, sha256(b"a body").digest())

    @staticmethod
    def _created(outcome: object) -> Order:
        assert isinstance(outcome, Created)
        return outcome.order


class Damage:
    """One order or more of each damage that there is. `differences` are those of the cache, `faults` those of the databases.

    By the order's id: the source and the repair that are to be told, or why it is a fault. `more_absent` says how many more open
    orders than before are not cached.
    """

    def __init__(self, many: ManyOrders, *, of_each: int = 2) -> None:
        self.many = many
        self.differences: dict[str, tuple[str | None, str | None]] = {}
        self.faults: dict[str, str] = {}
        self.more_absent = 0
        self._of_each = of_each

    def do(self) -> Damage:
        """All of it."""
        self._to_records()
        self._to_databases()
        return self

    def _to_records(self) -> None:
        many = self.many
        self._differ(many.finish(self._some(many.open_cached)), "hot", "apply")
        self._differ(many.cache(self._some(many.open_cached), amount=2000), "hot", "apply")
        self._differ(many.cache(self._some(many.archived_cached), version=1, status=Status.PENDING), "archive", "apply")
        self._differ(many.cache(self._some(many.archived_cached), merchant_ref="other"), "archive", "apply")
        newer = [*self._some(many.open_cached)]
        many.cache_each(newer, lambda order: structs.replace(order, version=order.version + 5, status=Status.FAILED))
        self._differ(newer, "hot", "invalidate")
        gone = self._some(many.open_cached)
        many.tiers.cache.invalidate([order.order_id for order in gone])
        self.more_absent += len(gone)

    def _to_databases(self) -> None:
        many = self.many
        lost = many.remove(many.finish(self._some(many.open_cached)))
        self._differ(many.cache(lost), None, None)
        self._fault(lost, "in_neither")
        self._fault(many.remove(self._bare_and_final()), "in_neither")
        for fields, why in (
            ({}, "in_both"),
            ({"status": Status.FAILED}, "other_final"),
            ({"amount": 2000}, "other_copy"),
        ):
            final = self._bare_and_final()
            many.copy(final, **fields)
            self._fault(final, why)
        early = self._some(many.open_bare)
        many.copy(early, status=Status.SUCCESS, version=99)
        self._fault(early, "open_and_archived")

    def _bare_and_final(self) -> list[Order]:
        some = self.many.finish(self._some(self.many.open_bare))
        self.more_absent -= len(some)
        return some

    def _some(self, orders: list[Order]) -> list[Order]:
        """Some of these, which are taken out: each is damaged once."""
        return [orders.pop(len(orders) // 2) for _ in range(self._of_each)]

    def _differ(self, orders: Sequence[Order], source: str | None, repair: str | None) -> None:
        self.differences |= {order.order_id: (source, repair) for order in orders}

    def _fault(self, orders: Sequence[Order], why: str) -> None:
        self.faults |= {order.order_id: why for order in orders}
