"""What a promotion meets: open rows of an older epoch, some of which the archive has as final."""

from __future__ import annotations

from msgspec import structs

from orderctl.order import Order, Status
from orderctl.services.answers import Stored
from orderctl.version import EPOCH_SHIFT
from tests.services.tiers import Bench, asking


def opened(bench: Bench, *refs: str, merchant: str = "m") -> list[Order]:
    """Orders that are created, as the hot store has them."""
    answers = bench.command().create([asking(ref, merchant) for ref in refs])
    ids = [answer.record.order_id for answer in answers if isinstance(answer, Stored)]
    return [order for order in bench.tiers.hot.load(ids) if order is not None]


def archived(bench: Bench, *orders: Order) -> list[Order]:
    """The orders as the lost server had them: final and archived, which the hot store knows nothing of."""
    ends = [
        structs.replace(order, status=Status.SUCCESS, status_reason="captured", version=order.version + 2)
        for order in orders
    ]
    bench.tiers.archive.write(ends)
    return ends


def raise_epoch(bench: Bench) -> int:
    """A promotion's first step; returns the first version of the new epoch."""
    epoch = bench.tiers.registry.deployment().epoch
    assert bench.tiers.registry.raise_epoch(above=epoch)
    return (epoch + 1) << EPOCH_SHIFT
