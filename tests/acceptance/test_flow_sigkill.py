"""SIGKILL of everything, and of each daemon by itself, under load: afterwards every tier agrees with every other."""

import random
from pathlib import Path

import pytest

from tests.acceptance.fleet import DAEMONS, Fleet
from tests.acceptance.ledger import Ledger
from tests.acceptance.quiet import ENOUGH, Record, hold_to_account
from tests.acceptance.server import PATIENCE_S, TICK, Server, until

pytestmark = pytest.mark.minutes
KILLS_OF_ALL = 30
KILLS_OF_EACH = 10


@pytest.mark.timeout(400)
def test_all_daemons_killed_at_once(tmp_path: Path, record_property: Record) -> None:
    """Thirty times the whole process, at random moments."""
    rng = random.Random(30)
    with Server(tmp_path / "data") as server:
        with Ledger(server, clients=4, seed=30) as ledger:
            for _ in range(KILLS_OF_ALL):
                TICK.wait(rng.uniform(0.0, 0.7))
                server.kill()
                server.start()
            until_enough(ledger)
        hold_to_account(tmp_path / "data", ledger, server, record_property)
        assert server.stop() == 0


def until_enough(ledger: Ledger) -> None:
    """However little the daemons came to do between the kills, there is to be something to hold them to."""
    until(lambda: ledger.acknowledged > 10 * ENOUGH, seconds=PATIENCE_S, what="enough is under way")


def kill_each(fleet: Fleet, times: int, seed: int) -> Ledger:
    """Kill every daemon that many times under load, in random order; the next kill does not wait for repair."""
    rng = random.Random(seed)
    victims = [name for name in DAEMONS for _ in range(times)]
    rng.shuffle(victims)
    with Ledger(fleet, clients=3, seed=seed) as ledger:
        for name in victims:
            TICK.wait(rng.uniform(0.1, 0.5))
            victim = fleet.servers[name]
            victim.wait_ready()
            victim.kill()
            victim.spawn()
        for server in fleet.servers.values():
            server.wait_ready()
        until_enough(ledger)
    return ledger


@pytest.mark.timeout(400)
def test_each_daemon_killed_by_itself(tmp_path: Path, record_property: Record) -> None:
    """Ten times each, every daemon a process of its own."""
    with Fleet(tmp_path / "data") as fleet:
        ledger = kill_each(fleet, KILLS_OF_EACH, seed=10)
        hold_to_account(tmp_path / "data", ledger, fleet, record_property)
        assert fleet.stop() == {0}
