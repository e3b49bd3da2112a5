"""The walk on the embedded tiers, from the command that a user types."""

from pathlib import Path

from orderctl.config import Config
from tests.acceptance.server import Server
from tests.acceptance.walk import walk


def test_orders_walk_from_creation_to_the_archive(tmp_path: Path) -> None:
    """Created, changed, archived and asked for again, in a temporary directory."""
    walk(Server(tmp_path / "data"), Config())
