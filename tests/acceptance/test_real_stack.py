"""The walk, and SIGKILL of each daemon under load, on real servers: MariaDB, Redis Cluster, Kafka and Cassandra."""

from __future__ import annotations

import pytest

from tests.acceptance.deployment import Deployment
from tests.acceptance.fleet import Fleet
from tests.acceptance.quiet import Record, hold_to_account
from tests.acceptance.server import Server
from tests.acceptance.test_flow_sigkill import kill_each
from tests.acceptance.walk import walk
from tests.stack import needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

KILLS_OF_EACH = 3


def test_orders_walk_from_creation_to_the_archive(deployment: Deployment) -> None:
    """The same as on the embedded tiers."""
    walk(Server(deployment.data_dir, settings=deployment.settings), deployment.config)


@pytest.mark.timeout(400)
def test_each_daemon_killed_by_itself(deployment: Deployment, record_property: Record) -> None:
    """Three times each, every daemon a process of its own; afterwards every tier agrees with every other."""
    with Fleet(deployment.data_dir, deployment.settings) as fleet:
        ledger = kill_each(fleet, KILLS_OF_EACH, seed=3)
        hold_to_account(deployment.data_dir, ledger, fleet, record_property, deployment.config)
        assert fleet.stop() == {0}
