"""`orderctl invalidate`, `replay` and `parked` on real servers: one order's way through all of them, with no daemon running."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry

from orderctl import event
from orderctl.clock import US_PER_S, SystemClock
from orderctl.ids import group_of, new_order_id, partition_in
from orderctl.metrics import Metrics
from orderctl.order import Change, Order, Status
from orderctl.services.cache_sync import CacheSync
from orderctl.services.expiry import Expired, encode_expired
from orderctl.services.pump import Pump
from orderctl.stores.cache import Fill, Granted
from orderctl.stores.hot import Created
from orderctl.stores.log import CHANGES, EXPIRED, LogStore, Message, Outgoing, Place
from orderctl.stores.record import record_of
from orderctl.stores.tiers import Tiers, open_tiers
from tests.acceptance.deployment import Deployment
from tests.acceptance.server import PATIENCE_S, until
from tests.cli.terminal import Terminal
from tests.contract.hot_harness import a_draft
from tests.stack import RunningStack, needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

GROUPS = ("timeouts", "cache-sync", "archiver")
"""Who would commit over what is sought."""
TOKEN = b"\x07" * 16


class OneOrder:
    """An order in the deployment's tiers, perhaps `overdue`, and an operator who sees to it."""

    def __init__(self, deployment: Deployment, tiers: Tiers, folder: Path, *, overdue: bool) -> None:
        self.tiers = tiers
        self.groups = deployment.config.deployment.groups
        self._terminal = Terminal(folder)
        self._settings = {**deployment.settings, "ORDERCTL_DATA_DIR": str(deployment.data_dir)}
        now_us = SystemClock().now_us()
        deadline_at = now_us + (-1 if overdue else 900) * US_PER_S
        draft = a_draft(merchant_id=uuid4().hex, created_at=now_us, updated_at=now_us, deadline_at=deadline_at)
        # Other runs on these servers may have left theirs.
        order_id = new_order_id(now_us // 1000, partition_in(draft.order.order_id), os.urandom)
        [created] = tiers.hot.create([structs.replace(draft, order=structs.replace(draft.order, order_id=order_id))])
        assert isinstance(created, Created)
        self.order = created.order
        self.group = group_of(self.order.order_id, self.groups)

    def close(self) -> None:
        """Leave nothing behind that other tests would have to wait for."""
        self.tiers.hot.change([Change(self.order.order_id, Status.CANCELLED)], now_us=SystemClock().now_us())

    def say(self, *arguments: str, code: int = 0) -> Any:
        """What `-o json` says, having ended so."""
        done = self._terminal.run(*arguments, "-o", "json", **self._settings)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def hint(self, value: bytes) -> int:
        """A message about it in `orders.expired`, which the daemon has read; returns its offset."""
        log, place = self.tiers.log, Place(EXPIRED, self.group)
        log.publish([Outgoing(place, self.order.order_id.encode(), value)])
        end = log.ends(EXPIRED)[self.group][1]
        log.seek("timeouts", {place: end})
        return end - 1

    def flow(self, version: int) -> int:
        """What was committed goes to the log, and is read from there; returns the offset of that version of the order."""
        found = self._pumped(version)
        log, cache, place = self.tiers.log, self.tiers.cache, Place(CHANGES, self.group)
        end = log.ends(CHANGES)[self.group][1]
        sync = CacheSync(
            cache,
            log,
            groups=self.groups,
            clock=SystemClock(),
            metrics=Metrics(CollectorRegistry()),
            record_ttl_ms=60_000,
        )
        at = log.committed("cache-sync", CHANGES)[self.group]
        sync.take(place, at)
        sync.apply(log.read(place, at or 0, end - (at or 0)))
        for group in ("cache-sync", "archiver"):
            log.seek(group, {place: end})
        return found

    def _pumped(self, version: int) -> int:
        """Pump until that version is in the log; returns its offset."""
        log, place, key = self.tiers.log, Place(CHANGES, self.group), self.order.order_id.encode()
        pump = Pump(self.tiers.feeds[0], log, partition=0, groups=self.groups, clock=SystemClock())
        until_s = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < until_s:
                pump.step(0.2)
                end = log.ends(CHANGES)[self.group][1]
                messages = log.read(place, max(0, end - 100), 100)
                for message in messages:
                    if message.key == key and event.decode(message.value).order.version == version:
                        return message.offset
        finally:
            pump.close()
        raise AssertionError(f"version {version} was not published within {PATIENCE_S} s")

    def cache(self, order: Order) -> None:
        """The cache has it like this."""
        self.tiers.cache.invalidate([order.order_id])
        assert self.tiers.cache.lookup([order.order_id], tokens=[TOKEN]) == [Granted(TOKEN)]
        assert self.tiers.cache.fill([Fill(order.order_id, TOKEN, record_of(order), 60_000)]) == [True]

    def replay(self, daemon: str, offset: int) -> tuple[int, int]:
        """One message, dry and then live; returns what would change, and what was changed."""
        replay = ("replay", daemon, "--from", f"{self.group}:{offset}", "--to", f"{self.group}:{offset + 1}")
        plan, done = self.say(*replay), self.say(*replay, "--execute", "--yes")
        assert (plan["events"], plan["applied"], done["would_change"]) == (1, 0, plan["would_change"])
        return plan["would_change"], done["applied"]


@pytest.fixture(scope="module")
def deployment(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Made once: nothing is served, and each test has an order of its own."""
    return Deployment(stack.folder / "orderctl.toml", tmp_path_factory.mktemp("operator") / "data")


def until_nobody_reads(log: LogStore) -> None:
    """That a member has left may come to the log's knowledge later, and that its process has ended with its session only."""
    until(lambda: not any(map(log.is_active, GROUPS)), seconds=PATIENCE_S, what="nobody reads")


@pytest.fixture
def tiers(deployment: Deployment) -> Iterator[Tiers]:
    """The deployment's, which no daemon of other tests is at work on any more."""
    tiers = open_tiers(deployment.config, None, SystemClock())
    until_nobody_reads(tiers.log)
    yield tiers
    tiers.close()


@pytest.fixture
def one(deployment: Deployment, tiers: Tiers, tmp_path: Path) -> Iterator[OneOrder]:
    """A new order."""
    one = OneOrder(deployment, tiers, tmp_path, overdue=False)
    yield one
    one.close()


@pytest.fixture
def overdue(deployment: Deployment, tiers: Tiers, tmp_path: Path) -> Iterator[OneOrder]:
    """A new order whose deadline has passed."""
    one = OneOrder(deployment, tiers, tmp_path, overdue=True)
    yield one
    one.close()


def test_an_order_is_forgotten(one: OneOrder) -> None:
    """By its id at once; with its whole group by plan, found by looking through Redis."""
    one.cache(one.order)
    assert one.say("invalidate", one.order.order_id)["by_group"] == {str(one.group): 1}
    assert one.tiers.cache.get([one.order.order_id]) == [None]
    one.cache(one.order)
    chosen = ("invalidate", "--groups", str(one.group))
    assert one.say(*chosen)["orders"] >= 1
    assert one.say("invalidate", "--merchant", one.order.merchant_id)["orders"] == 1
    assert one.tiers.cache.get([one.order.order_id]) != [None]
    assert one.say(*chosen, "--execute", "--yes")["executed"]
    assert one.tiers.cache.get([one.order.order_id]) == [None]


def test_an_order_is_replayed_through_each_daemon(overdue: OneOrder) -> None:
    """Timed out in MariaDB, applied to Redis, moved to Cassandra; each changes what its dry run said, and only once."""
    one, old, order_id = overdue, overdue.order, overdue.order.order_id
    hint = one.hint(encode_expired(Expired(order_id, 1)))
    assert one.replay("timeouts", hint) == (1, 1)
    [row] = one.tiers.hot.load([order_id])
    assert row is not None
    assert row.status is Status.TIMEOUT
    change = one.flow(row.version)
    one.cache(old)
    assert one.replay("cache-sync", change) == (1, 1)
    [entry] = one.tiers.cache.get([order_id])
    assert entry is not None
    assert entry.version == row.version
    assert one.replay("archiver", change) == (1, 1)
    assert (one.tiers.hot.load([order_id]), one.tiers.archive.load([order_id])) == ([None], [row])
    assert one.replay("timeouts", hint) == one.replay("cache-sync", change) == one.replay("archiver", change) == (0, 0)


def test_a_group_is_moved_back_while_nobody_reads(one: OneOrder) -> None:
    """Kafka's coordinator refuses it while there is a member."""
    offset = one.hint(encode_expired(Expired(one.order.order_id, 1)))
    seek = ("replay", "timeouts", "--from", f"{one.group}:{offset}", "--seek", "--execute", "--yes")
    member = one.tiers.log.join("timeouts", [EXPIRED])
    try:
        read: list[Message] = []
        while not member.assigned():
            read += member.poll(1, 1)
        assert "somebody reads as timeouts" in one.say(*seek, code=2)
    finally:
        member.close()
    until_nobody_reads(one.tiers.log)
    assert one.say(*seek)["sought"]
    assert one.tiers.log.committed("timeouts", EXPIRED)[one.group] == offset
    again = ("replay", "timeouts", "--from", f"{one.group}:{offset}")
    assert one.say(*again)["events"] == 0
    one.tiers.log.seek("timeouts", {Place(EXPIRED, one.group): offset + 1})
    assert (one.say(*again)["events"], one.say(*again)["would_change"]) == (1, 0)


def test_a_message_that_was_parked_is_seen_to(one: OneOrder) -> None:
    """Replayed it is parked; retried and dropped it is remembered in Kafka itself."""
    offset = one.hint(b"{")
    assert one.replay("timeouts", offset) == (0, 0)
    [parked] = [each for each in one.say("parked", "list") if each["order_id"] == one.order.order_id]
    assert (parked["topic"], parked["partition"], parked["offset"]) == (EXPIRED, one.group, offset)
    assert one.say("parked", "show", parked["id"])["value"] == "{"
    assert one.say("parked", "retry", parked["id"]) == [parked]
    end = one.tiers.log.ends(EXPIRED)[one.group][1]
    assert [message.value for message in one.tiers.log.read(Place(EXPIRED, one.group), end - 1, 1)] == [b"{"]
    assert "nothing is parked" in one.say("parked", "retry", parked["id"], code=3)
    one.tiers.log.seek("timeouts", {Place(EXPIRED, one.group): end})
    one.replay("timeouts", end - 1)
    [again] = [each for each in one.say("parked", "list") if each["order_id"] == one.order.order_id]
    assert one.say("parked", "drop", again["id"])["messages"] == 1
    assert one.say("parked", "drop", again["id"], "--execute", "--yes")["executed"]
    assert one.order.order_id not in {each["order_id"] for each in one.say("parked", "list")}
