"""Redis by its driver alone: the ceilings of what reads and writes the cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import redis
from msgspec import structs
from redis.connection import Connection
from redis.crc import key_slot

from orderctl.bench.measuring import Measure, measured
from orderctl.bench.orders import BATCH, batches
from orderctl.config import Config
from orderctl.ids import group_of
from orderctl.secret import read_secret
from orderctl.stores.cache import Put
from orderctl.stores.record import encode_record
from orderctl.stores.redis import entry_key, mark_key
from orderctl.stores.redis_nodes import Address, parse_addresses
from orderctl.stores.redis_scripts import script

Command = Sequence[bytes | str | int]


def get_raw(config: Config, order_ids: Sequence[str], total: int) -> Measure:
    """Read `total` records, a batch after another: one MGET for each group, sent to every node before any is waited for."""
    groups = config.deployment.groups
    with ExitStack() as stack:
        owners = owners_of(config, stack)
        plans = [_by_node(batch, owners, groups) for batch in batches(order_ids)]

        def work() -> int:
            done = at = 0
            while done < total:
                done += _ask(plans[at % len(plans)])
                at += 1
            return done

        nodes = len({id(owner) for owner in owners})
        return structs.replace(measured(work), facts={"nodes": nodes})


def apply_raw(config: Config, puts: Sequence[Put], total: int, batch: int) -> Measure:
    """Apply `total` records of one group, a script call for each batch, one after another."""
    group = group_of(puts[0].record.order_id, config.deployment.groups)
    sync = script("sync")
    with ExitStack() as stack:
        node = owners_of(config, stack)[group]
        _say(node, ["SCRIPT", "LOAD", sync.text])
        _say(node, ["SET", mark_key(group), 0, "NX"])
        calls = [_sync_call(sync.digest, group, part, config.deployment.groups) for part in batches(puts, batch)]

        def work() -> int:
            done = at = 0
            while done < total:
                done += len(_say(node, calls[at % len(calls)]))
                at += 1
            return done

        return measured(work)


def versions(config: Config) -> dict[str, str]:
    """What answers."""
    with ExitStack() as stack:
        (address, *_) = parse_addresses(config.redis.nodes)
        client = stack.enter_context(_client(config, address))
        return {"Redis": str(client.info("server")["redis_version"])}


def _sync_call(digest: str, group: int, puts: Sequence[Put], groups: int) -> Command:
    keys = [mark_key(group), *(entry_key(put.record.order_id, groups) for put in puts)]
    arguments = [one for put in puts for one in (encode_record(put.record), put.ttl_ms, put.record.timer_at_ms)]
    return ["EVALSHA", digest, len(keys), *keys, 0, 0, 0, *arguments]


def _by_node(order_ids: Sequence[str], owners: Sequence[Connection], groups: int) -> dict[Connection, list[Command]]:
    by_group: defaultdict[int, list[str]] = defaultdict(list)
    for order_id in order_ids:
        by_group[group_of(order_id, groups)].append(entry_key(order_id, groups))
    plan: defaultdict[Connection, list[Command]] = defaultdict(list)
    for group, keys in by_group.items():
        plan[owners[group]].append(["MGET", *keys])
    return dict(plan)


def _ask(plan: dict[Connection, list[Command]]) -> int:
    for node, commands in plan.items():
        node.send_packed_command(node.pack_commands(commands))  # type: ignore[no-untyped-call]
    found = 0
    for node, commands in plan.items():
        for _ in commands:
            values: list[bytes | None] = node.read_response()
            found += len(values) - values.count(None)
    assert found == BATCH or found == sum(len(command) - 1 for sent in plan.values() for command in sent)
    return found


def _say(node: Connection, command: Command) -> Any:
    node.send_command(*command)  # type: ignore[no-untyped-call]
    return node.read_response()


def owners_of(config: Config, stack: ExitStack) -> list[Connection]:
    """For each group the connection to its node."""
    (seed, *_) = parse_addresses(config.redis.nodes)
    slots = _say(_connection(config, seed, stack), ["CLUSTER", "SLOTS"])
    nodes: dict[tuple[bytes, int], Connection] = {}
    owners: list[Connection] = []
    for group in range(config.deployment.groups):
        slot = key_slot(b"{%d}" % group)
        host, port = next((one[2][0], one[2][1]) for one in slots if one[0] <= slot <= one[1])
        if (host, port) not in nodes:
            nodes[host, port] = _connection(config, Address(host.decode(), port), stack)
        owners.append(nodes[host, port])
    return owners


def _connection(config: Config, address: Address, stack: ExitStack) -> Connection:
    connection = Connection(  # type: ignore[no-untyped-call]
        host=address.host,
        port=address.port,
        username=config.redis.username,
        password=read_secret(config.redis.password, config.redis.password_file),
        protocol=2,
        socket_timeout=30,
    )
    connection.connect()  # type: ignore[no-untyped-call]
    stack.callback(connection.disconnect)
    return connection


def _client(config: Config, address: Address) -> redis.Redis:
    return redis.Redis(
        host=address.host,
        port=address.port,
        username=config.redis.username,
        password=read_secret(config.redis.password, config.redis.password_file),
    )
