"""A shard's schema, its constants and its grants, on a real MariaDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import msgspec
import pytest

from orderctl.contracts import Query, contract_text, named_queries
from orderctl.errors import ConfigError, TierError, TierRejected, TierUnavailable
from orderctl.order import Order, Status
from orderctl.secret import Secret
from orderctl.stores.deadlines import TimedOut
from orderctl.stores.hot import Created, Removal
from orderctl.stores.mysql import QUERIES
from orderctl.stores.mysql_database import MysqlDatabase, Session
from orderctl.stores.mysql_driver import MysqlServer, Row, render
from orderctl.stores.mysql_hot import MysqlHot, migrate_shard, open_mysql_hot
from orderctl.stores.mysql_schema import Migration, known_migrations, migrate, missing_migrations, require_schema
from orderctl.stores.registry import Heartbeat
from tests.contract.hot_harness import GROUPS, a_draft, at_once, create, drafts, to
from tests.contract.hot_mysql_harness import TemporaryDatabase
from tests.contract.late_harness import a_late
from tests.real.mariadb_server import MariadbServer, mariadb
from tests.stack import needs

__all__ = ["mariadb"]

pytestmark = needs()

USERS = ("command", "query", "archiver", "reader", "timeouts", "cdc")


@pytest.fixture
def server(mariadb: MariadbServer) -> Iterator[MysqlServer]:
    """An empty database."""
    database = TemporaryDatabase(mariadb.server)
    yield database.server
    database.drop()


@pytest.fixture
def database(server: MysqlServer) -> Iterator[MysqlDatabase]:
    database = MysqlDatabase(server)
    yield database
    database.close()


def later(number: int, text: str) -> Migration:
    return Migration(number, f"step_{number}", text)


class TestMigrations:
    """Numbered, checksummed, forward only."""

    def test_all_are_applied_once(self, database: MysqlDatabase) -> None:
        """To an empty database all of them; afterwards none is missing."""
        assert missing_migrations(database) == known_migrations()
        assert migrate(database) == known_migrations()
        assert (missing_migrations(database), migrate(database)) == ((), ())
        require_schema(database)

    def test_a_later_one_is_applied_to_what_is_there(self, database: MysqlDatabase) -> None:
        """Only it, and daemons that do not know it yet are refused."""
        migrate(database)
        known = known_migrations()
        further = later(len(known) + 1, "CREATE TABLE later_one (id INT PRIMARY KEY); -- a comment; with a semicolon\n")
        assert migrate(database, (*known, further)) == (further,)
        with pytest.raises(ConfigError, match=rf"has schema {len(known) + 1}; this orderctl knows up to {len(known)}"):
            require_schema(database)
        with pytest.raises(ConfigError):
            migrate(database)

    def test_an_edited_one_is_refused(self, database: MysqlDatabase) -> None:
        """What it says now is not what the database went through."""
        migrate(database)
        first, *others = known_migrations()
        edited = msgspec.structs.replace(first, text=f"{first.text}-- edited\n")
        with pytest.raises(ConfigError, match=r"0001_orders\.sql"):
            migrate(database, (edited, *others))

    def test_one_that_was_cut_short_is_applied_again(self, database: MysqlDatabase) -> None:
        """MySQL has committed its first statements; they come again and do no harm."""
        good, bad = "CREATE TABLE IF NOT EXISTS halfway (id INT PRIMARY KEY);", "CREATE TABLE nonsense;"
        with pytest.raises(TierRejected):
            migrate(database, (later(1, good + bad),))
        assert missing_migrations(database, (later(1, good),)) == (later(1, good),)
        assert migrate(database, (later(1, good),)) == (later(1, good),)

    @pytest.mark.parametrize("cut_at", range(1, 5))
    def test_ours_can_be_cut_short_anywhere(self, database: MysqlDatabase, cut_at: int) -> None:
        """Each of the real ones, after each of its statements."""
        for migration in known_migrations():
            for statement in migration.statements[:cut_at]:
                database.read(partial(_execute, statement))
        assert migrate(database) == known_migrations()

    def test_of_two_who_migrate_one_does(self, server: MysqlServer) -> None:
        """The other waits, and finds nothing to do."""
        done = at_once([partial(migrate_shard, server, groups=GROUPS)] * 4)
        assert sorted(map(len, done)) == [0, 0, 0, len(known_migrations())]

    def test_a_dry_run_writes_nothing(self, server: MysqlServer, database: MysqlDatabase) -> None:
        """It says what is missing."""
        assert migrate_shard(server, groups=GROUPS, dry_run=True) == known_migrations()
        assert missing_migrations(database) == known_migrations()

    def test_every_query_is_understood(self, server: MysqlServer, database: MysqlDatabase) -> None:
        """By the server, against the schema that the migrations make, in its own words for each kind."""
        migrate_shard(server, groups=GROUPS)
        values = dict.fromkeys(_parameters(), 1)
        for name, query in named_queries("sql", QUERIES).items():
            statement = render(query, str, values, [values, values])
            if statement.lstrip(" (").startswith(("SELECT", "UPDATE", "DELETE")):
                database.read(partial(_execute, f"EXPLAIN {statement}"))
            assert "[[" not in statement, name

    def test_no_query_by_a_key_reads_a_table_through(self, server: MysqlServer, database: MysqlDatabase) -> None:
        """Also where the table is so small that the optimizer would rather do that: it would wait for rows of others."""
        migrate_shard(server, groups=GROUPS)
        hot = open_mysql_hot(server, groups=GROUPS)
        hot.store.create(drafts(5))
        hot.close()
        key = dict.fromkeys(_parameters(), b"\1" * 16)
        for name in (
            "orders_as_committed",
            "lock_orders",
            "lock_removable",
            "remove_orders",
            "owners_of_references",
            "finals",
        ):
            statement = render(
                named_queries("sql", QUERIES)[name], _hex, key | {"count": 9, "updated_at": 1}, [key, key]
            )
            plan = database.read(partial(_rows, f"EXPLAIN {statement}"))
            assert not [row for row in plan if row[2] in {"orders", "o", "r"} and "ALL" in row[3:5]], (name, plan)


class TestDeployment:
    """The constants that are written once."""

    def test_an_empty_database_asks_for_migrate(self, server: MysqlServer) -> None:
        """A daemon does not make tables."""
        with pytest.raises(ConfigError, match="lacks migration 0001_orders") as caught:
            open_mysql_hot(server, groups=GROUPS)
        assert caught.value.hint == "run orderctl migrate"

    def test_a_database_that_is_not_there_is_said_so(self, server: MysqlServer) -> None:
        """And the hint says who makes it."""
        with pytest.raises(TierUnavailable, match="Unknown database") as caught:
            open_mysql_hot(msgspec.structs.replace(server, database="orderctl_test_none"), groups=GROUPS)
        assert caught.value.hint is not None
        assert "make the database" in caught.value.hint

    def test_a_schema_without_a_deployment_is_refused(self, server: MysqlServer, database: MysqlDatabase) -> None:
        """Its groups are known to nobody."""
        migrate(database)
        with pytest.raises(ConfigError, match="belongs to no deployment"):
            open_mysql_hot(server, groups=GROUPS)

    def test_a_shard_keeps_its_groups(self, server: MysqlServer) -> None:
        """Whoever mixes up two shards in the configuration is refused before a single order is looked for."""
        migrate_shard(server, groups=GROUPS, shard=range(32))
        open_mysql_hot(server, groups=GROUPS, shard=range(32)).close()
        for other in (range(32, 64), range(16), None):
            with pytest.raises(ConfigError, match="0-31"):
                open_mysql_hot(server, groups=GROUPS, shard=other)
            with pytest.raises(ConfigError, match="0-31"):
                migrate_shard(server, groups=GROUPS, shard=other)

    @pytest.mark.parametrize("shard", [range(0), range(65), range(0, 64, 2), range(-1, 3)])
    def test_a_shard_is_a_range_of_the_groups(self, server: MysqlServer, shard: range) -> None:
        """Anything else is refused before it is written."""
        with pytest.raises(ConfigError, match="a shard has"):
            migrate_shard(server, groups=GROUPS, shard=shard)
        migrate_shard(server, groups=GROUPS)


class TestGrants:
    """What each daemon's user may do, by the file."""

    @pytest.fixture
    def users(self, mariadb: MariadbServer, server: MysqlServer) -> Iterator[MysqlServer]:
        """The shard, migrated, with all users."""
        migrate_shard(server, groups=GROUPS)
        text = contract_text("sql", "mysql/grants.sql").replace("`orderctl`.", f"`{server.database}`.")
        with mariadb.session() as run:
            for user in USERS:
                run(f"CREATE USER 'orderctl_{user}'@'%' IDENTIFIED BY '{user}'")
            for statement in (line for line in text.splitlines() if line and not line.startswith("--")):
                run(statement.removesuffix(";"))
            yield server
            for user in USERS:
                run(f"DROP USER 'orderctl_{user}'@'%'")

    def test_each_can_do_its_work_and_no_more(self, users: MysqlServer) -> None:
        """An order's whole life, each step by its daemon, and every step by the wrong one refused."""
        hot = {user: _as(users, user) for user in USERS}
        refused = partial(pytest.raises, TierError, match="denied")
        order = create(hot["command"].store)
        with refused():
            hot["query"].store.create([a_draft()])
        with refused():
            hot["timeouts"].store.create([a_draft()])
        assert [hot[user].store.load([order.order_id]) for user in ("command", "query", "archiver", "reader")] == [
            [order]
        ] * 4
        [changed] = hot["timeouts"].deadlines.time_out([order.order_id])
        assert isinstance(changed, TimedOut)
        another = create(hot["command"].store)
        for user in ("query", "archiver", "reader", "cdc"):
            with refused():
                hot[user].store.change([to(another, Status.FAILED)], now_us=0)
        removal = Removal(order.order_id, changed.order.version)
        for user in ("command", "query", "reader", "cdc"):
            with refused():
                hot[user].store.remove([removal], now_us=1)
        assert hot["archiver"].store.remove([removal], now_us=1) == [True]
        assert hot["archiver"].store.purge_references(moved_before_us=2, limit=1) == 1
        for user in USERS:
            hot[user].registry.beat([Heartbeat(user, user, "running", None, None)])
            hot[user].registry.retire([user])
            hot[user].close()

    def test_a_replay_is_answered_with_the_daemons_rights(self, users: MysqlServer) -> None:
        """The claim updates nothing, and MySQL asks for the right to."""
        command = _as(users, "command")
        draft = a_draft()
        kinds = [type(outcome) for outcome in command.store.create([draft, draft])]
        assert kinds[0] is Created
        assert isinstance(command.store.load([draft.order.order_id])[0], Order)
        command.close()

    def test_late_results_are_kept_and_moved_with_the_daemons_rights(self, users: MysqlServer) -> None:
        """The command server keeps them and cannot remove one; the archiver removes them and keeps none."""
        hot = {user: _as(users, user) for user in USERS}
        refused = partial(pytest.raises, TierError, match="denied")
        result = a_late()
        for _ in range(2):
            hot["command"].late.keep([result])
        for user in set(USERS) - {"command"}:
            with refused():
                hot[user].late.keep([a_late()])
        for user in ("command", "query", "archiver", "reader"):
            assert hot[user].late.load([result.order_id]) == [[result]]
        for user in set(USERS) - {"archiver"}:
            with refused():
                hot[user].late.remove([result])
        assert hot["archiver"].late.oldest(frozenset(range(GROUPS)), after=None, limit=9) == [result]
        hot["archiver"].late.remove([result])
        assert hot["command"].late.load([result.order_id]) == [[]]
        for opened in hot.values():
            opened.close()

    def test_a_server_that_became_read_only_is_unavailable(self, mariadb: MariadbServer, users: MysqlServer) -> None:
        """A primary that was demoted: its writers wait for the new one, and nothing was written. Readers go on."""
        command = _as(users, "command")
        order = create(command.store)
        with mariadb.session() as run:
            run("SET GLOBAL read_only = ON")
            try:
                with pytest.raises(TierUnavailable, match="read-only"):
                    command.store.change([to(order, Status.FAILED)], now_us=0)
                assert command.store.load([order.order_id]) == [order]
            finally:
                run("SET GLOBAL read_only = OFF")
        command.close()


def _as(server: MysqlServer, user: str) -> MysqlHot:
    return open_mysql_hot(
        msgspec.structs.replace(server, user=f"orderctl_{user}", password=Secret(user)), groups=GROUPS
    )


def _hex(value: object) -> str:
    return f"X'{value.hex()}'" if isinstance(value, bytes) else str(value)


def _rows(statement: str, session: Session) -> list[Row]:
    return session.rows(Query(statement.replace("%", "%%"), ""))


def _execute(statement: str, session: Session) -> None:
    session.execute(statement)


def _parameters() -> set[str]:
    text = "".join(query.text for query in named_queries("sql", QUERIES).values())
    return set(re.findall(r"%\((\w+)\)s", text))
