"""Redis in bad weather, under load: it holds no truth, so nothing is lost, nobody is refused, and what is old is noticed."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles

import pytest

from orderctl.stack.probes import redis
from orderctl.stores.redis import mark_key
from orderctl.stores.redis_nodes import Access, Address
from tests.acceptance.deployment import Deployment
from tests.acceptance.fleet import Fleet
from tests.acceptance.quiet import Record, hold_to_account
from tests.acceptance.server import PATIENCE_S, until
from tests.acceptance.watching import Stopwatch, counted
from tests.acceptance.weather import Load, Weather, under_load
from tests.real.redis_servers import RedisServers, Server, redis_servers
from tests.stack import RunningStack, needs

pytestmark = [needs("sql", "redis", "kafka", "cassandra"), pytest.mark.timeout(240)]

HIT, BYPASS = "redis; hit", "redis; fwd=bypass"
PRIMARIES = ("redis-1", "redis-2", "redis-3")
SLOW_S = 2 * Access().timeout_s + 2.0
"""What nineteen of twenty requests take at most: the time-outs for connecting and for an answer, and what two busy cores add."""
FLUSHES = 3


class Storm:
    """A fleet under load, while servers of the cache fail."""

    def __init__(self, fleet: Fleet, watch: Stopwatch, load: Load) -> None:
        self.fleet = fleet
        self.load = load
        self._watch = watch

    def go_on(self, orders: int = 50) -> None:
        """Wait until so many more creates and changes are acknowledged, and look-ups answered."""
        self.load.wait_for_orders(orders, seconds=PATIENCE_S)
        self.load.wait_for_lookups(orders, seconds=PATIENCE_S)

    def share_of_hits(self, before: Counter[str]) -> float:
        """Of the look-ups since `before` that the cache was to answer, how many it did."""
        since = self.load.readers.outcomes - before
        hits = since[HIT]
        around = sum(count for outcome, count in since.items() if outcome.startswith(BYPASS))
        return hits / max(1, hits + around)

    def create(self, count: int) -> list[str]:
        """Orders beside those of the load."""
        orders = [
            {
                "merchant_ref": secrets.token_hex(8),
                "amount": 1,
                "currency": "EUR",
                "payment_method": "card",
                "timeout_s": 86_400,
            }
            for _ in range(count)
        ]
        results = self.fleet.command("POST", "/v1/orders/batch", "demo", {"orders": orders}).json["results"]
        return [result["order"]["order_id"] for result in results]

    def change(self, order_ids: list[str]) -> None:
        """Let them succeed."""
        changes = [{"order_id": order_id, "status": "success"} for order_id in order_ids]
        results = self.fleet.command("POST", "/v1/orders/changes", "gateway", {"changes": changes}).json["results"]
        assert {result["status"] for result in results} == {200}

    def groups_dropped(self) -> float:
        """How many groups were found to have gone back in time."""
        return counted(self.fleet.servers["cache-sync"], "cache_groups_dropped_total")

    def has_dropped(self, groups: float) -> bool:
        """Whether they are that many by now."""
        return self.groups_dropped() >= groups

    def outcomes(self) -> Counter[str]:
        """How look-ups ended so far."""
        return Counter(dict(self.load.readers.outcomes))

    def check_that_nobody_was_refused(self, record_property: Record) -> None:
        """Creates, changes and look-ups went on, hardly any for longer than the time-outs: the machine is busy, too."""
        record_property("slowest request, s", round(max(self._watch.took_s), 2))
        record_property("look-ups", dict(self.load.readers.outcomes))
        assert self.load.ledger.refused == 0
        assert self.load.ledger.unknown == 0
        assert self.load.readers.outcomes["503"] == 0
        assert quantiles(self._watch.took_s, n=20)[-1] < SLOW_S


@contextmanager
def storm_over(deployment: Deployment, record_property: Record, *, seed: int) -> Iterator[Storm]:
    """All daemons under load for as long as the block lasts; afterwards every tier agrees with every other."""
    with Fleet(deployment.data_dir, deployment.settings) as fleet:
        watch = Stopwatch(fleet)
        with under_load(watch, seed=seed) as load:
            storm = Storm(fleet, watch, load)
            storm.go_on()
            yield storm
            storm.go_on(100)  # so that there are new records to be compared
        storm.check_that_nobody_was_refused(record_property)
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() == {0}


def test_a_primary_is_killed_and_comes_back_empty(
    deployment: Deployment, weather: Weather, record_property: Record
) -> None:
    """Orders of the other two are answered from the cache all the while, its own from the databases."""
    with storm_over(deployment, record_property, seed=41) as storm:
        weather.kill("redis-2")
        before = storm.outcomes()
        storm.go_on(100)
        assert 0.4 < storm.share_of_hits(before) < 1
        wanted = storm.groups_dropped() + deployment.config.deployment.groups // len(PRIMARIES)
        weather.clear()
        until(partial(storm.has_dropped, wanted), seconds=PATIENCE_S, what="its groups begin anew")


def test_a_primary_hangs(deployment: Deployment, weather: Weather, record_property: Record) -> None:
    """A server that takes requests and answers none costs a time-out once, and a moment now and then."""
    with storm_over(deployment, record_property, seed=42) as storm:
        weather.freeze("redis-2")
        before = storm.outcomes()
        storm.go_on(100)
        assert 0.4 < storm.share_of_hits(before) < 1
        weather.thaw()


def test_the_whole_cache_is_gone(deployment: Deployment, weather: Weather, record_property: Record) -> None:
    """Creates and changes go on, and look-ups are answered by MySQL and Cassandra."""
    with storm_over(deployment, record_property, seed=43) as storm:
        for name in PRIMARIES:
            weather.kill(name)
        for database in ("mysql", "cassandra"):
            storm.load.wait_for_lookups(20, outcome=f"{BYPASS}; detail={database}", seconds=PATIENCE_S)
        storm.go_on()
        weather.clear()
        storm.load.wait_for_lookups(20, outcome=HIT, seconds=PATIENCE_S)


def test_flushall_under_load(deployment: Deployment, stack: RunningStack, record_property: Record) -> None:
    """Every key vanishes, several times; the marks too, so the groups begin anew."""
    nodes = [Address.parse(node) for node in stack.config.redis.nodes]
    with storm_over(deployment, record_property, seed=44) as storm:
        for _ in range(FLUSHES):
            wanted = storm.groups_dropped() + deployment.config.deployment.groups
            for node in nodes:
                redis((node.host, node.port), "FLUSHALL")
            storm.go_on(30)
            until(partial(storm.has_dropped, wanted), seconds=PATIENCE_S, what="all groups begin anew")


def test_a_replica_takes_over_that_lacks_the_last_seconds(
    stack: RunningStack, tmp_path: Path, record_property: Record
) -> None:
    """What it brings back is old, and so are its marks: its groups are dropped before anything else is applied to them."""
    with redis_servers(tmp_path / "redis") as servers:
        primary, replica = servers.servers[0], _replica_of(servers, servers.servers[0])
        deployment = Deployment(_on_cluster(stack, servers, tmp_path), tmp_path / "data")
        groups = [group for group in range(deployment.config.deployment.groups) if servers.owner(group) is primary]
        assert groups
        with storm_over(deployment, record_property, seed=45) as storm:
            until(
                lambda: _marks(replica, groups) == _marks(primary, groups),
                seconds=PATIENCE_S,
                what="the replica follows",
            )
            order_ids = storm.create(60)
            until(
                lambda: _marks(replica, groups) == _marks(primary, groups),
                seconds=PATIENCE_S,
                what="the replica has them",
            )
            _cut_off(replica, primary)
            storm.change(order_ids)
            storm.go_on(200)
            marks = zip(_marks(replica, groups), _marks(primary, groups), strict=True)
            lacking = sum(old < new for old, new in marks)
            assert lacking > len(groups) / 2
            wanted = storm.groups_dropped() + lacking
            primary.kill()
            replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
            until(partial(storm.has_dropped, wanted), seconds=PATIENCE_S, what="what went back is dropped")
            record_property("groups that went back", lacking)


def _on_cluster(stack: RunningStack, servers: RedisServers, folder: Path) -> Path:
    """The stack's configuration with another cache."""
    text = (stack.folder / "orderctl.toml").read_text()
    nodes = ", ".join(f'"{address}"' for address in servers.addresses)
    changed, count = re.subn(r"(\[redis\]\nnodes = )\[.*?\]", rf"\1[{nodes}]", text)
    assert count == 1
    file = folder / "orderctl.toml"
    file.write_text(changed)
    return file


def _replica_of(servers: RedisServers, primary: Server) -> Server:
    replica = servers.add_server()
    servers.meet()
    replica.ask("CLUSTER", "REPLICATE", primary.node_id)
    until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"), seconds=PATIENCE_S, what="a replica")
    replica.ask("READONLY")  # so that it tells what it holds
    return replica


def _cut_off(replica: Server, primary: Server) -> None:
    """From now on it hears nothing: the primary refuses to know it."""
    replica.ask("CONFIG", "SET", "masterauth", "wrong")
    replica.ask("CONFIG", "SET", "masteruser", "nobody")
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    until(lambda: b"master_link_status:down" in replica.ask("INFO", "replication"), seconds=PATIENCE_S, what="cut off")


def _marks(server: Server, groups: list[int]) -> list[int]:
    """How far the log was applied to each group, as far as this server knows."""
    return [int(server.ask("GET", mark_key(group)) or -1) for group in groups]
