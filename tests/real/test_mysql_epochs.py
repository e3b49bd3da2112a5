"""Versions are given by one server only: a replica or a restored copy gives none until it is promoted, whoever asks it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import structs

from orderctl.contracts import Query, named_queries
from orderctl.order import Status
from orderctl.stores.hot import Changed, Created, HotStore, NotPromoted, OldEpoch, Removal
from orderctl.stores.mysql import QUERIES, MysqlHotStore
from orderctl.stores.mysql_database import MysqlDatabase, Session
from orderctl.stores.mysql_driver import MysqlServer, Row
from orderctl.stores.mysql_hot import migrate_shard, open_mysql_hot, server_of
from orderctl.stores.registry import Heartbeat
from orderctl.version import EPOCH_SHIFT
from tests.contract.hot_harness import GROUPS, a_draft, create, to
from tests.contract.hot_mysql_harness import MysqlHarness, TemporaryDatabase
from tests.stack import RunningStack, needs

BE_ANOTHERS = Query("UPDATE deployment SET epoch_server = 'another'", "What replication brings to a replica.")
FIRST = 1 << EPOCH_SHIFT


def dump(server: MysqlServer) -> bytes:
    """The database as statements."""
    return _client("mariadb-dump", server, b"")


def restore(server: MysqlServer, dumped: bytes) -> None:
    """Run the statements in another database."""
    _client("mariadb", server, dumped)


class Between:
    """A database on which something happens in a transaction right after rows were locked."""

    def __init__(self, database: MysqlDatabase, then: Callable[[], object]) -> None:
        self._database = database
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def write(self, work: Callable[[Any], Any]) -> tuple[Any, bool]:
        """A transaction, watched."""
        return self._database.write(lambda session: work(_Watched(session, self._then)))


class _Watched:
    def __init__(self, session: Session, then: Callable[[], object]) -> None:
        self._session = session
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def rows(self, query: Query, *arguments: Any, **options: Any) -> list[Row]:
        found = self._session.rows(query, *arguments, **options)
        if query == named_queries("sql", QUERIES)["lock_orders"]:
            self._then()
        return found


class EpochServerSuite:
    """Inherited for each kind of server."""

    @pytest.fixture
    def harness(self, servers: RunningStack) -> Iterator[MysqlHarness]:
        """A shard on a server whose epoch was raised there."""
        harness = MysqlHarness(server_of(servers.config.mysql.shards[0]))
        yield harness
        harness.close()

    def test_a_server_knows_itself(self, harness: MysqlHarness) -> None:
        """By the same identity on each connection, which names the database as well; it is noted when the shard is founded."""
        one, two = (harness.open().registry.deployment() for _ in range(2))
        assert one.server == two.server == one.epoch_server
        assert one.is_promoted
        assert one.server is not None
        assert one.server.endswith(f"/{harness.server.database}")
        assert len(one.server) > len(f"/{harness.server.database}")

    def test_another_server_gives_no_version(self, harness: MysqlHarness) -> None:
        """Neither a first nor a next one, and says why, on connections that were open before as well; reading goes on."""
        opened = harness.open()
        store = opened.store
        order = create(store)
        opened.registry.raise_epoch(above=0)
        new = create(store)
        _run(harness.server, BE_ANOTHERS)
        with pytest.raises(NotPromoted, match="raised on another"):
            store.create([a_draft()])
        with pytest.raises(NotPromoted) as caught:
            store.change([to(new, Status.SUCCESS)], now_us=0)
        assert caught.value.hint is not None
        assert "shard promote" in caught.value.hint
        for call in (store.touch, store.discard):
            with pytest.raises(NotPromoted):
                call([Removal(order.order_id, order.version)], now_us=0)
        assert not opened.registry.deployment().is_promoted
        assert store.load([order.order_id, new.order_id]) == [order, new]
        assert store.of_older_epochs(None, after=None, limit=9) == [order]
        opened.registry.beat([Heartbeat("a", "command", "running", None, None)])

    def test_a_promotion_opens_it_again(self, harness: MysqlHarness) -> None:
        """In a new epoch, without anybody's having to connect again."""
        opened = harness.open()
        store, registry = opened.store, opened.registry
        order = create(store)
        _run(harness.server, BE_ANOTHERS)
        assert registry.raise_epoch(above=0)
        assert registry.deployment().is_promoted
        assert create(store).version == FIRST
        assert store.change([to(order, Status.SUCCESS)], now_us=0) == [OldEpoch(order)]
        assert store.touch([Removal(order.order_id, order.version)], now_us=0) == [True]
        [changed] = store.change([to(order, Status.SUCCESS)], now_us=0)
        assert isinstance(changed, Changed)
        assert changed.order.version == FIRST + 1

    def test_an_epoch_that_is_raised_after_the_rows_were_locked_counts(self, harness: MysqlHarness) -> None:
        """The statement that gives the version reads it, so the order is not changed before the archive was asked."""
        opened = harness.open()
        order, final = create(opened.store), create(opened.store)
        database = MysqlDatabase(harness.server)
        store = MysqlHotStore(Between(database, lambda: opened.registry.raise_epoch(above=0)))  # type: ignore[arg-type]
        wishes = [to(order, Status.PROCESSING), to(final, Status.SUCCESS), to(order, Status.SUCCESS)]
        assert store.change(wishes, now_us=0) == [OldEpoch(order), OldEpoch(final), OldEpoch(order)]
        assert store.load([order.order_id, final.order_id]) == [order, final]
        database.close()

    def test_a_dump_that_is_restored_beside_the_original_is_another(self, harness: MysqlHarness) -> None:
        """On the same server, by another name: its orders are there, and it gives no version for them until it is promoted."""
        order = create(harness.open().store)
        copy = TemporaryDatabase(harness.server)
        try:
            restore(copy.server, dump(harness.server))
            hot = open_mysql_hot(copy.server, groups=GROUPS)
            assert hot.store.load([order.order_id]) == [order]
            _refuses(hot.store)
            assert migrate_shard(copy.server, groups=GROUPS) == ()
            _refuses(hot.store)
            assert hot.registry.raise_epoch(above=0)
            assert isinstance(hot.store.create([a_draft()])[0], Created)
            hot.close()
        finally:
            copy.drop()


@needs("sql")
class TestEpochServerMariadb(EpochServerSuite):
    """MariaDB 10.11 or later."""

    @pytest.fixture
    def servers(self, stack: RunningStack) -> RunningStack:
        return stack


@needs("mysql")
class TestEpochServerMysql(EpochServerSuite):
    """MySQL 8."""

    @pytest.fixture
    def servers(self, mysql_stack: RunningStack) -> RunningStack:
        return mysql_stack


def _refuses(store: HotStore) -> None:
    with pytest.raises(NotPromoted):
        store.create([a_draft()])


def _run(server: MysqlServer, query: Query) -> None:
    database = MysqlDatabase(structs.replace(server))
    database.write(lambda session: session.changed(query))
    database.close()


def _client(program: str, server: MysqlServer, statements: bytes) -> bytes:
    command = [program, "--no-defaults", f"--host={server.host}", f"--port={server.port}", f"--user={server.user}"]
    options = ["--protocol=tcp", "--skip-ssl", "--default-character-set=utf8mb4"]
    if program.endswith("dump"):
        options += ["--single-transaction", "--hex-blob"]
    return subprocess.run(
        [*command, *options, server.database],
        input=statements,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "MYSQL_PWD": server.password.reveal()},
    ).stdout
