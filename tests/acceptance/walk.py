"""The walk: orders from their creation to the archive over HTTP, read all the time, on whatever tiers there are."""

import os
import threading

from orderctl.config import Config
from tests.acceptance.quiet import opened, wait_until_quiet
from tests.acceptance.server import PATIENCE_S, PATIENTLY, Server, until

ORDERS = 40
ARCHIVED_WITHIN_S = 5.0


class Reader(threading.Thread):
    """Reads orders again and again, and takes offence at a 404 or at an older state than it saw before."""

    def __init__(self, server: Server, order_ids: list[str]) -> None:
        super().__init__(name="reader")
        self._server = server
        self._order_ids = order_ids
        self._enough = threading.Event()
        self.versions: dict[str, int] = {}
        self.faults: list[object] = []
        self.reads = 0

    def run(self) -> None:
        while not self._enough.is_set():
            answer = self._server.query(
                "POST", "/v1/orders/lookup", "gateway", {"order_ids": self._order_ids}, Prefer=PATIENTLY
            )
            for result in answer.json["results"]:
                order = result.get("order")
                if order is None or order["version"] < self.versions.get(order["order_id"], 0):
                    self.faults.append(result)
                else:
                    self.versions[order["order_id"]] = order["version"]
            self.reads += len(self._order_ids)

    def stop(self) -> None:
        """Enough was read."""
        self._enough.set()
        self.join(PATIENCE_S)


def walk(server: Server, config: Config) -> None:
    """Walk orders through `server`, which runs on what `config` says.

    Final orders leave the hot store within seconds, readable at every moment; asked for again, they are as they ended.
    """
    prefix = os.urandom(4).hex()
    with server:
        body = {"amount": 5, "currency": "EUR", "payment_method": "card"}
        created = server.command(
            "POST",
            "/v1/orders/batch",
            "demo",
            {"orders": [{**body, "merchant_ref": f"{prefix}-{n}"} for n in range(ORDERS)]},
        )
        order_ids = [result["order"]["order_id"] for result in created.json["results"]]
        unread, read = order_ids[0], order_ids[1:]
        reader = Reader(server, read)
        reader.start()
        for status in ("processing", "success"):
            changes = [{"order_id": order_id, "status": status} for order_id in order_ids]
            answer = server.command("POST", "/v1/orders/changes", "gateway", {"changes": changes})
            assert {result["status"] for result in answer.json["results"]} == {200}
        with opened(server.data_dir, config) as tiers:
            moved = lambda: not any(tiers.hot.load(order_ids))  # noqa: E731 - said once, right here
            until(moved, seconds=config.archiver.settle_s + ARCHIVED_WITHIN_S, what="all orders in the archive")
            assert [order and order.version for order in tiers.archive.load(order_ids)] == [3] * ORDERS
            wait_until_quiet(tiers, seconds=PATIENCE_S)
            tiers.cache.invalidate(order_ids)
        until(lambda: reader.reads > 10 * len(read), seconds=PATIENCE_S, what="the reader has seen it all")
        reader.stop()
        assert not reader.faults
        assert set(reader.versions.values()) == {3}
        from_archive = server.query("GET", f"/v1/orders/{unread}", Prefer=PATIENTLY)
        assert from_archive.headers["cache-status"] == "redis; fwd=miss; detail=cassandra"
        ask_again(server, {**body, "merchant_ref": f"{prefix}-0"}, unread)
        assert server.stop() == 0


def ask_again(server: Server, body: dict[str, object], order_id: str) -> None:
    """A creation and changes of an order that has moved are answered as if it had not."""
    replay = server.command("POST", "/v1/orders", "demo", body)
    assert (replay.status, replay.headers["idempotent-replayed"]) == (200, "true")
    assert (replay.json["order_id"], replay.json["status"]) == (order_id, "success")
    other = server.command("POST", "/v1/orders", "demo", {**body, "amount": 6})
    assert other.status == 422
    same = server.command("PATCH", f"/v1/orders/{order_id}", "gateway", {"status": "success"})
    assert (same.status, same.json["version"]) == (200, 3)
    late = server.command("PATCH", f"/v1/orders/{order_id}", "gateway", {"status": "failed"})
    assert (late.status, late.json["current_status"], late.json["current_version"]) == (409, "success", 3)
    by_ref = server.query("GET", f"/v1/orders?merchant_ref={body['merchant_ref']}", Prefer=PATIENTLY)
    assert by_ref.json["order_id"] == order_id
