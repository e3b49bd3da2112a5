"""SIGKILL at random moments under load: whatever was acknowledged is there, and nothing contradicts it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.ledger import Ledger
from tests.acceptance.server import PATIENCE_S, TICK, Server, until

KILLS = 20
SEED = 20


@pytest.mark.timeout(300)
def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Twenty kills, some while it starts; then every order is held against all that was ever said of it."""
    rng = random.Random(SEED)
    server = Server(tmp_path / "data")
    with server:
        with Ledger(server, clients=4, seed=SEED) as ledger:
            for _ in range(KILLS):
                TICK.wait(rng.uniform(0.0, 0.6))
                server.kill()
                if rng.random() < 0.25:
                    server.spawn()
                    TICK.wait(rng.uniform(0.0, 0.8))
                    server.kill()
                server.start()
            until(lambda: ledger.acknowledged > 10 * KILLS, seconds=PATIENCE_S, what="enough is under way")
        orders = ledger.check(server)
        assert server.stop() == 0
    record_property("operations", ledger.operations)
    record_property("unknown outcomes", ledger.unknown)
    record_property("orders", orders)
    assert orders > KILLS
    assert sum(len(line.acknowledged) for line in ledger.lines) > KILLS
    with server:
        assert ledger.check(server) == orders
