"""Who is there: daemons by their heartbeats, servers by their addresses, tiers by asking them."""

from __future__ import annotations

import threading

import pytest
from msgspec import structs

from orderctl.admin.servers import FRESH_S, Servers, find_servers
from orderctl.admin.status import (
    DaemonStatus,
    Heard,
    Status,
    TierStatus,
    daemon_statuses,
    nothing_started,
    status,
    tier_statuses,
)
from orderctl.clock import US_PER_S, ManualClock
from orderctl.config import Config, load
from orderctl.errors import TierUnavailable
from orderctl.order import Status as OrderStatus
from orderctl.services.lag import Lag
from orderctl.stores.registry import Heartbeat
from orderctl.stores.tiers import EMBEDDED_KINDS, Tiers
from tests.admin.one_order import OneOrder
from tests.services.tiers import Failing

NOW_US = 1_000 * US_PER_S
HELD_UP_S = 60
GROUPS = {"command": None, "query": None, "cdc": "cdc", "cache-sync": "cache-sync", "archiver": "archiver"}


def beat(
    daemon: str, *, age_s: float = 0, state: str = "running", port: int = 1, error: str | None = None
) -> Heartbeat:
    """What was heard of a daemon some time before NOW_US."""
    address = f"http://127.0.0.1:{port}"
    return Heartbeat(f"{daemon}@{port}", daemon, state, address, error, NOW_US - int(age_s * US_PER_S))


@pytest.mark.parametrize(
    ("heartbeats", "state"),
    [
        ([], "stopped"),
        ([beat("query")], "stopped"),
        ([beat("command")], "running"),
        ([beat("command", state="starting")], "running"),
        ([beat("command", state="draining")], "running"),
        ([beat("command", state="stopped")], "stopped"),
        ([beat("command", age_s=FRESH_S)], "running"),
        ([beat("command", age_s=FRESH_S + 1)], "stopped"),
        ([beat("command", age_s=60), beat("command", port=2)], "running"),
        ([beat("command"), beat("command", port=2, state="failing")], "failing"),
        ([beat("command"), beat("command", port=2, state="failing", age_s=60)], "running"),
    ],
)
def test_a_daemon_is_what_was_heard_of_it_lately(heartbeats: list[Heartbeat], state: str) -> None:
    """One of several that fails makes it failing; one that was not heard of for long is not there."""
    assert [one.state for one in daemon_statuses(["command"], Heard(heartbeats, NOW_US))] == [state]


def test_nothing_is_known_of_daemons_that_cannot_be_heard() -> None:
    """But how far they are behind, where that can be told without them."""
    found = daemon_statuses(["command", "cdc"], TierUnavailable("hot"), {"cdc": Lag(3, 1.5)})
    assert found == [DaemonStatus("command", "unknown"), DaemonStatus("cdc", "unknown", 3, 1.5)]


def test_the_last_error_is_that_of_the_one_that_fails() -> None:
    """What an operator wants to read is not hidden by an instance that is well."""
    heartbeats = [beat("command", port=2, state="failing", error="hot: away", age_s=1), beat("command")]
    assert daemon_statuses(["command"], Heard(heartbeats, NOW_US))[0].last_error == "hot: away"


def test_a_tier_that_answers_is_up(clock: ManualClock) -> None:
    """And how long it took is told in milliseconds."""
    found = tier_statuses({"hot": lambda: clock.advance(0.0125)}, clock)
    assert found == [TierStatus("hot", "sqlite", "up", 12.5)]


def test_a_tier_that_fails_or_hangs_is_down(clock: ManualClock) -> None:
    """Without a latency: it did not answer. The others are not kept waiting."""
    let_go, done = threading.Event(), threading.Event()

    def fail() -> None:
        raise TierUnavailable("hot")

    def hang() -> None:
        assert let_go.wait(HELD_UP_S)
        done.set()

    found = tier_statuses({"hot": fail, "cache": hang, "log": lambda: None}, clock, limit_s=0.2)
    let_go.set()
    assert done.wait(HELD_UP_S)
    assert found == [
        TierStatus("hot", "sqlite", "down"),
        TierStatus("cache", "sqlite", "down"),
        TierStatus("log", "sqlite", "up", 0.0),
    ]


@pytest.mark.parametrize(
    ("daemons", "tiers", "is_good"),
    [
        (["running", "stopped"], ["up", "up"], True),
        (["stopped", "stopped"], ["up", "up"], False),
        (["failing", "unknown"], ["up", "up"], False),
        (["running", "running"], ["up", "down"], False),
    ],
)
def test_what_is_good(daemons: list[str], tiers: list[str], *, is_good: bool) -> None:
    """Every tier answers, and a daemon runs."""
    found = Status(
        [DaemonStatus("x", state) for state in daemons],  # type: ignore[arg-type]
        [TierStatus("y", "sqlite", state) for state in tiers],  # type: ignore[arg-type]
    )
    assert found.is_good is is_good


def test_the_embedded_deployment(tiers: Tiers, clock: ManualClock) -> None:
    """Its tiers are asked, and its daemons looked up; those that follow something are as far behind as they are."""
    tiers.registry.beat([Heartbeat("c@1", "command", "running", None, None)])
    one = OneOrder(tiers, clock)
    one.create()
    one.pump()
    clock.advance(2)
    one.move(OrderStatus.SUCCESS)
    clock.advance(1.5)
    found = status(GROUPS, tiers, clock)
    assert found.daemons == [
        DaemonStatus("command", "running"),
        DaemonStatus("query", "stopped"),
        DaemonStatus("cdc", "stopped", 1, 1.5),
        DaemonStatus("cache-sync", "stopped", 1, 3.5),
        DaemonStatus("archiver", "stopped", 1, 1.5),
    ]
    assert [(one.name, one.kind, one.state) for one in found.tiers] == [
        (name, "sqlite", "up") for name in EMBEDDED_KINDS
    ]
    assert found.is_good


def test_closed_tiers_are_down_and_their_daemons_unknown(tiers: Tiers, clock: ManualClock) -> None:
    """With the registry away nobody knows who is there, nor how far behind."""
    tiers.close()
    found = status(GROUPS, tiers, clock)
    assert found.daemons == [DaemonStatus(name, "unknown") for name in GROUPS]
    assert {one.state for one in found.tiers} == {"down"}


def test_a_lag_is_not_known_where_its_tier_is_away(tiers: Tiers, clock: ManualClock) -> None:
    """The others' are."""
    log = Failing(tiers.log)
    log.error = TierUnavailable("log")
    found = status(GROUPS, structs.replace(tiers, log=log), clock)
    lags = {one.name: (one.lag_events, one.lag_s) for one in found.daemons[2:]}
    assert lags == {"cdc": (None, None), "cache-sync": (None, None), "archiver": (0, 0.0)}
    assert [one.state for one in found.tiers] == ["up", "up", "down", "up"]


def test_before_anything_was_started() -> None:
    """Everything is stopped and down."""
    found = nothing_started(["command"])
    assert found.daemons == [DaemonStatus("command", "stopped")]
    assert [(one.name, one.state) for one in found.tiers] == [(name, "down") for name in EMBEDDED_KINDS]
    assert not found.is_good


def test_servers_are_found_by_their_heartbeats_newest_first() -> None:
    """Those that were heard of lately, each address once."""
    heartbeats = [beat("command", port=1, age_s=3), beat("command", port=2, age_s=1), beat("command", port=3, age_s=99)]
    found = find_servers(heartbeats, Config(), now_us=NOW_US)
    assert found.command == ("http://127.0.0.1:2", "http://127.0.0.1:1")


def test_servers_nobody_heard_of_are_where_the_configuration_says() -> None:
    """A free port is known to nobody."""
    config = load(None, {"ORDERCTL_COMMAND__BIND": "127.0.0.1:0", "ORDERCTL_QUERY__BIND": "[::1]:80"})
    assert find_servers([], config, now_us=NOW_US) == Servers((), ("http://[::1]:80",))
