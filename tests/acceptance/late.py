"""An outcome that comes too late, from the gateway's call to the archive, on whatever tiers there are."""

from __future__ import annotations

import os

from orderctl.config import Config
from tests.acceptance.quiet import opened
from tests.acceptance.server import Server, until

MOVED_WITHIN_S = 60.0


def refuse_and_keep(server: Server, config: Config) -> None:
    """A failure after a success is refused, told of at once and for ever, and ends in the archive, wherever its order is."""
    with server:
        body = {"merchant_ref": os.urandom(8).hex(), "amount": 5, "currency": "EUR", "payment_method": "card"}
        order_id = server.command("POST", "/v1/orders", "demo", body).json["order_id"]
        assert _change(server, order_id, "success") == 200
        assert _told(server, order_id) == []
        assert [_change(server, order_id, "failed") for _ in range(2)] == [409, 409]
        expected = _told(server, order_id)
        assert [(late["status"], late["status_reason"]) for late in expected] == [("failed", "reversed")]
        with opened(server.data_dir, config) as tiers:

            def has_moved() -> bool:
                assert _told(server, order_id) == expected
                return len(tiers.late_archive.load([order_id])[0]) == 1 and tiers.late.load([order_id]) == [[]]

            until(has_moved, seconds=config.archiver.settle_s + MOVED_WITHIN_S, what="the late result in the archive")
            assert _change(server, order_id, "failed") == 409
            assert _told(server, order_id) == expected
        assert server.stop() == 0


def _change(server: Server, order_id: str, status: str) -> int:
    body = {"status": status, "status_reason": "reversed" if status == "failed" else None}
    return server.command("PATCH", f"/v1/orders/{order_id}", "gateway", body).status


def _told(server: Server, order_id: str) -> list[dict[str, object]]:
    answer = server.query("GET", f"/v1/orders/{order_id}/late-results", "gateway")
    assert answer.status == 200, answer.body
    found: list[dict[str, object]] = answer.json["late_results"]
    return found
