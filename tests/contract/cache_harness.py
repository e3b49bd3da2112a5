"""What the cache's contract suite needs around a store: a hand on its clock and its bytes, and orders to put in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Protocol

from msgspec import structs

from orderctl.ids import group_of, new_order_id, partition_of
from orderctl.order import Order, Status
from orderctl.stores.cache import Advance, Applied, CacheStore, Fill, Granted, Put, Tentative
from orderctl.stores.record import NO_TOKEN, Entry, Kind, record_of

TTL_MS = 60_000
"""Long enough to outlive any test; what is to expire in a test is given less."""
SLACK_US = 100_000
"""A real node's clock goes on between two looks at it, and some know milliseconds only."""
RUBBISH = b"\x07 of another format"
GROUPS = 64
"""The deployment's, in every test that does not say otherwise."""

_serial = count(1)


class CacheHarness(Protocol):
    """One cache, empty at first. The suite knows no backend: this is all that it does beside calling the store."""

    def open(self) -> CacheStore:
        """A further store object on the same cache; the harness closes it."""
        ...

    def now_us(self) -> int:
        """The time by the cache node's own clock, Unix microseconds."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let that much pass on the node's clock, by moving its hands or by waiting."""
        ...

    def put_bytes(self, order_id: str, value: bytes) -> None:
        """Leave these bytes in the order's place, behind the store's back."""
        ...

    def peek(self, order_id: str) -> tuple[bytes, int] | None:
        """An entry's bytes and when it expires (Unix microseconds), None where there is none."""
        ...

    def evict(self, order_id: str) -> None:
        """Let the entry vanish, as under pressure for memory."""
        ...

    def snapshot(self) -> Any:
        """All that the node holds, entries with their expiries and marks alike, as a replica that lags behind will hold it."""
        ...

    def put_back(self, past: Any) -> None:
        """Let the node hold what it held then, and nothing else, from one instant to the next."""
        ...


def an_order(*, merchant_id: str = "acme", version: int = 1) -> Order:
    """A new order under an id of its own; successive ones fall into different groups."""
    serial = next(_serial)
    ref, created_us = f"ref-{serial}", 1_700_000_000_000_000 + serial * 1_000_000
    order_id = new_order_id(
        created_us // 1000, partition_of(merchant_id, ref), lambda size: serial.to_bytes(size, "big")
    )
    return Order(
        order_id=order_id,
        merchant_id=merchant_id,
        merchant_ref=ref,
        amount=1999,
        currency="EUR",
        payment_method="card",
        metadata='{"basket":"7"}',
        status=Status.PENDING,
        status_reason=None,
        version=version,
        created_at=created_us,
        updated_at=created_us,
        deadline_at=created_us + 900_000_000,
    )


def orders_of(group: int, count: int) -> list[Order]:
    """That many new orders of one group."""
    found: list[Order] = []
    while len(found) < count:
        order = an_order()
        if group_of(order.order_id, GROUPS) == group:
            found.append(order)
    return found


def at_version(order: Order, version: int, *, status: Status = Status.PROCESSING) -> Order:
    """The same order at another place in its history."""
    return structs.replace(order, version=version, status=status)


def entry_of(order: Order, kind: Kind = Kind.RECORD, *, creator: bytes = NO_TOKEN) -> Entry:
    """The entry that holds `order`."""
    record = record_of(order)
    return Entry(kind, record.version, record.status, creator, record.merchant, record.body)


def token(number: int) -> bytes:
    """A token that differs from those of other numbers."""
    return number.to_bytes(16, "big")


def put(order: Order, *, ttl_ms: int = TTL_MS) -> Put:
    """`order` as *apply* takes it."""
    return Put(record_of(order), ttl_ms)


def sync(
    cache: CacheStore, group: int, puts: Sequence[Put], *, expected: int, reached: int, drops: Sequence[str] = ()
) -> list[Applied] | None:
    """Bring one group on, and no other."""
    [applied] = cache.sync([Advance(group, puts, expected, reached, drops)])
    return applied


def filled(order: Order, holder: bytes, *, ttl_ms: int = TTL_MS) -> Fill:
    """`order` as the holder of a lease fills it in."""
    return Fill(order.order_id, holder, record_of(order), ttl_ms)


def not_found(order: Order, holder: bytes, *, ttl_ms: int = TTL_MS) -> Fill:
    """What the holder of a lease says where no database has the order."""
    return Fill(order.order_id, holder, None, ttl_ms)


class CacheSuite:
    """What every part of the suite has: ways to bring an order's entry into each state through the store alone."""

    def make_lease(self, cache: CacheStore, order: Order, holder: bytes) -> None:
        assert cache.lookup([order.order_id], tokens=[holder]) == [Granted(holder)]

    def make_record(self, cache: CacheStore, *orders: Order, ttl_ms: int = TTL_MS) -> None:
        holders = [token(900 + i) for i in range(len(orders))]
        assert cache.lookup([o.order_id for o in orders], tokens=holders) == [Granted(t) for t in holders]
        assert all(cache.fill([filled(o, t, ttl_ms=ttl_ms) for o, t in zip(orders, holders, strict=True)]))

    def make_absent(self, cache: CacheStore, order: Order) -> None:
        self.make_lease(cache, order, token(901))
        assert cache.fill([not_found(order, token(901))]) == [True]

    def make_tentative(
        self, cache: CacheStore, harness: CacheHarness, order: Order, creator: bytes, *, ttl_ms: int = 5_000
    ) -> None:
        assert cache.tentative(self.tentatives(harness, [order], creator, ttl_ms=ttl_ms)) == [True]

    def tentatives(
        self, harness: CacheHarness, orders: Sequence[Order], creator: bytes, *, ttl_ms: int = 5_000
    ) -> list[Tentative]:
        """`orders` as a creator writes them ahead of its commit, to live for `ttl_ms`."""
        return [Tentative(record_of(order), creator, harness.now_us() + ttl_ms * 1000) for order in orders]

    def make(self, state: str, cache: CacheStore, harness: CacheHarness, order: Order) -> None:
        """Bring the order's entry, at the order's version, into the state of that name."""
        match state:
            case "record":
                self.make_record(cache, order)
            case "tentative":
                self.make_tentative(cache, harness, order, token(902))
            case "lease":
                self.make_lease(cache, order, token(903))
            case "absent":
                self.make_absent(cache, order)
            case "rubbish":
                harness.put_bytes(order.order_id, RUBBISH)
            case _:
                assert state == "nothing"

    def assert_holds(self, cache: CacheStore, order: Order) -> None:
        """The order is there as it is given, be it a record or a tentative."""
        [entry] = cache.get([order.order_id])
        assert entry is not None
        assert entry == entry_of(order, entry.kind, creator=entry.token)

    def assert_expires(self, harness: CacheHarness, order_id: str, before_us: int, ttl_ms: int) -> None:
        """The entry was given that time to live by a call that was made after `before_us`."""
        kept = harness.peek(order_id)
        assert kept is not None
        assert before_us - SLACK_US <= kept[1] - ttl_ms * 1000 <= harness.now_us() + SLACK_US
