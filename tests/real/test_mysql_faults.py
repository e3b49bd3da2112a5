"""Bad weather between the hot store and its MariaDB: what was written, what was not, and what nobody can know."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderctl.errors import OutcomeUnknown, TierError, TierRejected, TierUnavailable
from orderctl.order import Order, Status
from orderctl.secret import Secret
from orderctl.stores.hot import Changed, Created, HotStore
from orderctl.stores.mysql_hot import MysqlHot, open_mysql_hot
from tests.contract.hot_harness import GROUPS, a_draft, an_order, at_once, create, drafts, to
from tests.contract.hot_mysql_harness import MysqlHarness
from tests.real.cutting_proxy import CuttingProxy, Fault
from tests.real.mariadb_server import DEADLINE_S, MariadbServer, make_certificate, mariadb, wait_for
from tests.stack import needs

__all__ = ["mariadb"]

pytestmark = needs()

ANSWER_S = 5.0
"""How long a server may seem to hang, since the machine is busy, and does not."""
LOCK_S = 10
"""The same for a row that is about to be let go."""
WAITING = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
WAITERS = "SELECT trx_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"


@pytest.fixture
def harness(mariadb: MariadbServer) -> Iterator[MysqlHarness]:
    harness = MysqlHarness(mariadb.server)
    yield harness
    harness.close()


@pytest.fixture
def store(harness: MysqlHarness) -> HotStore:
    """A store that reaches the server directly."""
    return harness.open().store


@pytest.fixture
def proxy(mariadb: MariadbServer) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(mariadb.server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def behind(harness: MysqlHarness, proxy: CuttingProxy) -> Iterator[HotStore]:
    """A store behind the proxy, with a connection that rests."""
    server = msgspec.structs.replace(harness.server, port=proxy.port, answer_s=ANSWER_S, lock_wait_s=1)
    opened = open_mysql_hot(server, groups=GROUPS)
    yield opened.store
    opened.close()


def opened(harness: MysqlHarness, **changes: Any) -> MysqlHot:
    return open_mysql_hot(msgspec.structs.replace(harness.server, **changes), groups=GROUPS)


class TestCommit:
    """The moment after which nothing is repeated."""

    @pytest.mark.parametrize(
        ("fault", "is_written"), [(Fault.CUT_AFTER, True), (Fault.HANG_AFTER, True), (Fault.CUT_BEFORE, False)]
    )
    def test_an_answer_that_does_not_come_is_an_unknown_outcome(
        self, store: HotStore, behind: HotStore, proxy: CuttingProxy, fault: Fault, *, is_written: bool
    ) -> None:
        """Lost, or not there in time, or never asked: it looks the same from here, and COMMIT is sent once."""
        draft, hooks = a_draft(), list[int]()
        proxy.arm(b"COMMIT", fault)
        with pytest.raises(OutcomeUnknown):
            behind.create([draft], before_commit=lambda: hooks.append(1))
        assert (proxy.seen, hooks, behind.transactions) == (1, [1], 0)
        [found] = store.load([draft.order.order_id])
        assert (found is not None) is is_written
        proxy.disarm()
        assert [type(outcome).__name__ for outcome in behind.create([draft])] == [
            "Replayed" if is_written else "Created"
        ]

    def test_a_change_is_as_unknown_as_a_create(self, store: HotStore, behind: HotStore, proxy: CuttingProxy) -> None:
        """And it has happened, once."""
        order = create(store)
        proxy.arm(b"COMMIT", Fault.CUT_AFTER)
        with pytest.raises(OutcomeUnknown):
            behind.change([to(order, Status.PROCESSING)], now_us=0)
        [now] = store.load([order.order_id])
        assert now is not None
        assert (now.status, now.version) == (Status.PROCESSING, 2)

    def test_what_writes_nothing_is_never_unknown(self, store: HotStore, behind: HotStore, proxy: CuttingProxy) -> None:
        """A batch of replays sends no COMMIT, so there is none whose answer could be lost."""
        draft = a_draft()
        store.create([draft])
        proxy.arm(b"COMMIT", Fault.CUT_AFTER)
        assert [type(outcome).__name__ for outcome in behind.create([draft])] == ["Replayed"]
        assert proxy.seen == 0

    def test_a_connection_that_is_killed_before_commit_wrote_nothing(
        self, mariadb: MariadbServer, store: HotStore
    ) -> None:
        """The hook runs right before COMMIT; that the connection is gone is found by COMMIT itself."""
        draft = a_draft()

        def kill_all() -> None:
            with mariadb.session() as run:
                own = run("SELECT CONNECTION_ID()")[0][0]
                for (other,) in run("SELECT id FROM processlist WHERE user = 'orderctl'"):
                    if other != own:
                        run(f"KILL {other}")

        with pytest.raises(OutcomeUnknown):
            store.create([draft], before_commit=kill_all)
        assert store.load([draft.order.order_id]) == [None]


class TestBeforeCommit:
    """Whatever happens here, nothing was written."""

    @pytest.mark.parametrize(
        "statement", [b"INSERT INTO order_refs", b"INSERT INTO orders", b"SELECT order_id, version"]
    )
    @pytest.mark.parametrize("fault", Fault)
    def test_a_lost_connection_leaves_nothing_behind(
        self, store: HotStore, behind: HotStore, proxy: CuttingProxy, statement: bytes, fault: Fault
    ) -> None:
        """No order, no reference, and no lock for longer than the server takes to notice."""
        draft, hooks = a_draft(), list[int]()
        proxy.arm(statement, fault)
        with pytest.raises(TierUnavailable):
            behind.create([draft], before_commit=lambda: hooks.append(1))
        assert (proxy.seen, hooks) == (1, [])
        proxy.close()
        assert store.load([draft.order.order_id]) == [None]
        assert isinstance(store.create([draft])[0], Created)

    def test_a_server_that_is_not_there_is_unavailable(self, harness: MysqlHarness) -> None:
        """Its address is in the message."""
        with pytest.raises(TierUnavailable, match=r"127\.0\.0\.1:9/"):
            opened(harness, port=9)

    def test_a_wrong_password_is_unavailable_with_a_hint(self, harness: MysqlHarness) -> None:
        """It may be put right while a daemon waits."""
        with pytest.raises(TierUnavailable, match="Access denied") as caught:
            opened(harness, password=Secret("wrong"))
        assert caught.value.hint is not None
        assert "password" in caught.value.hint

    @pytest.mark.parametrize(
        "value",
        [{"payment_method": "x" * 256}, {"merchant_id": "x" * 256}, {"currency": "EUROPEANS"}, {"amount": -1}],
        ids=["text", "key", "currency", "number"],
    )
    def test_what_the_columns_cannot_hold_is_rejected(self, store: HotStore, value: dict[str, Any]) -> None:
        """Never cut to size, and whole: the batch's good order is not written either."""
        good = a_draft()
        with pytest.raises(TierRejected):
            store.create([good, a_draft(**value)])
        assert store.load([good.order.order_id]) == [None]

    def test_a_version_that_is_not_exact_in_a_double_is_rejected(
        self, mariadb: MariadbServer, harness: MysqlHarness
    ) -> None:
        """By the constraint, in the database's own words; the row is as it was."""
        store = harness.open().store
        order = create(store)
        with mariadb.session(database=harness.server.database) as run:
            run("UPDATE orders SET version = 9007199254740991")
        with pytest.raises(TierRejected, match="orders_version_exact"):
            store.change([to(order, Status.SUCCESS)], now_us=0)
        assert store.load([order.order_id]) == [msgspec.structs.replace(order, version=9007199254740991)]


class TestLocks:
    """Rows that somebody else holds."""

    def test_a_deadlock_is_cured(self, mariadb: MariadbServer, harness: MysqlHarness) -> None:
        """The store is the one that is undone, since it has written less, and it goes through the second time."""
        hot = opened(harness, lock_wait_s=LOCK_S)
        store = hot.store
        one, two = sorted((create(store), create(store)), key=lambda order: order.order_id)
        with mariadb.session(database=harness.server.database) as run, ThreadPoolExecutor(1) as pool:
            run("BEGIN")
            values = ", ".join(f"('weight-{number}', 'test', 'x', 0)" for number in range(200))
            run(f"INSERT INTO heartbeats (instance, daemon, state, beat_at) VALUES {values}")
            run(_lock(two))
            changing = pool.submit(store.change, [to(two, Status.SUCCESS), to(one, Status.SUCCESS)], now_us=0)
            with mariadb.session() as look:
                wait_for(lambda: look(WAITING)[0][0], "the store waits for a row")
            run(_lock(one))  # given at once, since the store's transaction was undone
            run("ROLLBACK")
            assert [type(outcome) for outcome in changing.result(DEADLINE_S)] == [Changed, Changed]
        assert store.transactions == 3
        hot.close()

    def test_a_wait_in_vain_is_repeated(self, mariadb: MariadbServer, harness: MysqlHarness) -> None:
        """As a whole, from BEGIN on; the hook runs where the transaction comes to its end at last."""
        hot = opened(harness, lock_wait_s=int(ANSWER_S))
        hooks: list[int] = []
        with mariadb.session(database=harness.server.database) as run, ThreadPoolExecutor(1) as pool:
            run("BEGIN")
            run(_claim(an_order(merchant_ref="held")))
            batch = [a_draft(merchant_ref="held"), a_draft()]
            creating = pool.submit(hot.store.create, batch, before_commit=lambda: hooks.append(1))
            with mariadb.session() as look:
                first = wait_for(lambda: look(WAITERS), "the store waits for the reference")
                wait_for(lambda: look(WAITERS) not in {first, ()}, "another transaction waits in its place")
            run("ROLLBACK")
            assert [type(outcome) for outcome in creating.result(DEADLINE_S)] == [Created, Created]
        assert (hooks, hot.store.transactions) == ([1], 1)
        hot.close()

    @pytest.mark.parametrize("call", ["change", "load"])
    def test_a_lock_is_not_waited_for_for_ever(self, mariadb: MariadbServer, harness: MysqlHarness, call: str) -> None:
        """Twice `lock_wait_s`, and the database is unavailable for this call; nothing was written."""
        hot = opened(harness, lock_wait_s=1)
        order = create(hot.store)
        waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'"
        with mariadb.session(database=harness.server.database) as run:
            run("BEGIN")
            run(_lock(order))
            before = int(run(waits)[0][1])
            with pytest.raises(TierUnavailable, match="1205"):
                hot.store.load([order.order_id]) if call == "load" else hot.store.change(
                    [to(order, Status.SUCCESS)], now_us=0
                )
            assert int(run(waits)[0][1]) - before == 2
        assert hot.store.load([order.order_id]) == [order]
        hot.close()

    def test_a_reader_waits_for_the_writer_that_it_has_heard_of(
        self, mariadb: MariadbServer, harness: MysqlHarness
    ) -> None:
        """A plain read would give the row as it was before; `load` answers with what was committed meanwhile."""
        hot = opened(harness, lock_wait_s=LOCK_S)
        store = hot.store
        order = create(store)
        with mariadb.session(database=harness.server.database) as run, ThreadPoolExecutor(1) as pool:
            run("BEGIN")
            run(f"UPDATE orders SET status = 'processing', version = 2 WHERE order_id = X'{_hex(order)}'")
            loading = pool.submit(store.load, [order.order_id])
            with mariadb.session() as look:
                wait_for(lambda: look(WAITING)[0][0], "the reader waits")
            run("COMMIT")
            assert loading.result(DEADLINE_S) == [msgspec.structs.replace(order, status=Status.PROCESSING, version=2)]
        hot.close()


class TestPool:
    """Connections, and servers that come and go."""

    def test_a_restart_costs_nobody_an_error(self, mariadb: MariadbServer, harness: MysqlHarness) -> None:
        """Connections that rested break; the first call finds out, and takes a new one. Writers and readers alike."""
        store = harness.open().store
        order = create(store)
        at_once([partial(store.load, [order.order_id])] * 8)
        mariadb.kill()
        mariadb.start()
        assert store.load([order.order_id]) == [order]
        at_once([partial(store.load, [order.order_id])] * 8)
        mariadb.kill()
        mariadb.start()
        assert isinstance(store.change([to(order, Status.SUCCESS)], now_us=0)[0], Changed)

    def test_connections_that_were_killed_as_they_rested_cost_nobody_an_error(
        self, mariadb: MariadbServer, harness: MysqlHarness
    ) -> None:
        """By an administrator, or by the server's own limit on idle ones; it may say so before it closes."""
        store = harness.open().store
        order = create(store)
        for call in (partial(store.load, [order.order_id]), partial(store.create, [a_draft()])):
            at_once([partial(store.load, [order.order_id])] * 4)
            with mariadb.session() as run:
                own = run("SELECT CONNECTION_ID()")[0][0]
                for (other,) in run("SELECT id FROM processlist WHERE user = 'orderctl'"):
                    if other != own:
                        run(f"KILL {other}")
            assert len(call()) == 1

    def test_a_server_that_is_away_is_unavailable_and_then_back(
        self, mariadb: MariadbServer, harness: MysqlHarness
    ) -> None:
        """Nothing has to be opened anew."""
        store = harness.open().store
        order = create(store)
        mariadb.kill()
        for call in (partial(store.load, [order.order_id]), partial(store.create, [a_draft()])):
            with pytest.raises(TierUnavailable):
                call()
        mariadb.start()
        assert store.load([order.order_id]) == [order]
        create(store)

    def test_more_callers_than_connections_take_turns(self, harness: MysqlHarness) -> None:
        """And who waits for too long is told so."""
        hot = opened(harness, connections_max=2, answer_s=ANSWER_S)
        order = create(hot.store)
        assert at_once([partial(hot.store.load, [order.order_id])] * 20) == [[order]] * 20
        taken, release = threading.Barrier(3), threading.Event()
        with ThreadPoolExecutor(2) as pool:
            hold = partial(_hold, taken, release)
            held = [pool.submit(hot.store.create, [a_draft()], before_commit=hold) for _ in range(2)]
            taken.wait(DEADLINE_S)
            with pytest.raises(TierUnavailable, match="no connection was free"):
                hot.store.load([order.order_id])
            release.set()
            assert all(isinstance(future.result(DEADLINE_S)[0], Created) for future in held)
        hot.close()

    def test_a_closed_store_lets_go_of_its_connections(self, mariadb: MariadbServer, harness: MysqlHarness) -> None:
        """And takes no more calls."""
        hot = opened(harness)
        create(hot.store)
        hot.close()
        with pytest.raises(TierUnavailable, match="closed"):
            hot.store.load([an_order().order_id])
        database = harness.server.database
        count = f"SELECT COUNT(*) FROM processlist WHERE db = '{database}'"
        with mariadb.session() as run:
            own = 1  # the harness's
            wait_for(lambda: run(count)[0][0] <= own, "the server has closed its end")

    def test_what_was_acknowledged_survives_a_kill_amid_commits(
        self, mariadb: MariadbServer, harness: MysqlHarness
    ) -> None:
        """Every acknowledged order is there; every refused one is not; the unknown ones are there or not, whole."""
        store = harness.open().store
        acknowledged: list[Order] = []
        refused: list[Order] = []
        enough = threading.Event()

        def write() -> None:
            while not mariadb_is_gone.is_set():
                batch = drafts(5)
                try:
                    acknowledged.extend(o.order for o in store.create(batch) if isinstance(o, Created))
                except OutcomeUnknown:
                    continue
                except TierError:
                    refused.extend(draft.order for draft in batch)
                if len(acknowledged) > 200:
                    enough.set()

        mariadb_is_gone = threading.Event()
        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write) for _ in range(4)]
            assert enough.wait(DEADLINE_S)
            mariadb.kill()
            wait_for(lambda: refused, "the writers have noticed")
            mariadb_is_gone.set()
            for writer in writers:
                writer.result(DEADLINE_S)
        mariadb.start()
        assert store.load([order.order_id for order in acknowledged]) == acknowledged
        assert set(store.load([order.order_id for order in refused])) == {None}


class TestTls:
    """A connection that is encrypted to whom it should be, or none."""

    def test_the_right_authority_is_encrypted_to(self, mariadb: MariadbServer) -> None:
        """With an authority named, and only then."""
        for ca in (str(mariadb.ca), None):
            with mariadb.session(tls_ca=ca) as run:
                assert bool(run("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]) is (ca is not None)

    def test_another_authority_is_refused(self, mariadb: MariadbServer, tmp_path: Path) -> None:
        """Whoever signed the certificate, it was not the one who is named."""
        make_certificate(tmp_path, host="127.0.0.1")
        with (
            pytest.raises(TierUnavailable, match="certificate verify failed"),
            mariadb.session(tls_ca=str(tmp_path / "ca.pem")),
        ):
            raise AssertionError("it connected")

    def test_another_host_is_refused(self, mariadb: MariadbServer) -> None:
        """The certificate is good, and names 127.0.0.1."""
        with (
            pytest.raises(TierUnavailable, match="localhost"),
            mariadb.session(tls_ca=str(mariadb.ca), host="localhost"),
        ):
            raise AssertionError("it connected")

    def test_a_missing_file_is_said_so(self, mariadb: MariadbServer) -> None:
        """Instead of going on without it."""
        with pytest.raises(TierUnavailable, match="No such file"), mariadb.session(tls_ca="missing.pem"):
            raise AssertionError("it connected")


def _hex(order: Order) -> str:
    return order.order_id.replace("-", "")


def _lock(order: Order) -> str:
    return f"SELECT version FROM orders WHERE order_id = X'{_hex(order)}' FOR UPDATE"


def _claim(order: Order) -> str:
    return f"INSERT INTO order_refs VALUES ('{order.merchant_id}', '{order.merchant_ref}', X'{_hex(order)}', 'd', NULL)"


def _hold(taken: threading.Barrier, release: threading.Event) -> None:
    taken.wait(DEADLINE_S)
    assert release.wait(DEADLINE_S)
