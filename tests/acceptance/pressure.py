"""Pressure on a query server: many look-ups at one moment, a steady load over a cold cache, and what its metrics say of it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from orderctl.services.allowance import BURST_S
from tests.acceptance.server import PATIENTLY, Answer, Server, call

LOOKED_UP_AT_A_TIME = 100
PATIENCE_S = 60.0
A_DAY_S = 86_400

_references = count()


class Timed(Struct, frozen=True):
    """An answer's status, and how long it took from when all requests were let go."""

    status: int
    seconds: float


def create(server: Server, number: int) -> list[str]:
    """That many open orders; their ids."""
    order_ids: list[str] = []
    while len(order_ids) < number:
        size = min(500, number - len(order_ids))
        mark = time.time_ns()
        orders = [
            {
                "merchant_ref": f"p-{mark}-{next(_references)}",
                "amount": 5,
                "currency": "EUR",
                "payment_method": "card",
                "timeout_s": A_DAY_S,  # they are not to fall due while later tests look at the same servers
            }
            for _ in range(size)
        ]
        answer = server.command("POST", "/v1/orders/batch", body={"orders": orders})
        assert answer.status == 200, answer.body
        order_ids += [result["order"]["order_id"] for result in answer.json["results"]]
    return order_ids


def at_once(url: str, target: str, key: str, number: int) -> list[Timed]:
    """The same request on that many connections, all sent at the same moment."""
    return asyncio.run(_at_once(urlsplit(url), target, key, number))


async def _at_once(where: Any, target: str, key: str, number: int) -> list[Timed]:
    headers = f"Host: localhost\r\nAuthorization: Bearer {key}\r\nPrefer: {PATIENTLY}\r\nConnection: close"
    request = f"GET {target} HTTP/1.1\r\n{headers}\r\n\r\n"
    connections = [await asyncio.open_connection(where.hostname, where.port) for _ in range(number)]
    let_go_s = time.monotonic()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Timed:
        writer.write(request.encode())
        received = await asyncio.wait_for(reader.read(), PATIENCE_S)
        answered_s = time.monotonic()
        writer.close()
        await writer.wait_closed()
        return Timed(int(received.split(b" ", 2)[1]), answered_s - let_go_s)

    return await asyncio.gather(*(ask(*connection) for connection in connections))


def p99_ms(seconds: Sequence[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return round(quantiles(seconds, n=100)[98] * 1000, 1)


class Gauges:
    """What a server's metrics say, and how that has changed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self.read()

    def read(self) -> Counter[str]:
        """Every sample of ours, without the prefix."""
        found = re.findall(r"^orderctl_(\S+) ([0-9.e+-]+)$", self._server.admin("/metrics").body.decode(), re.MULTILINE)
        return Counter({name: float(value) for name, value in found})

    def grown(self, name: str) -> float:
        """How far a counter has gone since this was made."""
        return self.read()[name] - self._before[name]

    def loads(self) -> dict[str, float]:
        """How many orders were loaded from each database since this was made."""
        return {tier: self.grown(f'loads_total{{tier="{tier}"}}') for tier in ("mysql", "cassandra")}


class Sample(Struct, frozen=True):
    """How many orders had been loaded from each database, at some moment between two."""

    after_s: float
    before_s: float
    loads: dict[str, float]


class Meter:
    """Reads again and again how much was loaded, while a block runs."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._stop = threading.Event()
        self._samples: list[Sample] = []
        self._thread = threading.Thread(target=self._work)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read while the block runs."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(PATIENCE_S)

    def check(self, most_per_s: float) -> float:
        """In no span of time was more loaded from a database than this allows; returns the most that was in a second or more."""
        most = 0.0
        for at, first in enumerate(self._samples):
            for later in self._samples[at + 1 :]:
                span_s = later.before_s - first.after_s
                for tier, loaded in later.loads.items():
                    grown = loaded - first.loads[tier]
                    assert grown <= most_per_s * (span_s + BURST_S) + 1, (tier, grown, span_s)
                    most = max(most, grown / span_s if span_s >= 1 else 0.0)
        return round(most)

    def _work(self) -> None:
        while not self._stop.wait(0.2):
            after_s = time.monotonic()
            loads = self._gauges.loads()
            self._samples.append(Sample(after_s, time.monotonic(), loads))


class Readers:
    """Threads that look orders up in batches, again and again, and keep account of what they were told."""

    def __init__(self, url: str, key: str, order_ids: Sequence[str], *, threads: int = 2) -> None:
        self._url = url
        self._key = key
        self._order_ids = order_ids
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self.told: Counter[str] = Counter()
        """Answers by kind: `found`, `pending`, `not_found`, a status, or `wrong` for another order's."""
        self._threads = [threading.Thread(target=self._read, args=(at,)) for at in range(threads)]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read while the block runs."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(PATIENCE_S)

    def count(self, kind: str) -> int:
        """How many answers of a kind there were so far."""
        with self._guard:
            return self.told[kind]

    def _read(self, start: int) -> None:
        at = start * LOOKED_UP_AT_A_TIME
        while not self._stop.is_set():
            asked = [self._order_ids[(at + i) % len(self._order_ids)] for i in range(LOOKED_UP_AT_A_TIME)]
            at += LOOKED_UP_AT_A_TIME * len(self._threads)
            kinds = kinds_of(look_up(self._url, self._key, asked), asked)
            with self._guard:
                self.told += kinds


def look_up(url: str, key: str, order_ids: Sequence[str], **headers: str) -> Answer:
    """A look-up of many."""
    return call(url, "POST", "/v1/orders/lookup", key, {"order_ids": list(order_ids)}, **headers)


def kinds_of(answer: Answer, asked: Sequence[str]) -> Counter[str]:
    """What each order asked for was told to be."""
    if answer.status != 200:
        return Counter({str(answer.status): len(asked)})
    results = json.loads(answer.body)["results"]
    kinds: Counter[str] = Counter()
    for order_id, result in zip(asked, results, strict=True):
        said = result["order"]["order_id"] if "order" in result else result["order_id"]
        kinds["wrong" if said != order_id else result.get("lookup", "found")] += 1
    return kinds
