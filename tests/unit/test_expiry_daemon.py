"""The expiry daemon, step by step over tiers in memory: what it goes on doing while something is away, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.daemons.base import Context
from orderctl.daemons.expiry import ROUNDS_MAX, WAIT_S, ExpiryDaemon
from orderctl.errors import TierUnavailable
from orderctl.stores.expirations import Expiration, Gone
from orderctl.stores.log import EXPIRED
from orderctl.stores.tiers import Tiers, open_tiers
from tests.contract.cache_harness import an_order, put
from tests.services.tiers import away
from tests.unit.daemon_kit import context_of
from tests.unit.flow_kit import manifest, with_failing


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tiers(clock: ManualClock) -> Iterator[Tiers]:
    tiers = open_tiers(Config(), None, clock)
    yield tiers
    tiers.close()


@pytest.fixture
def context(tiers: Tiers, clock: ManualClock) -> Context:
    return context_of(tiers, clock)


def expiry(context: Context) -> ExpiryDaemon:
    return ExpiryDaemon(manifest("expiry"), context)


def due(tiers: Tiers, clock: ManualClock, number: int) -> None:
    """Orders whose deadlines have come."""
    orders = [structs.replace(an_order(), deadline_at=clock.now_us() - 1) for _ in range(number)]
    tiers.cache.apply([put(order) for order in orders])


def published(tiers: Tiers) -> int:
    return sum(end for _, end in tiers.log.ends(EXPIRED))


class Chatter:
    """A cache of which something goes whenever it is asked, and of which a part is deaf."""

    def __init__(self) -> None:
        self.polls: list[float] = []

    def poll(self, wait_s: float) -> list[Expiration]:
        self.polls.append(wait_s)
        return [Expiration(an_order().order_id, Gone.TIMER)]

    def deaf(self) -> list[str]:
        return ["node 1: away"]

    def close(self) -> None:
        pass


def test_a_step_carries_what_went_to_the_log(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """It waits a moment for the first, and asks for the next step at once."""
    daemon = expiry(context)
    before_us = clock.now_us()
    assert daemon.step() == 0
    assert clock.now_us() - before_us == WAIT_S * 1_000_000
    due(tiers, clock, 5)
    before_us = clock.now_us()
    assert daemon.step() == 0
    assert clock.now_us() == before_us
    assert published(tiers) == 5


def test_it_listens_on_while_the_log_is_away(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """Events that nobody takes are lost in time; those that it took are published when the log is back."""
    failing_context, failing = with_failing(context, "log")
    daemon = expiry(failing_context)
    failing["log"].error = away("log")
    for _ in range(3):
        due(tiers, clock, 2)
        with pytest.raises(TierUnavailable, match="log"):
            daemon.step()
    failing["log"].error = None
    daemon.step()
    assert published(tiers) == 6


def test_it_publishes_what_it_has_while_the_cache_is_away(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """Both may fail, one after the other, and nothing that was heard is lost."""
    failing_context, failing = with_failing(context, "log", "expirations")
    daemon = expiry(failing_context)
    due(tiers, clock, 2)
    failing["log"].error = away("log")
    with pytest.raises(TierUnavailable, match="log"):
        daemon.step()
    failing["log"].error, failing["expirations"].error = None, away("cache")
    with pytest.raises(TierUnavailable, match="cache"):
        daemon.step()
    assert published(tiers) == 2


def test_a_drain_publishes_what_is_left(context: Context, tiers: Tiers, clock: ManualClock) -> None:
    """What the log did not take before."""
    failing_context, failing = with_failing(context, "log")
    daemon = expiry(failing_context)
    due(tiers, clock, 2)
    failing["log"].error = away("log")
    with pytest.raises(TierUnavailable):
        daemon.step()
    failing["log"].error = None
    daemon.drain()
    assert published(tiers) == 2


def test_a_step_ends_however_much_goes(context: Context, tiers: Tiers) -> None:
    """It publishes now and then, also in a storm."""
    chatter: Any = Chatter()
    daemon = expiry(structs.replace(context, tiers=structs.replace(tiers, expirations=chatter)))
    daemon.step()
    assert len(chatter.polls) == published(tiers) == ROUNDS_MAX + 1
    assert chatter.polls[0] == WAIT_S
    assert set(chatter.polls[1:]) == {0}


def test_deafness_is_a_reason_not_to_be_ready(context: Context, tiers: Tiers) -> None:
    """Of a part of the cache no event comes: the sweep alone finds those orders."""
    chatter: Any = Chatter()
    assert expiry(context).not_ready() == []
    daemon = expiry(structs.replace(context, tiers=structs.replace(tiers, expirations=chatter)))
    assert daemon.not_ready() == ["node 1: away"]
