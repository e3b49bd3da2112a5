"""What a record and its source come to: every combination of what each side may be."""

from __future__ import annotations

import pytest
from msgspec import structs

from orderctl.errors import TierUnavailable
from orderctl.order import Order, Status
from orderctl.services.comparing import (
    Found,
    Outcome,
    Repair,
    Sides,
    SourceName,
    Unreadable,
    compare,
    has_moved,
    repair_of,
)
from orderctl.stores.record import Entry, Kind
from tests.contract.cache_harness import an_order, at_version, entry_of

ORDER = an_order(version=2)
OLDER, NEWER = structs.replace(ORDER, version=1), structs.replace(ORDER, version=3)
FINAL = at_version(ORDER, 2, status=Status.SUCCESS)
AWAY = TierUnavailable("hot")
LEASE = Entry(Kind.LEASE, 0, token=b"1" * 16)


def sides(entry: Entry | Unreadable | TierUnavailable | None, found: Found) -> Sides:
    """Both of them."""
    return Sides(ORDER.order_id, entry, found)


def hot(order: Order | None, error: TierUnavailable | None = None) -> Found:
    """What the databases have."""
    return Found(order, SourceName.HOT if order else None, error)


@pytest.mark.parametrize(
    ("entry", "found", "outcome"),
    [
        (entry_of(ORDER), hot(ORDER), Outcome.EQUAL),
        (entry_of(OLDER), hot(ORDER), Outcome.DIVERGED),
        (entry_of(NEWER), hot(ORDER), Outcome.DIVERGED),
        (entry_of(structs.replace(ORDER, amount=1)), hot(ORDER), Outcome.DIVERGED),
        (entry_of(structs.replace(ORDER, merchant_id="globex")), hot(ORDER), Outcome.DIVERGED),
        (entry_of(ORDER), hot(None), Outcome.DIVERGED),
        (Unreadable(), hot(ORDER), Outcome.DIVERGED),
        (Unreadable(), hot(None), Outcome.DIVERGED),
        (None, hot(ORDER), Outcome.ABSENT),
        (None, hot(FINAL), Outcome.PASSED_OVER),
        (None, hot(None), Outcome.PASSED_OVER),
        (LEASE, hot(ORDER), Outcome.PASSED_OVER),
        (entry_of(OLDER, Kind.TENTATIVE, creator=b"1" * 16), hot(ORDER), Outcome.PASSED_OVER),
        (AWAY, hot(ORDER), Outcome.UNKNOWN),
        (entry_of(ORDER), hot(None, AWAY), Outcome.UNKNOWN),
        (None, hot(None, AWAY), Outcome.UNKNOWN),
        (entry_of(ORDER), hot(ORDER, AWAY), Outcome.EQUAL),
        (entry_of(NEWER), hot(ORDER, AWAY), Outcome.UNKNOWN),
    ],
)
def test_what_they_come_to(entry: Entry | Unreadable | TierUnavailable | None, found: Found, outcome: Outcome) -> None:
    """A database that did not answer makes nothing different: it may have what the cache has."""
    assert compare(sides(entry, found)) is outcome


@pytest.mark.parametrize(
    ("entry", "order", "repair"),
    [
        (entry_of(OLDER), ORDER, Repair.APPLY),
        (entry_of(structs.replace(ORDER, amount=1)), ORDER, Repair.APPLY),
        (entry_of(NEWER), ORDER, Repair.INVALIDATE),
        (Unreadable(), ORDER, Repair.INVALIDATE),
        (Unreadable(), None, Repair.INVALIDATE),
        (entry_of(ORDER), None, None),
    ],
)
def test_what_mends_it(entry: Entry | Unreadable, order: Order | None, repair: Repair | None) -> None:
    """The last copy of an order is not dropped."""
    assert repair_of(sides(entry, hot(order))) is repair


def test_the_side_that_is_behind_is_to_move() -> None:
    """That the other one goes on is no excuse."""
    behind, came_on = sides(entry_of(OLDER), hot(ORDER)), sides(entry_of(ORDER), hot(NEWER))
    assert has_moved(behind, came_on)
    assert not has_moved(behind, sides(entry_of(OLDER), hot(NEWER)))
    newer = sides(entry_of(NEWER), hot(OLDER))
    assert has_moved(newer, sides(entry_of(NEWER), hot(ORDER)))
    assert not has_moved(newer, newer)
