"""Load with a memory: what was asked of each order and what was acknowledged, to be held against the truth afterwards."""

from __future__ import annotations

import http.client
import random
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, Self

from tests.acceptance.server import ANSWERED_S, PATIENTLY, TICK, Answer

FINALS = ("success", "failed", "cancelled")
A_DAY_S = 86_400
NO_ANSWER = (OSError, http.client.HTTPException)


@dataclass
class Line:
    """One order's history as its only client saw it."""

    ref: str
    amount: int
    order_id: str | None = None
    acknowledged: dict[int, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    attempts: int = 0

    def acknowledge(self, order: dict[str, Any]) -> None:
        """An answer that holds the order: from now on this version has this status."""
        assert self.order_id in (None, order["order_id"]), f"{self.ref} has two orders"
        self.order_id = order["order_id"]
        assert order["amount"] == self.amount
        known = self.acknowledged.setdefault(order["version"], order["status"])
        assert known == order["status"], f"{self.ref}: version {order['version']} was {known}, is {order['status']}"

    def check(self, order: dict[str, Any]) -> None:
        """Hold the order as it is now against everything that was acknowledged."""
        self.acknowledge(order)
        newest = max(self.acknowledged)
        assert order["version"] == newest, f"{self.ref} went back from {newest} to {order['version']}"
        assert order["status"] in self.asked | {"pending"}
        assert order["version"] <= 1 + self.attempts
        finals = {status for status in self.acknowledged.values() if status in FINALS}
        assert not finals or finals == {order["status"]}, f"{self.ref} was {finals}, is {order['status']}"


class Api(Protocol):
    """Both API servers, however many processes they are."""

    def command(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the command server."""
        ...

    def query(self, method: str, target: str, key: str = "demo", body: object = None, **headers: str) -> Answer:
        """A request to the query server."""
        ...


def is_a_stranger(answer: Answer) -> bool:
    """Whether a server of another run may have answered: it was given the port of one that was killed a moment ago.

    It does not know our keys, or what we ask for. Were it ours, it would say so again and again, until the test's time is over.
    """
    nowhere = answer.status == 404 and b"nothing at this address" in answer.body
    return nowhere or answer.status in {401, 405}


class Ledger:
    """Clients that create and change orders until told to stop, each with orders of its own.

    `pause_s` is how long a client rests between two orders. References are new ones each time: a deployment may see many ledgers.
    """

    def __init__(self, server: Api, *, clients: int, seed: int, pause_s: float = 0.0) -> None:
        self._server = server
        self._pause_s = pause_s
        self._tag = secrets.token_hex(4)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._work, args=(number, random.Random(seed * 1000 + number)), name=f"client-{number}"
            )
            for number in range(clients)
        ]
        self._lock = threading.Lock()
        self.lines: list[Line] = []
        self.operations = 0
        self.acknowledged = 0
        self.refused = 0
        self.unknown = 0
        self.faults: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * ANSWERED_S)
        assert not self.faults, self.faults[0]

    def _work(self, number: int, rng: random.Random) -> None:
        try:
            for count in range(1_000_000):
                if self._stop.is_set():
                    return
                self._live(Line(f"{self._tag}-c{number}-{count}", rng.randint(1, 10**6)), rng)
                self._stop.wait(self._pause_s)
        except BaseException as fault:  # noqa: BLE001 - it is raised again where the test can see it
            self.faults.append(fault)

    def _live(self, line: Line, rng: random.Random) -> None:
        """One order's life, cut short now and then."""
        body = {
            "merchant_ref": line.ref,
            "amount": line.amount,
            "currency": "EUR",
            "payment_method": "card",
            "timeout_s": A_DAY_S,  # none is to fall due while later tests look at the same servers
        }
        with self._lock:
            self.lines.append(line)
        if not self._ask(line, partial(self._server.command, "POST", "/v1/orders", "demo", body), {200, 201}):
            return
        for status in ("processing", rng.choice(FINALS), rng.choice(FINALS)):
            if rng.random() < 0.2:
                continue
            line.asked.add(status)
            line.attempts += 1
            if not self._ask(line, partial(self._change, line, status), {200, 409}):
                return

    def _change(self, line: Line, status: str) -> Answer:
        return self._server.command("PATCH", f"/v1/orders/{line.order_id}", "gateway", {"status": status})

    def _ask(self, line: Line, ask: Callable[[], Answer], expected: set[int]) -> bool:
        """Ask until there is an answer; the same words again are harmless. Returns False when told to stop."""
        while not self._stop.is_set():
            with self._lock:
                self.operations += 1
            try:
                answer = ask()
            except NO_ANSWER as error:
                with self._lock:
                    self.unknown += not isinstance(error, ConnectionRefusedError)
                TICK.wait(0.02)
                continue
            if answer.status == 503:
                self._count_503(answer)
                TICK.wait(0.02)
                continue
            if is_a_stranger(answer):
                TICK.wait(0.02)
                continue
            assert answer.status in expected, (answer.status, answer.body)
            with self._lock:
                self.acknowledged += 1
            if answer.status != 409:
                line.acknowledge(answer.json)
            return True
        return False

    def _count_503(self, answer: Answer) -> None:
        """Nothing was written, or nobody knows: either way the client is told when to ask again."""
        assert "retry-after" in answer.headers, answer.body
        with self._lock:
            if answer.json["type"].endswith(":outcome-unknown"):
                self.unknown += 1
            else:
                assert answer.json["type"].endswith(":unavailable"), answer.body
                self.refused += 1

    def check(self, server: Api) -> int:
        """Hold every order against its line; returns how many there were. The clients have stopped."""
        for line in self.lines:
            answer = server.query("GET", f"/v1/orders?merchant_ref={line.ref}", Prefer=PATIENTLY)
            if line.order_id is None and answer.status == 404:
                continue
            assert answer.status == 200, (line, answer.status, answer.body)
            line.check(answer.json)
        return len(self.lines)
