"""Two MySQL shards on real servers: the walk, and one of them going on from a copy that lags behind the archive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orderctl import event
from orderctl.event import Op
from orderctl.ids import group_of
from orderctl.order import Order
from orderctl.stack.layout import Wish
from orderctl.stores.log import CHANGES
from orderctl.stores.record import record_of
from orderctl.stores.tiers import Tiers
from orderctl.version import EPOCH_SHIFT
from tests.acceptance.quiet import Record, messages_of, opened, wait_until_quiet
from tests.acceptance.server import Answer, Server, until
from tests.acceptance.two_shards import GROUPS, SHARDS, TwoShards, body_of, shard_of
from tests.acceptance.walk import walk
from tests.real.test_mysql_epochs import dump, restore
from tests.stack import RunningStack, SharedStack, needs

pytestmark = [needs("sql", "cassandra"), pytest.mark.timeout(300)]

PORT_OFFSETS = (250, 1250, 2250, 2750)
ARCHIVED_S = 60.0
EACH = 12
"""So many orders of each kind."""


@pytest.fixture(scope="module")
def log_and_cache() -> Iterator[RunningStack]:
    """A Kafka and a Redis Cluster of this module's."""
    shared = SharedStack(None, PORT_OFFSETS)
    shared.begin(Wish(parts=("redis", "kafka")))
    try:
        yield shared.get()
    finally:
        shared.end()


@pytest.fixture(scope="module")
def two(
    stack: RunningStack, log_and_cache: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoShards]:
    """Two shards, migrated, with keys. The tests are one history: orders of the first are there in the second."""
    shards = TwoShards(stack.config, log_and_cache.config, tmp_path_factory.mktemp("two"))
    yield shards
    shards.drop()


def test_orders_of_both_shards_walk_to_the_archive(two: TwoShards) -> None:
    """The same walk as on one, and each order was in its own shard's database."""
    walk(Server(two.deployment.data_dir, settings=two.deployment.settings), two.config)
    with opened(two.deployment.data_dir, two.config) as tiers:
        firsts = {
            (source.source.shard, group_of(source.order.order_id, GROUPS) in SHARDS[source.source.shard])
            for source in (event.decode(message.value) for message in messages_of(tiers, CHANGES))
        }
        assert firsts == {("west", True), ("east", True)}


def test_a_shard_goes_on_from_a_lagging_copy(two: TwoShards, record_property: Record) -> None:
    """What had been archived stands, everything else goes on, and no version of an order ever says two things.

    A dump of a shard is taken while its orders are open. Then some end, are archived and leave; others move on, which the copy
    will not know of. The copy takes the shard's place, under servers that run, and is promoted.
    """
    data_dir, settings = two.deployment.data_dir, two.deployment.settings
    prefix = os.urandom(4).hex()
    refs = list(islice((ref for ref in (f"{prefix}-{n}" for n in count()) if shard_of(ref) == "east"), 3 * EACH))
    with Server(data_dir, settings=settings) as server:
        ids = created(server, refs)
        archived, moving, idle = ids[:EACH], ids[EACH : 2 * EACH], ids[2 * EACH :]
        copy = dump(two.databases["east"].server)
        changed(server, archived, "success")
        changed(server, moving, "processing")
        with opened(data_dir, two.config) as tiers:
            until(lambda: not any(tiers.hot.load(archived)), seconds=ARCHIVED_S, what="archived")
            wait_until_quiet(tiers, seconds=ARCHIVED_S)
        before = looked_up(server, ids)
        assert server.stop() == 0
    restore(two.replace("east").server, copy)
    with Server(data_dir, settings=settings) as server:
        assert_only_west_is_written(server, prefix, moving[0])
        plan = orderctl(two, "shard", "promote", "east")
        assert (plan["epoch_from"], plan["epoch_to"], plan["open_orders"]) == (0, 1, 3 * EACH)
        assert [shard["state"] for shard in orderctl(two, "shard", "list")] == ["current", "not_promoted"]
        done = orderctl(two, "shard", "promote", "east", "--execute", "--yes", "--reason", "the server burnt")
        assert (done["touched"], done["discarded"]) == (2 * EACH, EACH)
        assert [shard["state"] for shard in orderctl(two, "shard", "list")] == ["current", "current"]
        after = looked_up(server, ids)
        assert [after[order_id] for order_id in archived] == [before[order_id] for order_id in archived]
        for order_id in moving + idle:
            assert (after[order_id]["status"], after[order_id]["version"]) == ("pending", 1 << EPOCH_SHIFT)
        refused = server.command("PATCH", f"/v1/orders/{archived[0]}", "gateway", {"status": "failed"})
        assert (refused.status, refused.json["current_status"]) == (409, "success")
        changed(server, moving + idle, "failed")
        with opened(data_dir, two.config) as tiers:
            until(lambda: not any(tiers.hot.load(ids)), seconds=ARCHIVED_S, what="all archived")
            wait_until_quiet(tiers, seconds=ARCHIVED_S)
            finals = {order.order_id: order for order in tiers.archive.load(ids) if order}
            assert [finals[order_id].status for order_id in ids] == ["success"] * EACH + ["failed"] * 2 * EACH
            for order_id in ids:
                assert finals[order_id].version >= after[order_id]["version"] >= before[order_id]["version"]
            assert_one_content_a_version(tiers, ids, record_property)
            for entry, order_id in zip(tiers.cache.get(ids), ids, strict=True):
                assert entry is None or entry.body == record_of(finals[order_id]).body
        assert server.stop() == 0


def created(server: Server, refs: list[str]) -> list[str]:
    """Orders under these references."""
    answer = server.command("POST", "/v1/orders/batch", "demo", {"orders": [body_of(ref) for ref in refs]})
    return [result["order"]["order_id"] for result in answer.json["results"]]


def changed(server: Server, order_ids: list[str], status: str) -> None:
    """All of them move on."""
    changes = [{"order_id": order_id, "status": status} for order_id in order_ids]
    answer = server.command("POST", "/v1/orders/changes", "gateway", {"changes": changes})
    assert {result["status"] for result in answer.json["results"]} == {200}, answer.body


def looked_up(server: Server, order_ids: list[str]) -> dict[str, Any]:
    """Each order as a reader sees it, once nobody is told to come again."""
    found: dict[str, Any] = {}

    def is_all_there() -> bool:
        answer = server.query("POST", "/v1/orders/lookup", "gateway", {"order_ids": order_ids})
        found.update({r["order"]["order_id"]: r["order"] for r in answer.json["results"] if "order" in r})
        return len(found) == len(order_ids)

    until(is_all_there, seconds=ARCHIVED_S, what="every order is answered")
    return found


def assert_only_west_is_written(server: Server, prefix: str, old: str) -> None:
    """Creations and changes of the shard that is not promoted are 503, with the reason in the log; the other's go on."""
    outcomes: dict[str, set[int]] = defaultdict(set)
    for number in range(8):
        ref = f"{prefix}-unpromoted-{number}"
        outcomes[shard_of(ref)].add(server.command("POST", "/v1/orders", "demo", body_of(ref)).status)
    assert outcomes == {"west": {201}, "east": {503}}
    refused: Answer = server.command("PATCH", f"/v1/orders/{old}", "gateway", {"status": "success"})
    assert (refused.status, "retry-after" in refused.headers) == (503, True)
    assert "its epoch was raised on" in server.log


def assert_one_content_a_version(tiers: Tiers, order_ids: list[str], record_property: Record) -> None:
    """Of everything that was ever published, by the lost database or by its copy."""
    contents: dict[tuple[str, int], set[Order]] = defaultdict(set)
    events = 0
    for message in messages_of(tiers, CHANGES):
        change = event.decode(message.value)
        order = change.order
        if change.op is not Op.DELETE and order.order_id in order_ids:
            contents[order.order_id, order.version].add(structs.replace(order))
            events += 1
    assert {order_id for order_id, _ in contents} == set(order_ids)
    assert not [key for key, several in contents.items() if len(several) > 1]
    record_property("versions", len(contents))
    record_property("events", events)


def orderctl(two: TwoShards, *arguments: str) -> Any:
    """An operator's command; its answer."""
    command = [sys.executable, "-m", "orderctl", *arguments, "-o", "json", "--data-dir", str(two.deployment.data_dir)]
    done = subprocess.run(
        command,
        env={**os.environ, **two.deployment.settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        timeout=100,
        cwd=Path(__file__).resolve().parents[2],
    )
    return json.loads(done.stdout)
