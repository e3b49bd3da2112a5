"""Orders to measure with: all alike but for what tells them apart, spread over every group as merchants' own are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from orderctl.clock import US_PER_S, Clock
from orderctl.ids import new_order_id, partition_of
from orderctl.order import NewOrder, Order, Status, body_digest, canonical_metadata
from orderctl.stores.cache import CacheStore, Fill, Granted
from orderctl.stores.hot import Draft, HotStore
from orderctl.stores.record import TOKEN_BYTES, record_of

MERCHANT: Final = "bench"
BATCH: Final = 500
WRITERS: Final = 16
TIMEOUT_S: Final = 300
METADATA: Final = {"basket": "0123456789abcdef", "channel": "web"}

T = TypeVar("T")


def new_orders(run: str, count: int) -> list[NewOrder]:
    """What merchants would send; `run` keeps the references of one run apart from another's."""
    return [NewOrder(f"{run}-{number}", 1999, "EUR", "card", METADATA, TIMEOUT_S) for number in range(count)]


def drafts_of(news: Sequence[NewOrder], clock: Clock) -> list[Draft]:
    """The same, as the command service hands them to the hot store."""
    now_us = clock.now_us()
    return [Draft(_order(new, now_us), body_digest(new)) for new in news]


def final_orders(run: str, count: int, clock: Clock) -> list[Order]:
    """Orders that have ended well, at version 2."""
    return [
        msgspec.structs.replace(draft.order, status=Status.SUCCESS, version=2)
        for draft in drafts_of(new_orders(run, count), clock)
    ]


def create_all(hot: HotStore, drafts: Sequence[Draft]) -> None:
    """Write them, a transaction for each batch."""
    for batch in batches(drafts):
        hot.create(batch)


def create_each(hot: HotStore, drafts: Sequence[Draft]) -> None:
    """Write them, a transaction for each, many at a time: the database's flushes are shared."""
    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(hot.create, [draft]) for draft in drafts]:
            done.result()


def fill_all(cache: CacheStore, orders: Sequence[Order], *, ttl_ms: int) -> None:
    """Put records of them into the cache, by the way that readers go: a lease, and its fill."""
    for batch in batches(orders):
        tokens = [os.urandom(TOKEN_BYTES) for _ in batch]
        found = cache.lookup([order.order_id for order in batch], tokens=tokens)
        cache.fill(
            [
                Fill(order.order_id, one.token, record_of(order), ttl_ms)
                for order, one in zip(batch, found, strict=True)
                if isinstance(one, Granted)
            ]
        )


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))


def _order(new: NewOrder, now_us: int) -> Order:
    return Order(
        order_id=new_order_id(now_us // 1000, partition_of(MERCHANT, new.merchant_ref), os.urandom),
        merchant_id=MERCHANT,
        merchant_ref=new.merchant_ref,
        amount=new.amount,
        currency=new.currency,
        payment_method=new.payment_method,
        metadata=canonical_metadata(new.metadata),
        status=Status.PENDING,
        status_reason=None,
        version=1,
        created_at=now_us,
        updated_at=now_us,
        deadline_at=now_us + new.timeout_s * US_PER_S,
    )
