"""What the archive's contract suite needs around a store: a way to come back to it, and final orders to put in."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import structs

from orderctl.order import Order, Status
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import Ref
from tests.contract.hot_harness import an_order


class ArchiveHarness(Protocol):
    """One archive, empty at first. The suite knows no backend: this is all that it does beside calling the store."""

    def open(self) -> ArchiveStore:
        """A further store on the same archive, as another process has it; the harness closes it."""
        ...

    def restart(self) -> None:
        """Close everything that was opened."""
        ...


def a_final(*, version: int = 2, **fields: Any) -> Order:
    """An order that has come to its end, under an id of its own."""
    values: dict[str, Any] = {"status": Status.SUCCESS, "version": version} | fields
    order = an_order(**values)
    return structs.replace(order, updated_at=order.created_at + 5_000_000)


def finals(number: int) -> list[Order]:
    """That many final orders of different references."""
    return [a_final() for _ in range(number)]


def at_version(order: Order, version: int) -> Order:
    """The order as of `version`: each has other words, so that two of them are told apart."""
    return structs.replace(
        order, version=version, status_reason=f"reason {version}", updated_at=order.updated_at + version
    )


def ref_of(order: Order) -> Ref:
    """What its merchant calls it."""
    return Ref(order.merchant_id, order.merchant_ref)
