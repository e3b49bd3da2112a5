"""Late results from end to end: on the embedded tiers, and on real servers."""

from __future__ import annotations

from pathlib import Path

from orderctl.config import Config
from tests.acceptance.deployment import Deployment
from tests.acceptance.late import refuse_and_keep
from tests.acceptance.server import Server
from tests.stack import needs


def test_a_late_outcome_is_kept_and_moves_to_the_archive(tmp_path: Path) -> None:
    """In one process, in a temporary directory."""
    refuse_and_keep(Server(tmp_path / "data"), Config())


@needs("sql", "redis", "kafka", "cassandra")
def test_a_late_outcome_is_kept_and_moves_to_the_archive_on_real_servers(deployment: Deployment) -> None:
    """The same on MariaDB, Redis Cluster, Kafka and Cassandra."""
    refuse_and_keep(Server(deployment.data_dir, settings=deployment.settings), deployment.config)
