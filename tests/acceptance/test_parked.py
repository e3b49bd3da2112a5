"""A poisoned message while everything runs: it stops nobody, an operator sees it, and seeing to it is remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orderctl.config import Config
from orderctl.ids import group_of
from orderctl.order import Status
from orderctl.stores.log import CHANGES, Outgoing, Place
from orderctl.stores.tiers import Tiers
from tests.acceptance.quiet import opened
from tests.acceptance.server import Server, call, until
from tests.cli.terminal import Terminal

WITHIN_S = 60.0
GROUPS = Config().deployment.groups


class Operator:
    """Who runs verbs beside the server, on its data directory."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._terminal = Terminal(folder)

    def say(self, *words: str) -> Any:
        """What `-o json` says."""
        done = self._terminal.run(*words, "--data-dir", str(self._server.data_dir), "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def create(self, ref: str) -> str:
        """An order, through the API; returns its id."""
        key = (self._server.data_dir / "keys" / "demo").read_text().strip()
        body = {"merchant_ref": ref, "amount": 1, "currency": "EUR", "payment_method": "card"}
        return str(call(self._server.ready["command"], "POST", "/v1/orders", key, body).json["order_id"])

    def finish(self, order_id: str) -> None:
        """It is paid."""
        key = (self._server.data_dir / "keys" / "gateway").read_text().strip()
        done = call(
            self._server.ready["command"], "PATCH", f"/v1/orders/{order_id}", key, {"status": Status.SUCCESS.value}
        )
        assert done.status == 200


def poison(tiers: Tiers, order_id: str) -> None:
    """A change of the order that nobody can read."""
    place = Place(CHANGES, group_of(order_id, GROUPS))
    tiers.log.publish([Outgoing(place, order_id.encode(), b"{")])


@pytest.mark.timeout(300)
def test_a_poisoned_message_stops_nobody(tmp_path: Path) -> None:
    """What is behind it in its partition reaches the archive; it is listed, retried, parked anew, and dropped."""
    with Server(tmp_path / "data") as server, opened(server.data_dir) as tiers:
        operator = Operator(server, tmp_path)
        order_id = operator.create("poisoned")
        poison(tiers, order_id)
        until(lambda: len(operator.say("parked", "list")) == 1, seconds=WITHIN_S, what="it is parked")
        [parked] = operator.say("parked", "list")
        assert (parked["order_id"], parked["daemon"]) == (order_id, "cache-sync")
        operator.finish(order_id)
        until(lambda: tiers.archive.load([order_id]) != [None], seconds=WITHIN_S, what="the order is archived")
        operator.say("parked", "retry", parked["id"])
        until(lambda: len(operator.say("parked", "list")) == 1, seconds=WITHIN_S, what="it is parked anew")
        [again] = operator.say("parked", "list")
        assert again["id"] != parked["id"]
        assert again["offset"] > parked["offset"]
        assert operator.say("parked", "drop", again["id"], "--execute", "--yes")["executed"]
        assert operator.say("parked", "list") == []
        actions = [line["action"] for line in operator.say("audit", "list") if line["action"].startswith("parked")]
        assert actions == ["parked retry"] * 2 + ["parked drop"] * 2
        assert operator.say("audit", "verify")["intact"]
        assert server.stop() == 0
