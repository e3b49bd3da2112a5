"""The archive's keyspace on a real node: made once, by whoever comes first, and refused where it is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from msgspec import structs

from orderctl.clock import ManualClock, SystemClock
from orderctl.contracts import Query, named_queries
from orderctl.errors import ConfigError, TierUnavailable
from orderctl.stores.cassandra import QUERIES, open_cassandra_archive
from orderctl.stores.cassandra_driver import CassandraConnection, connect
from orderctl.stores.cassandra_flight import Row
from orderctl.stores.cassandra_schema import (
    LOCK_S,
    Keyspace,
    Layout,
    Migration,
    known_migrations,
    locked,
    migrate_archive,
)
from orderctl.stores.cassandra_schema import QUERIES as SCHEMA_QUERIES
from tests.contract.archive_cassandra_harness import KEYSPACE, LAYOUT, TemporaryKeyspace
from tests.contract.archive_harness import a_final
from tests.contract.hot_harness import at_once
from tests.stack import RunningStack, needs

pytestmark = needs("cassandra")

MIGRATORS = 3

OPTIONS = Query(
    "SELECT table_name, compaction, default_time_to_live FROM system_schema.tables WHERE keyspace_name = :name",
    "How tables are kept.",
)
REPLICATION = Query("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = :name", "How often.")
COLUMNS = Query(
    "SELECT table_name, column_name, type, kind FROM system_schema.columns WHERE keyspace_name = :name",
    "All of them.",
)


@pytest.fixture
def keyspace(stack: RunningStack) -> Iterator[TemporaryKeyspace]:
    """One that is not there yet."""
    keyspace = TemporaryKeyspace(stack.config.cassandra)
    yield keyspace
    keyspace.drop()


def migrate(
    temporary: TemporaryKeyspace,
    keyspace: Keyspace = KEYSPACE,
    *,
    dry_run: bool = False,
    known: tuple[Migration, ...] | None = None,
) -> list[int]:
    """The numbers of what was missing."""
    missing = migrate_archive(temporary.access, keyspace, clock=SystemClock(), dry_run=dry_run, known=known)
    return [migration.number for migration in missing]


def connection_to(temporary: TemporaryKeyspace, **more: Query) -> CassandraConnection:
    return connect(temporary.access, {**named_queries("cql", SCHEMA_QUERIES), **more})


def rows(temporary: TemporaryKeyspace, query: Query) -> list[Row]:
    with closing(connection_to(temporary, query=query)) as connection:
        return connection.ask("query", {"name": temporary.access.keyspace})


ALL = [migration.number for migration in known_migrations()]


def test_a_keyspace_is_made_once(keyspace: TemporaryKeyspace) -> None:
    """A look says what is missing and makes nothing; a second time there is nothing to do."""
    assert migrate(keyspace, dry_run=True) == ALL
    assert migrate(keyspace, dry_run=True) == ALL
    assert migrate(keyspace) == ALL
    assert migrate(keyspace) == []
    assert migrate(keyspace, dry_run=True) == []


def test_several_at_once_do_no_harm(keyspace: TemporaryKeyspace) -> None:
    """Each migration is applied by one of them; the others wait, and find nothing to do."""
    applied = at_once([partial(migrate, keyspace)] * MIGRATORS)
    assert sorted(number for numbers in applied for number in numbers) == ALL
    store = open_cassandra_archive(keyspace.access, LAYOUT, clock=SystemClock())
    order = a_final()
    store.write([order])
    assert store.load([order.order_id]) == [order]
    store.close()


class LosesReplies:
    """A connection whose answers to these are lost, the first time of each, after they were carried out."""

    def __init__(self, connection: CassandraConnection, *names: str) -> None:
        self._connection = connection
        self._names = {*names}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def ask(self, name: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        found: list[Row] = self._connection.ask(name, parameters)
        if name in self._names:
            self._names.remove(name)
            raise TierUnavailable("archive")
        return found


def test_the_lock_is_held_though_nobody_said_so(keyspace: TemporaryKeyspace) -> None:
    """It was taken, renewed and given back, and each answer was lost. Another one gets it, then."""
    migrate(keyspace)
    with closing(connection_to(keyspace)) as connection:
        deaf: Any = LosesReplies(connection, "take_lock", "renew_lock", "give_lock_back")
        with locked(deaf, SystemClock()) as renew:
            renew()
        assert deaf._names == set()
        with locked(connection, ManualClock()) as renew:
            renew()


def test_a_migration_that_was_interrupted_is_begun_again(keyspace: TemporaryKeyspace) -> None:
    """Some tables are there, and nobody noted it."""
    migrate(keyspace)
    schema = keyspace.access.keyspace
    keyspace.run(
        f"DROP TABLE {schema}.orders_by_ref", f"DROP TABLE {schema}.layout", f"TRUNCATE {schema}.schema_migrations"
    )
    assert migrate(keyspace) == ALL
    open_cassandra_archive(keyspace.access, LAYOUT, clock=SystemClock()).close()


def test_the_next_migration_is_applied_to_what_is_there(keyspace: TemporaryKeyspace) -> None:
    """And only that one."""
    migrate(keyspace)
    following = Migration(len(ALL) + 1, "note", "ALTER TABLE $keyspace.orders ADD IF NOT EXISTS note text;")
    assert migrate(keyspace, known=(*known_migrations(), following)) == [following.number]
    assert ("orders", "note", "text", "regular") in rows(keyspace, COLUMNS)


def test_a_newer_schema_is_refused(keyspace: TemporaryKeyspace) -> None:
    """By a migration, by a look, and by a store."""
    following = Migration(len(ALL) + 1, "note", "ALTER TABLE $keyspace.orders ADD IF NOT EXISTS note text;")
    migrate(keyspace, known=(*known_migrations(), following))
    with pytest.raises(ConfigError, match=f"schema {following.number}"):
        migrate(keyspace)
    with pytest.raises(ConfigError, match=f"schema {following.number}"):
        migrate(keyspace, dry_run=True)
    with pytest.raises(ConfigError, match=f"schema {following.number}"):
        open_cassandra_archive(keyspace.access, LAYOUT, clock=SystemClock())


def test_an_edited_migration_is_refused(keyspace: TemporaryKeyspace) -> None:
    """The keyspace does not have what the file says now."""
    migrate(keyspace)
    *first, last = known_migrations()
    edited = (*first, structs.replace(last, text=last.text + "-- and a word more\n"))
    with pytest.raises(ConfigError, match=rf"another {last.number:04}_{last.name}\.cql"):
        migrate(keyspace, known=edited)


def test_a_store_asks_for_the_schema(keyspace: TemporaryKeyspace) -> None:
    """Before it is there, and before it says where orders are; the hint says what to do."""
    with pytest.raises(ConfigError, match="lacks migration 0001_keyspace") as caught:
        open_cassandra_archive(keyspace.access, LAYOUT, clock=SystemClock())
    assert caught.value.hint == "run orderctl migrate"
    migrate(keyspace)
    keyspace.run(f"TRUNCATE {keyspace.access.keyspace}.layout")
    with pytest.raises(ConfigError, match="lacks its layout"):
        open_cassandra_archive(keyspace.access, LAYOUT, clock=SystemClock())


@pytest.mark.parametrize("other", [Layout(groups=32), Layout(groups=64, slot_s=60)], ids=["groups", "slot"])
def test_another_layout_is_refused(keyspace: TemporaryKeyspace, other: Layout) -> None:
    """Orders would be looked for where they are not."""
    migrate(keyspace)
    with pytest.raises(ConfigError, match="was made for 64 groups and time slots of 3600 s"):
        open_cassandra_archive(keyspace.access, other, clock=SystemClock())
    with pytest.raises(ConfigError, match="was made for"):
        migrate(keyspace, structs.replace(KEYSPACE, layout=other))


def test_tables_are_kept_as_configured(keyspace: TemporaryKeyspace) -> None:
    """Copies in each data centre, a compaction that does not go by write timestamps, and rows for ever unless told otherwise."""
    migrate(keyspace)
    [(replication,)] = rows(keyspace, REPLICATION)
    assert dict(replication) == {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "datacenter1": "1"}
    with closing(connection_to(keyspace)) as connection:
        expected = "UnifiedCompactionStrategy" if connection.release >= (5, 0) else "SizeTieredCompactionStrategy"
    options = {table: (compaction["class"], ttl) for table, compaction, ttl in rows(keyspace, OPTIONS)}
    for table in ("orders", "orders_by_ref"):
        strategy, ttl = options[table]
        assert (strategy.rpartition(".")[2], ttl) == (expected, 0)


def test_rows_may_be_kept_for_some_time_only(keyspace: TemporaryKeyspace) -> None:
    """From the day on which they were written, in both tables alike."""
    migrate(keyspace, structs.replace(KEYSPACE, retention_s=86_400))
    ttl = {table: ttl for table, _, ttl in rows(keyspace, OPTIONS)}
    assert (ttl["orders"], ttl["orders_by_ref"], ttl["layout"]) == (86_400, 86_400, 0)


def test_every_query_fits_the_schema(keyspace: TemporaryKeyspace) -> None:
    """The node can prepare each of them."""
    migrate(keyspace)
    queries = {**named_queries("cql", QUERIES), **named_queries("cql", SCHEMA_QUERIES)}
    with closing(connect(keyspace.access, queries)) as connection:
        connection.learn(queries)


def test_who_finds_the_lock_taken_gives_up_in_time(keyspace: TemporaryKeyspace) -> None:
    """It applies nothing, and says when the lock of one that was killed is gone; a holder that lost it is told so."""
    migrate(keyspace)
    known = (
        *known_migrations(),
        Migration(len(ALL) + 1, "note", "ALTER TABLE $keyspace.orders ADD IF NOT EXISTS note text;"),
    )
    other = {"holder": "another process", "lock_s": LOCK_S}
    with closing(connection_to(keyspace)) as connection:
        assert connection.ask("take_lock", other)[0][0]
        with pytest.raises(TierUnavailable, match="another process has been migrating") as caught:
            migrate_archive(keyspace.access, KEYSPACE, clock=ManualClock(), known=known)
        assert f"{LOCK_S} s" in str(caught.value.hint)
        assert connection.ask("renew_lock", other)[0][0]
        assert not connection.ask("renew_lock", other | {"holder": "somebody else"})[0][0]
        assert connection.ask("give_lock_back", other)[0][0]
    assert migrate(keyspace, known=known) == [len(known)]
