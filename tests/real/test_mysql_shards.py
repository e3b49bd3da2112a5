"""Two shards as a configuration names them, on two databases of one server."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from orderctl.errors import ConfigError, TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Change, Status
from orderctl.secret import Secret
from orderctl.sections import ShardSection
from orderctl.stores.hot import Changed, Created
from orderctl.stores.mysql_hot import groups_of, migrate_shard, open_mysql_hot, open_mysql_shards, server_of
from orderctl.stores.sharded import PartlyRead, PartlyWritten
from tests.contract.hot_harness import GROUPS, drafts
from tests.contract.hot_mysql_harness import TemporaryDatabase
from tests.real.mariadb_server import PASSWORD, MariadbServer, mariadb
from tests.stack import needs

__all__ = ["mariadb"]

pytestmark = needs()

RANGES = ("0-23", "24-63")


@pytest.fixture
def sections(mariadb: MariadbServer) -> Iterator[list[ShardSection]]:
    """Two shards, migrated, each founded with its own groups."""
    databases = [TemporaryDatabase(mariadb.server) for _ in RANGES]
    sections = [
        ShardSection(
            name=f"shard-{number}",
            host="127.0.0.1",
            port=mariadb.server.port,
            password=Secret(PASSWORD),
            database=database.server.database,
            groups=groups,
        )
        for number, (database, groups) in enumerate(zip(databases, RANGES, strict=True))
    ]
    for section in sections:
        migrate_shard(server_of(section), groups=GROUPS, shard=groups_of(section, GROUPS))
    yield sections
    for database in databases:
        database.drop()


def test_each_order_is_in_its_own_shards_database(sections: list[ShardSection]) -> None:
    """Through the router a batch is one; in the databases each half is where its groups are."""
    hot = open_mysql_shards(sections, groups=GROUPS)
    batch = drafts(100)
    ids = [draft.order.order_id for draft in batch]
    assert all(isinstance(outcome, Created) for outcome in hot.store.create(batch))
    changed = hot.store.change([Change(order_id, Status.SUCCESS) for order_id in ids], now_us=0)
    orders = [outcome.order for outcome in changed if isinstance(outcome, Changed)]
    assert hot.store.load(ids) == orders == hot.store.finals(None, after=None, limit=100)
    assert hot.registry.deployment().groups == GROUPS
    hot.close()
    for section in sections:
        own = groups_of(section, GROUPS)
        shard = open_mysql_hot(server_of(section), groups=GROUPS, shard=own)
        expected = [order if group_of(order.order_id, GROUPS) in own else None for order in orders]
        assert shard.store.load(ids) == expected
        shard.close()


def test_a_server_that_goes_away_fails_its_own_orders_and_comes_back(
    mariadb: MariadbServer, sections: list[ShardSection]
) -> None:
    """The table of one shard is out of reach, as if its server were: the other's orders are created, changed and read."""
    hot = open_mysql_shards(sections, groups=GROUPS)
    away = groups_of(sections[1], GROUPS)
    database = sections[1].database
    with mariadb.session(database=database) as run:
        run("RENAME TABLE orders TO orders_away")
        batch = drafts(100)
        with pytest.raises(PartlyWritten) as caught:
            hot.store.create(batch)
        created = [isinstance(outcome, Created) for outcome in caught.value.outcomes]
        assert created == [group_of(draft.order.order_id, GROUPS) not in away for draft in batch]
        with pytest.raises(PartlyRead):
            hot.store.load([draft.order.order_id for draft in batch])
        run("RENAME TABLE orders_away TO orders")
    found = hot.store.load([draft.order.order_id for draft in batch])
    assert [order is not None for order in found] == created
    hot.close()


def test_shards_that_are_mixed_up_are_refused(sections: list[ShardSection]) -> None:
    """The databases know their groups, and nothing that was opened stays open."""
    one, two = sections
    mixed_up = [msgspec.structs.replace(one, groups=two.groups), msgspec.structs.replace(two, groups=one.groups)]
    with pytest.raises(ConfigError, match="founded for 0-23"):
        open_mysql_shards(mixed_up, groups=GROUPS)
    with pytest.raises(ConfigError, match="group 24 belongs to no shard"):
        open_mysql_shards([one], groups=GROUPS)
    unreachable = msgspec.structs.replace(two, port=9)
    with pytest.raises(TierUnavailable, match=r"127\.0\.0\.1:9/"):
        open_mysql_shards([one, unreachable], groups=GROUPS)


@pytest.mark.parametrize(
    ("said", "expected"), [(None, range(GROUPS)), ("0-63", range(64)), ("32-63", range(32, 64)), ("5-5", range(5, 6))]
)
def test_a_shard_says_its_groups(said: str | None, expected: range) -> None:
    """Both ends count; without a word it has all."""
    assert groups_of(ShardSection(name="one", host="h", groups=said), GROUPS) == expected


@pytest.mark.parametrize("said", ["0-64", "7-3"])
def test_groups_that_are_not_there_are_refused(said: str) -> None:
    """By the shard's name, and with what there is."""
    with pytest.raises(ConfigError, match=f"shard one has groups = {said}: they go from 0 to 63"):
        groups_of(ShardSection(name="one", host="h", groups=said), GROUPS)
