"""What the late results' contract suites need around a store: ways to come to it, and results to put in."""

from __future__ import annotations

from typing import Any, Protocol

from orderctl.order import Status
from orderctl.stores.hot import HotStore
from orderctl.stores.late import LateArchive, LateResult, LateStore
from tests.contract.hot_harness import T0_US, an_order


class LateHarness(Protocol):
    """One hot database, empty at first, with its late results."""

    def open(self) -> LateStore:
        """A further store on the same database, as another process has it; the harness closes it."""
        ...

    def hot(self) -> HotStore:
        """The orders beside them."""
        ...

    def restart(self) -> None:
        """Close everything that was opened."""
        ...


class LateArchiveHarness(Protocol):
    """One archive; others may have put results of other orders in."""

    def open(self) -> LateArchive:
        """A further store on the same archive, as another process has it; the harness closes it."""
        ...

    def close(self) -> None:
        """Close everything that was opened; twice is once."""
        ...


def an_id(**fields: Any) -> str:
    """The id of an order of its own."""
    return an_order(**fields).order_id


def a_late(order_id: str | None = None, *, at: int = 0, **fields: Any) -> LateResult:
    """A late success, of an order of its own, received `at` microseconds past some moment."""
    values: dict[str, Any] = {"status": Status.SUCCESS, "status_reason": None} | fields
    return LateResult(order_id or an_id(), received_at=T0_US + at, **values)


REASONS = (None, "", "card declined", "card declined ", "Card declined", "dé\u0301cliné 😀", "x" * 256, "a\0b\\'\"%s")
"""Each another one than all the others, byte by byte."""
