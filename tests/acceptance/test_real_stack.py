"""The walk, and SIGKILL of each daemon under load, on real servers: MariaDB, Redis Cluster, Kafka and Cassandra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orderctl.config import Config, load
from tests.acceptance.fleet import Fleet
from tests.acceptance.server import Server
from tests.acceptance.test_flow_sigkill import Record, hold_to_account, kill_each
from tests.acceptance.walk import walk
from tests.stack import RunningStack, needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

KILLS_OF_EACH = 3
KEYS = {"demo": ["--merchant", "demo", "--role", "merchant"], "gateway": ["--role", "gateway"]}


class Deployment:
    """The stack, migrated, with keys where the tests' servers look for them."""

    def __init__(self, file: Path, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.settings = {"ORDERCTL_CONFIG": str(file)}
        self.config: Config = load(file, {})
        self._orderctl("migrate")
        (data_dir / "keys").mkdir(parents=True)
        for name, options in KEYS.items():
            made = json.loads(self._orderctl("key", "create", *options, "-o", "json"))
            (data_dir / "keys" / name).write_text(made["key"])

    def _orderctl(self, *arguments: str) -> bytes:
        command = [sys.executable, "-m", "orderctl", *arguments, "--config", self.settings["ORDERCTL_CONFIG"]]
        return subprocess.run(
            [*command, "--data-dir", str(self.data_dir)], check=True, stdout=subprocess.PIPE, timeout=100
        ).stdout


@pytest.fixture
def deployment(stack: RunningStack, tmp_path: Path) -> Deployment:
    """A deployment that is ready to be served."""
    return Deployment(stack.folder / "orderctl.toml", tmp_path / "data")


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
