"""What a stack consists of: choices, what was chosen before, and what both write into `orderctl.toml`."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from orderctl.config import is_embedded, load
from orderctl.errors import UsageRefused
from orderctl.stack.configuration import configuration
from orderctl.stack.layout import NOTE, PARTS, PORT_OFFSET_MAX, Layout, Wish, decide, note, noted
from orderctl.stack.redis_cluster import BUS_OFFSET


def ports(layout: Layout) -> list[int]:
    """Every port that a stack takes."""
    redis = [port + bus for port in layout.redis_ports for bus in (0, BUS_OFFSET)]
    return [
        layout.sql_port,
        *redis,
        layout.kafka_port,
        layout.kafka_port + 1,
        layout.cassandra_port,
        layout.gossip_port,
    ]


@pytest.mark.parametrize("offset", [0, PORT_OFFSET_MAX])
def test_ports_are_apart_and_out_of_the_way(offset: int) -> None:
    """No port is used twice, and none can be given to an outgoing connection."""
    taken = ports(Layout(port_offset=offset, redis_replicas=1))
    assert len(set(taken)) == len(taken)
    assert max(taken) < 32_768


def test_without_a_wish_there_is_all_of_it() -> None:
    """The defaults."""
    assert decide(Wish(), None) == Layout() == Layout(parts=PARTS, sql="mariadb", redis_replicas=0, cassandra_nodes=1)


def test_parts_come_one_after_another() -> None:
    """A part that is asked for later joins those that are there, in the same order whichever came first."""
    first = decide(Wish(parts=("kafka",), redis_replicas=1), None)
    assert first == Layout(parts=("kafka",), redis_replicas=1)
    assert decide(Wish(parts=("sql", "kafka")), first) == Layout(parts=("sql", "kafka"), redis_replicas=1)
    assert decide(Wish(), first).parts == PARTS


def test_what_data_was_made_with_cannot_change() -> None:
    """The difference is named; the same wish again is none."""
    before = decide(Wish(sql="mysql"), None)
    assert decide(Wish(sql="mysql"), before) == before
    with pytest.raises(UsageRefused, match="was made with sql mysql, not mariadb") as refusal:
        decide(Wish(sql="mariadb"), before)
    assert "--purge" in str(refusal.value.hint)


@pytest.mark.parametrize(
    "wish", [Wish(parts=("foo",)), Wish(cassandra_nodes=2), Wish(redis_replicas=2), Wish(port_offset=-1)]
)
def test_what_there_is_not(wish: Wish) -> None:
    """A part, or a number, that means nothing is refused."""
    with pytest.raises(UsageRefused):
        decide(wish, None)


def test_the_note_is_what_was_decided(tmp_path: Path) -> None:
    """It is read as it was written; one that means nothing is refused and left alone."""
    assert noted(tmp_path) is None
    layout = Layout(parts=("redis",), port_offset=7)
    note(tmp_path, layout)
    assert noted(tmp_path) == layout
    (tmp_path / NOTE).write_text('{"parts": 3}')
    with pytest.raises(UsageRefused, match=NOTE):
        noted(tmp_path)
    assert (tmp_path / NOTE).read_text() == '{"parts": 3}'


SOME = [parts for count in range(1, len(PARTS) + 1) for parts in itertools.combinations(PARTS, count)]


@pytest.mark.parametrize("parts", SOME, ids="-".join)
def test_the_configuration_says_where_each_part_is(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """It can be read, and names those parts' servers; only all four make a deployment."""
    file = tmp_path / 'a "quoted" folder.toml'
    layout = msgspec.structs.replace(Layout(), parts=parts, cassandra_nodes=3)
    file.write_text(configuration(layout, file.with_name('pass"word')))
    config = load(file, {})
    servers = (config.mysql.shards, config.redis.nodes, config.kafka.brokers, config.cassandra.hosts)
    assert [bool(one) for one in servers] == [part in parts for part in PARTS]
    if parts == PARTS:
        assert not is_embedded(config)
        assert config.mysql.shards[0].password_file == str(file.with_name('pass"word'))
        assert (len(config.cassandra.hosts), config.cassandra.replication, config.kafka.replication) == (3, 3, 1)
