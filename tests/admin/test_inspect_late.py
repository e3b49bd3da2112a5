"""What `inspect` shows of outcomes that came too late."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from orderctl.admin.inspection import InspectSettings, inspect
from orderctl.admin.verdict import Finding
from orderctl.cli.inspection import table
from orderctl.clock import ManualClock
from orderctl.errors import TierUnavailable
from orderctl.order import Status
from orderctl.stores.late import LateResult
from orderctl.stores.tiers import Tiers
from tests.admin.one_order import GROUPS, OneOrder
from tests.services.tiers import Failing


@pytest.fixture
def timed_out(tiers: Tiers, clock: ManualClock) -> OneOrder:
    """An order that has timed out, and is the same everywhere."""
    one = OneOrder(tiers, clock)
    one.create()
    one.move(Status.TIMEOUT)
    one.pump()
    return one


def late_results(one: OneOrder) -> Any:
    """The member, as JSON has it."""
    return msgspec.to_builtins(one.inspect()[0].late_results)


def test_they_are_shown_from_both_databases(timed_out: OneOrder, tiers: Tiers) -> None:
    """Each once, the earliest first; the verdict is of the order, which they are no part of."""
    order_id, at = timed_out.order.order_id, 1_700_000_000_000_000
    assert late_results(timed_out) == []
    tiers.late.keep(
        [LateResult(order_id, Status.SUCCESS, None, at + 5), LateResult(order_id, Status.FAILED, "x", at + 9)]
    )
    tiers.late_archive.write([LateResult(order_id, Status.SUCCESS, None, at)])
    assert late_results(timed_out) == [
        {"status": "success", "status_reason": None, "received_at": "2023-11-14T22:13:20.000000Z"},
        {"status": "failed", "status_reason": "x", "received_at": "2023-11-14T22:13:20.000009Z"},
    ]
    inspection, finding = timed_out.inspect()
    assert finding is Finding.CONSISTENT
    assert "late: success at 2023-11-14T22:13:20.000000Z, no reason\n" in table(inspection)


def test_that_they_cannot_be_read_is_said(timed_out: OneOrder, tiers: Tiers, clock: ManualClock) -> None:
    """Money may depend on what is not seen, so the look is not a good one."""
    late = Failing(tiers.late)
    late.error = TierUnavailable("hot", "no")
    partly = structs.replace(tiers, late=late)
    inspection, finding = inspect(partly, clock, timed_out.order.order_id, InspectSettings(groups=GROUPS))
    assert finding is Finding.UNKNOWN
    assert not inspection.consistent
    assert msgspec.to_builtins(inspection.late_results) == {"error": "hot: no"}
    assert inspection.verdict.endswith("; whether an outcome came too late could not be seen.")
    assert "late results: hot: no\n" in table(inspection)


def test_a_long_reason_is_wrapped_and_cannot_steer_the_terminal(timed_out: OneOrder, tiers: Tiers) -> None:
    """It is somebody else's text."""
    reason = "\x1b[2J" + "word " * 50
    tiers.late.keep([LateResult(timed_out.order.order_id, Status.SUCCESS, reason, 1)])
    shown = table(timed_out.inspect()[0])
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
