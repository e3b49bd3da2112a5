"""`reconcile` over MySQL, Redis Cluster, Kafka and Cassandra: every damage is found among orders that are as they should be."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orderctl.admin.inspection import InspectSettings, inspect
from orderctl.admin.reconcile import Reconcile, Reconciliation
from orderctl.admin.verdict import Finding
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.services.reconciling import ReconcileSettings
from orderctl.services.reconciling_archive import ArchiveTally
from orderctl.services.reconciling_scope import Place, Scope
from orderctl.stack.configuration import FILE
from orderctl.stores.servers import migrate_servers
from orderctl.stores.tiers import Tiers, open_tiers
from tests.acceptance.server import until
from tests.admin.many_orders import Damage, ManyOrders
from tests.cli.terminal import Terminal
from tests.stack import RunningStack, needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

MANY = 1_000
NAMED_WITHIN_S = 20.0
LAG_S = 0.3
AWAY_WITHIN_S = 30.0


@pytest.fixture
def config(stack: RunningStack) -> Config:
    """The stack's, with its schemas and topics made."""
    migrate_servers(stack.config, SystemClock(), dry_run=False)
    return stack.config


@pytest.fixture
def tiers(config: Config) -> Iterator[Tiers]:
    """The stores of one process."""
    opened = open_tiers(config, None, SystemClock())
    yield opened
    opened.close()


def reconciled(tiers: Tiers, config: Config, scope: Scope, *, execute: bool = False) -> Reconciliation:
    """What a run finds. It allows the archiver no time at all, so that nobody has to wait for what it leaves in both."""
    settings = ReconcileSettings(
        groups=config.deployment.groups, record_ttl_ms=config.cache.record_ttl.ms, lag_s=LAG_S, execute=execute
    )
    run = Reconcile(tiers, SystemClock(), settings, settle_s=-5.0)
    found = run.run(scope, Place(), archive=not execute, audit=None)
    assert not run.errors
    return found


def test_all_damages_are_found_and_mended(
    tiers: Tiers, config: Config, record_property: Callable[[str, object], None], pytestconfig: pytest.Config
) -> None:
    """And nothing else is. Of orders that were made since the test began: others may be using the same servers."""
    scope = Scope(since_ms=time.time_ns() // 1_000_000)
    many = ManyOrders(tiers, SystemClock(), merchant=f"reconciled-{os.urandom(4).hex()}", seed=os.urandom(8))
    damage = Damage(many.fill_up(pytestconfig.getoption("orders") or MANY)).do()
    mine = {order.order_id for order in many.made}
    found = reconciled(tiers, config, scope)
    seen = {one.order_id: (one.source, one.repair) for one in found.differences if one.order_id in mine}
    assert seen == damage.differences
    assert isinstance(found.archive, ArchiveTally)
    faults = {one.order_id: str(one.why) for one in found.archive.differences if one.order_id in mine}
    assert faults == damage.faults
    assert found.unknown == 0
    record_property("reconciled", {"orders": found.compared, "seconds": found.seconds})
    until(lambda: are_named(tiers, config, damage), seconds=NAMED_WITHIN_S, what="`inspect` names each")

    mended = reconciled(tiers, config, scope, execute=True)
    assert mended.repaired >= sum(repair is not None for _, repair in damage.differences.values())
    left = {one.order_id for one in reconciled(tiers, config, scope).differences} & mine
    assert left == {one for one, (_, repair) in damage.differences.items() if repair is None}


def are_named(tiers: Tiers, config: Config, damage: Damage) -> bool:
    """Whether `inspect` says of each damaged order that it is not as it should be, but of those that no tier knows any more."""
    known = {one for one, why in damage.faults.items() if why != "in_neither"} | set(damage.differences)
    settings = InspectSettings(groups=config.deployment.groups)
    return {inspect(tiers, SystemClock(), one, settings)[1] for one in known} == {Finding.DIFFERENT}


@pytest.mark.parametrize("tier", ["hot", "cache", "archive"])
def test_a_tier_that_is_away_is_exit_4_in_time(
    tiers: Tiers, config: Config, stack: RunningStack, tmp_path: Path, tier: str
) -> None:
    """Reconcile tells what it does not know, inspect shows what the others have; neither calls anything different."""
    many = ManyOrders(tiers, SystemClock(), merchant=f"away-{os.urandom(4).hex()}", seed=os.urandom(8)).fill_up(20)
    order = many.archived_cached[0]
    port = {
        "hot": f"port = {config.mysql.shards[0].port}",
        "cache": config.redis.nodes,
        "archive": f"port = {config.cassandra.port}",
    }[tier]
    text = (stack.folder / FILE).read_text()
    for one in [port] if isinstance(port, str) else port:
        assert one in text
        text = text.replace(one, "port = 1" if isinstance(port, str) else "127.0.0.1:1")
    (tmp_path / "away.toml").write_text(text)
    terminal, began_s = Terminal(tmp_path), time.monotonic()
    done = terminal.run("reconcile", "--since", "1m", "--lag", "100ms", "--config", "away.toml", "-o", "json")
    assert time.monotonic() - began_s < AWAY_WITHIN_S
    assert done.returncode == 4, done.stderr
    assert f"orderctl: {tier}: " in done.stderr
    found = json.loads(done.stdout)
    assert found["unknown"] > 0
    assert not {one["order_id"] for one in found["differences"]} & {one.order_id for one in many.made}
    seen = terminal.run("inspect", order.order_id, "--config", "away.toml", "-o", "json")
    assert seen.returncode == 4, seen.stderr
    shown = json.loads(seen.stdout)["tiers"]
    assert [name for name in ("hot", "cache", "archive") if "error" in shown[name]] == [tier]
