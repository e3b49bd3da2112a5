"""Every daemon in a process of its own, on the bench's own stores and topics, and orders that go all the way through them."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from orderctl.bench.following import start_at
from orderctl.bench.ground import Ground
from orderctl.bench.orders import batches, new_orders
from orderctl.bench.own_log import OwnLog, own_log
from orderctl.bench.raw_mysql import end_of_binlog
from orderctl.bench.serving import Target
from orderctl.clock import Clock, SystemClock
from orderctl.config import Config, load
from orderctl.daemons import process
from orderctl.daemons.manifest import select
from orderctl.errors import OrderctlError, TierUnavailable
from orderctl.order import Status
from orderctl.stores.tiers import Tiers, open_tiers

START_S: Final = 120.0
STOP_S: Final = 30.0
POLL_S: Final = 0.05
BATCH: Final = 100
SINGLES: Final = 10
TIMEOUT_S: Final = 3
"""Every second order is left alone, and times out."""
ADDRESSES: Final = {f"ORDERCTL_{name}__BIND": "127.0.0.1:0" for name in ("COMMAND", "QUERY", "ADMIN")}


@contextmanager
def all_daemons(ground: Ground) -> Iterator[dict[str, Target]]:
    """Each ready, by its name.

    Raises:
        TierUnavailable: one did not become ready.

    """
    prefix = f"{ground.name}.apart" if ground.is_real else None
    if prefix is None:
        with _started(ground, None) as targets:
            yield targets
        return
    with own_log(ground, prefix) as log:
        (shard,) = ground.config.mysql.shards
        start_at(log, shard.name, end_of_binlog(ground.config))
        with _started(ground, prefix) as targets:
            yield targets


@contextmanager
def _started(ground: Ground, prefix: str | None) -> Iterator[dict[str, Target]]:
    context = get_context("spawn")
    names = [manifest.name for manifest in select(())]
    processes = {
        name: context.Process(target=serve_on_own_log, args=(name, ground, prefix), daemon=True) for name in names
    }
    for started in processes.values():
        started.start()
    try:
        yield {name: _ready(name, ground, started) for name, started in processes.items()}
    finally:
        for started in processes.values():
            started.terminate()
        for started in processes.values():
            started.join(STOP_S)
            started.kill()
            started.join()


def serve_on_own_log(name: str, ground: Ground, prefix: str | None) -> None:
    """`orderctl serve NAME` in this process, with the log's topics under other names where there is a prefix."""
    with (ground.folder / f"{name}.log").open("ab") as output:
        os.dup2(output.fileno(), 2)
    process.run(
        [name],
        config=load(ground.config_file, ADDRESSES),
        data_dir=None if ground.is_real else ground.data_dir,
        ready=lambda _ready: None,
        ready_file=_ready_file(ground, name),
        environ={},
        tiers_of=open_tiers if prefix is None else partial(_own_tiers, prefix),
    )


def _own_tiers(prefix: str, config: Config, data_dir: Path | None, clock: Clock) -> Tiers:
    tiers = open_tiers(config, data_dir, clock)
    tiers.log.close()
    return structs.replace(tiers, log=OwnLog(config, prefix))


def _ready_file(ground: Ground, name: str) -> Path:
    return ground.folder / f"{name}.ready"


def _ready(name: str, ground: Ground, started: SpawnProcess) -> Target:
    clock, never, file = SystemClock(), threading.Event(), _ready_file(ground, name)
    give_up_s = clock.monotonic_s() + START_S
    while not (file.exists() and file.stat().st_size):
        if not started.is_alive() or clock.monotonic_s() > give_up_s:
            said = (ground.folder / f"{name}.log").read_text("utf-8", "replace")[-1000:]
            raise TierUnavailable(name, f"did not become ready; it wrote: {said}")
        clock.wait(never, POLL_S)
    found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    return Target(int(started.pid or 0), str(found.get(name, "")), str(found["admin"]))


@contextmanager
def orders_flowing(targets: dict[str, Target], merchant_key: str, gateway_key: str) -> Iterator[Synchronized[int]]:
    """As many as one client can send, one batch after the other, from a process of its own; yields how many there were.

    Raises:
        OrderctlError: the servers did not answer as they should.

    """
    context = get_context("spawn")
    stop, done = context.Event(), context.Value("q", 0)
    urls = (targets["command"].url, targets["query"].url)
    sender = context.Process(target=keep_sending, args=(urls, merchant_key, gateway_key, stop, done), daemon=True)
    sender.start()
    try:
        clock, never = SystemClock(), threading.Event()
        give_up_s = clock.monotonic_s() + START_S
        while not done.value and sender.is_alive() and clock.monotonic_s() < give_up_s:
            clock.wait(never, POLL_S)
        yield done
        if not sender.is_alive():
            raise OrderctlError("the load ended early: a server did not answer as it should")
    finally:
        stop.set()
        sender.join(STOP_S)
        sender.terminate()
        sender.join()


def keep_sending(
    urls: tuple[str, str], merchant_key: str, gateway_key: str, stop: Event, done: Synchronized[int]
) -> None:
    """Create, look up, and let every second order succeed, until told to stop."""
    with suppress(KeyboardInterrupt), closing(_Client(urls[0])) as command, closing(_Client(urls[1])) as query:
        number = 0
        while not stop.is_set():
            news = [structs.replace(new, timeout_s=TIMEOUT_S) for new in new_orders(f"m{number}", BATCH)]
            created = command.post("/v1/orders/batch", merchant_key, {"orders": news})
            ids = [one["order"]["order_id"] for one in created["results"]]
            query.post("/v1/orders/lookup", merchant_key, {"order_ids": ids})
            for order_id in ids[:SINGLES]:
                query.get(f"/v1/orders/{order_id}", merchant_key)
            for some in batches(ids[::2]):
                changes = [{"order_id": one, "status": Status.SUCCESS} for one in some]
                command.post("/v1/orders/changes", gateway_key, {"changes": changes})
            number += 1
            done.value += len(ids)


class _Client:
    """A connection that stays."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

    def post(self, target: str, key: str, body: object) -> dict[str, Any]:
        """Send a body; returns the answer's."""
        return self._ask("POST", target, key, msgspec.json.encode(body))

    def get(self, target: str, key: str) -> dict[str, Any]:
        """Ask for something."""
        return self._ask("GET", target, key, None)

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()

    def _ask(self, method: str, target: str, key: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._connection.request(method, target, body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status not in (200, 202):
            raise OrderctlError(f"{target} answered {answer.status}: {said[:200]!r}")
        found: dict[str, Any] = msgspec.json.decode(said)
        return found
