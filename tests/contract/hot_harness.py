"""What the hot tier's contract suite needs around a store: its clock, its epoch, and orders to put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count, islice
from threading import Barrier
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from orderctl.ids import new_order_id, partition_of
from orderctl.order import Change, Order, Status
from orderctl.stores.hot import Created, Draft, HotStore
from orderctl.stores.registry import Registry

T = TypeVar("T")

GROUPS = 64
PATIENCE_S = 60
"""No race in the suite takes longer, also where the two sides wait for each other's locks."""
T0_US = 1_700_000_000_000_000

_serial = count(1)


class Opened(Struct, frozen=True):
    """One process's hold on the hot tier."""

    store: HotStore
    registry: Registry


class HotHarness(Protocol):
    """One hot database, empty at first. The suite knows no backend: this is all that it does beside calling the stores."""

    def open(self, *, groups: int = GROUPS) -> Opened:
        """A further store and registry on the same database, as another process has them; the harness closes them."""
        ...

    def restart(self) -> None:
        """Close everything that was opened."""
        ...

    def now_us(self) -> int:
        """The time by the database's own clock, Unix microseconds."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let that much pass on the database's clock, by moving its hands or by waiting."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Raise the deployment's epoch, as a promotion does."""
        ...


def an_order(*, merchant_id: str = "acme", merchant_ref: str | None = None, **fields: Any) -> Order:
    """A pending order under an id of its own, not created yet: its version is the store's to give."""
    serial = next(_serial)
    ref = f"ref-{serial}" if merchant_ref is None else merchant_ref
    created_us = T0_US + serial * 1_000_000
    order_id = new_order_id(
        created_us // 1000, partition_of(merchant_id, ref), lambda size: serial.to_bytes(size, "big")
    )
    values: dict[str, Any] = {
        "amount": 1999,
        "currency": "EUR",
        "payment_method": "card",
        "metadata": '{"basket":"7"}',
        "status": Status.PENDING,
        "status_reason": None,
        "version": 0,
        "created_at": created_us,
        "updated_at": created_us,
        "deadline_at": created_us + 900_000_000,
    }
    return Order(order_id=order_id, merchant_id=merchant_id, merchant_ref=ref, **(values | fields))


def a_draft(*, body: str = "a body", **fields: Any) -> Draft:
    """A wish for an order; two of one `body` ask for the same."""
    return Draft(an_order(**fields), sha256(body.encode()).digest())


def drafts(number: int) -> list[Draft]:
    """That many drafts of different references."""
    return [a_draft() for _ in range(number)]


def refs_of_one_group(number: int, *, merchant_id: str = "acme") -> list[str]:
    """That many references whose orders are of one group, and so on one shard, which is as far as a transaction reaches."""
    refs = (f"of one group {serial}" for serial in count())
    group = partition_of(merchant_id, "of one group 0") & (GROUPS - 1)
    return list(islice((ref for ref in refs if partition_of(merchant_id, ref) & (GROUPS - 1) == group), number))


def create(store: HotStore, **fields: Any) -> Order:
    """An order that is in the store."""
    [outcome] = store.create([a_draft(**fields)])
    assert isinstance(outcome, Created)
    return outcome.order


def to(order: Order, status: Status, **wish: Any) -> Change:
    """The wish to move `order` to `status`."""
    return Change(order.order_id, status, **wish)


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make the calls in as many threads, all let go at the same moment; returns what they return, in their order."""
    start = Barrier(len(calls), timeout=PATIENCE_S)

    def run(call: Callable[[], T]) -> T:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=PATIENCE_S) for future in [pool.submit(run, call) for call in calls]]
