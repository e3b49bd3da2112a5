"""Time-outs as merchants see them, on the embedded stores: never early, never late, with events or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.overdue import account, create_due, wait_until_due
from tests.acceptance.quiet import Record, opened
from tests.acceptance.server import Server

pytestmark = pytest.mark.minutes
ALL_AT_ONCE = 10_000
SOME = 2_000
IN_S = 40.0
"""Time enough to create them all before the first is due …"""
SOON_S = 12.5
"""… and some."""
OTHERS = ("command", "query", "cdc", "cache-sync", "archiver")


def test_ten_thousand_orders_due_in_the_same_second(tmp_path: Path, record_property: Record) -> None:
    """All daemons in one process, which also serves and archives them."""
    with Server(tmp_path / "data") as server:
        order_ids = create_due(server, ALL_AT_ONCE, in_s=IN_S, prefix="all")
        found = account(order_ids, server, tmp_path / "data", record_property, daemons=[server])
        assert found.total() == ALL_AT_ONCE
        assert server.stop() == 0


def test_without_the_expiry_daemon_the_sweep_finds_all(tmp_path: Path, record_property: Record) -> None:
    """Within its bound, and it says so."""
    with Server(tmp_path / "data", *OTHERS, "timeouts") as server:
        order_ids = create_due(server, SOME, in_s=SOON_S, prefix="swept")
        found = account(order_ids, server, tmp_path / "data", record_property, daemons=[server])
        assert found == {"sweep": SOME}
        assert server.stop() == 0


def test_one_of_two_is_killed_when_the_orders_fall_due(tmp_path: Path, record_property: Record) -> None:
    """And the only expiry daemon with it: the other times out all that are left, though the log has not given it the groups."""
    data_dir = tmp_path / "data"
    with (
        Server(data_dir, *OTHERS) as api,
        Server(data_dir, "timeouts") as survivor,
        Server(data_dir, "expiry", "timeouts") as victim,
    ):
        order_ids = create_due(api, SOME, in_s=SOON_S, prefix="killed")
        with opened(data_dir) as tiers:
            wait_until_due(order_ids, tiers)
        victim.kill()
        found = account(order_ids, api, data_dir, record_property, daemons=[survivor])
        assert found["sweep"] > 0
