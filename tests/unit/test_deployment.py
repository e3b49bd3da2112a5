"""What a daemon agrees on with its deployment: the servers that give versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.daemons.command import CommandDaemon
from orderctl.daemons.deployment import Agreement
from orderctl.daemons.manifest import select
from orderctl.errors import TierUnavailable
from orderctl.stores.registry import Deployment
from orderctl.stores.shards import HotShard
from orderctl.stores.tiers import Tiers, open_tiers
from tests.unit.daemon_kit import context_of


@pytest.fixture
def tiers() -> Iterator[Tiers]:
    opened = open_tiers(Config(), None, ManualClock())
    yield opened
    opened.close()


class Elsewhere:
    """A registry on a server that is not, or is, the epoch's; or that does not answer (None)."""

    def __init__(self, tiers: Tiers, epoch_server: str | None = "db1") -> None:
        self._tiers = tiers
        self.epoch_server = epoch_server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tiers.registry, name)

    def deployment(self) -> Deployment:
        if self.epoch_server is None:
            raise TierUnavailable("hot")
        found = self._tiers.registry.deployment()
        return structs.replace(found, server="db2", epoch_server=self.epoch_server)


def shard(tiers: Tiers, name: str, registry: Any) -> HotShard:
    """A shard that answers by `registry`."""
    return structs.replace(tiers.shards[0], name=name, registry=registry)


def test_a_command_server_is_not_ready_until_its_shard_is_promoted(tiers: Tiers) -> None:
    """It says why, and goes on by itself afterwards."""
    elsewhere = Elsewhere(tiers)
    moved = structs.replace(tiers, registry=elsewhere, shards=(shard(tiers, "main", elsewhere),))
    (manifest,) = select(["command"])
    daemon = CommandDaemon(manifest, context_of(moved, ManualClock()))
    daemon.step()
    (why,) = daemon.not_ready()
    assert "main is on the server db2, and its epoch was raised on db1" in why
    elsewhere.epoch_server = "db2"
    daemon.step()
    assert daemon.not_ready() == []
    daemon.drain()


def test_one_shard_of_two_takes_no_server_away_from_the_other(tiers: Tiers) -> None:
    """Its own orders are refused by the store; the log says so once, and once that it is over."""
    second = Elsewhere(tiers)
    shards = (*tiers.shards, shard(tiers, "second", second))
    agreement = Agreement(tiers.registry, ManualClock(), groups=64, shards=shards)
    with capture_logs() as logs:
        for _ in range(2):
            agreement.check()
        assert (list(agreement.not_promoted), agreement.refusals()) == (["second"], [])
        second.epoch_server = "db2"
        agreement.check()
    assert agreement.not_promoted == {}
    assert [(line["log_level"], line["shard"]) for line in logs] == [("error", "second"), ("info", "second")]


def test_a_shard_that_is_away_is_not_said_to_be_unpromoted(tiers: Tiers) -> None:
    """Nothing is known of it, and the other goes on."""
    shards = (*tiers.shards, shard(tiers, "second", Elsewhere(tiers, None)))
    agreement = Agreement(tiers.registry, ManualClock(), groups=64, shards=shards)
    assert agreement.check().groups == 64
    assert agreement.not_promoted == {}
