"""Those who follow the log and the binlog come and go under load: another one takes over, and nothing is lost or put back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from orderctl.stores.log import CHANGES
from orderctl.stores.tiers import Tiers
from tests.acceptance.deployment import Deployment
from tests.acceptance.fleet import Fleet
from tests.acceptance.quiet import Record, hold_to_account, opened
from tests.acceptance.server import PATIENCE_S, Server, until
from tests.acceptance.watching import counted
from tests.acceptance.weather import under_load
from tests.stack import needs

pytestmark = [needs("sql", "redis", "kafka", "cassandra"), pytest.mark.timeout(240)]

LEADING = "leading"
TAKEOVER_S = 15.0
"""The longest that a shard may be without a pump after its leader was killed."""
BRISK_S = 0.01
"""A client's pause between orders where batches are to be under way all the time."""
VISITS = 4
"""How often a second member comes and goes."""
FREEZES = 2

followers = pytest.mark.parametrize(
    ("daemon", "work"), [("cache-sync", "cache_lag_seconds_count"), ("archiver", "archived_total")]
)
"""Those that share the groups, and what each counts while it works."""


def second(deployment: Deployment, daemon: str) -> Server:
    """Another process of a daemon, which is not started yet."""
    folder = deployment.data_dir.with_name("second")
    folder.mkdir(exist_ok=True)
    return Server(folder, daemon, settings=deployment.settings)


def published(tiers: Tiers) -> int:
    """How many messages orders.changes has got so far."""
    return sum(end for _, end in tiers.log.ends(CHANGES))


def test_a_killed_pump_is_succeeded(deployment: Deployment, record_property: Record) -> None:
    """Of two cdc processes the leader is killed, and then its successor: each time the other one leads within 15 s."""
    with (
        Fleet(deployment.data_dir, deployment.settings) as fleet,
        second(deployment, "cdc") as other,
        opened(deployment.data_dir, deployment.config) as tiers,
    ):
        leader, heir = fleet.servers["cdc"], other
        until(lambda: LEADING in leader.log + heir.log, seconds=PATIENCE_S, what="somebody leads")
        if LEADING not in leader.log:
            leader, heir = heir, leader
        with under_load(fleet, seed=51) as load:
            took_s: list[float] = []
            for _ in range(2):
                load.wait_for_orders(50, seconds=PATIENCE_S)
                led = heir.log.count(LEADING)
                leader.kill()
                began_s = time.monotonic()
                until(lambda: heir.log.count(LEADING) > led, seconds=PATIENCE_S, what="the other one leads")  # noqa: B023
                before = published(tiers)
                until(partial(has_published, tiers, more_than=before), seconds=PATIENCE_S, what="published again")
                took_s.append(round(time.monotonic() - began_s, 1))
                leader.start()
                leader, heir = heir, leader
        record_property("seconds to take over", took_s)
        assert max(took_s) < TAKEOVER_S
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() | {other.stop()} == {0}


@pytest.mark.parametrize(
    ("daemon", "work"), [("cache-sync", "cache_lag_seconds_count"), ("archiver", "archived_total")]
)
def test_a_second_member_comes_and_goes(
    deployment: Deployment, record_property: Record, daemon: str, work: str
) -> None:
    """In the middle of batches: it takes over half of the groups, works, and ends in good order or by SIGKILL, in turn."""
    with Fleet(deployment.data_dir, deployment.settings) as fleet:
        first = fleet.servers[daemon]
        with under_load(fleet, seed=52, pause_s=BRISK_S) as load:
            for visit in range(VISITS):
                with second(deployment, daemon) as visitor:
                    until(
                        partial(has_counted, visitor, work, more_than=0),
                        seconds=PATIENCE_S,
                        what="the second one works",
                    )
                    load.wait_for_orders(50, seconds=PATIENCE_S)
                    if visit % 2:
                        visitor.kill()
                    else:
                        assert visitor.stop() == 0
                so_far = counted(first, work)
                until(
                    partial(has_counted, first, work, more_than=so_far),
                    seconds=PATIENCE_S,
                    what="the first one goes on",
                )
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() == {0}


@followers
def test_a_member_is_frozen_and_comes_back(
    deployment: Deployment, record_property: Record, daemon: str, work: str
) -> None:
    """With a batch in hand that another one has handled since: what it does then is late, and does no harm."""
    with (
        Fleet(deployment.data_dir, deployment.settings) as fleet,
        second(deployment, daemon) as other,
        opened(deployment.data_dir, deployment.config) as tiers,
    ):
        first = fleet.servers[daemon]
        with under_load(fleet, seed=53, pause_s=BRISK_S) as load:
            until(partial(has_counted, other, work, more_than=0), seconds=PATIENCE_S, what="the second one works")
            for _ in range(FREEZES):
                load.wait_for_orders(50, seconds=PATIENCE_S)
                with frozen(first):
                    ends = [end for _, end in tiers.log.ends(CHANGES)]
                    until(partial(has_read, tiers, daemon, ends), seconds=PATIENCE_S, what="all groups are taken over")
                so_far = counted(first, work)
                until(
                    partial(has_counted, first, work, more_than=so_far),
                    seconds=PATIENCE_S,
                    what="it is given groups again",
                )
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() | {other.stop()} == {0}


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Meanwhile the process stands still, wherever it was."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def has_read(tiers: Tiers, group: str, ends: list[int]) -> bool:
    """Whether the group has committed everything before these ends."""
    return all((at or 0) >= end for at, end in zip(tiers.log.committed(group, CHANGES), ends, strict=True))


def has_counted(server: Server, name: str, *, more_than: float) -> bool:
    """Whether a process has done more than that."""
    return counted(server, name) > more_than


def has_published(tiers: Tiers, *, more_than: int) -> bool:
    """Whether orders.changes has got more messages than that."""
    return published(tiers) > more_than
