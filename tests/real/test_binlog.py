"""Bad weather on the binlog: connections that are killed or hang, killed servers, purged files, odd settings, long backlogs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderctl.clock import SystemClock
from orderctl.errors import TierRejected, TierUnavailable
from orderctl.event import Op
from orderctl.order import Order, Status
from orderctl.secret import Secret
from orderctl.stores.binlog import BinlogFeed, BinlogReader
from orderctl.stores.feed import Boundary, FeedItem, FeedPurged
from orderctl.stores.hot import Created, Draft, HotStore
from tests.contract.feed_harness import SHARD, boundaries, change_all, create_all, events, transactions
from tests.contract.feed_mysql_harness import MysqlFeedHarness, end_of_binlog, includes
from tests.contract.hot_harness import an_order, drafts
from tests.real.mariadb_server import DEADLINE_S, MariadbServer, mariadb, wait_for
from tests.real.tcp_proxy import TcpProxy
from tests.stack import needs

__all__ = ["mariadb"]

pytestmark = needs()

BACKLOG = 20_000
SILENCE_MAX_S = 5.0
MEMORY_MAX = 8 << 20
"""The backlog itself is some 20 MB as events."""
DUMPS = "SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)

Run = Callable[[str], Any]


@pytest.fixture
def run(mariadb: MariadbServer) -> Iterator[Run]:
    """Statements of an administrator; the server writes whole rows."""
    with mariadb.session() as run:
        run("SET GLOBAL binlog_row_metadata = FULL")
        yield run


@pytest.fixture
def harness(mariadb: MariadbServer, run: Run) -> Iterator[MysqlFeedHarness]:
    harness = MysqlFeedHarness(mariadb.server)
    yield harness
    harness.close()


@pytest.fixture
def store(harness: MysqlFeedHarness) -> HotStore:
    return harness.open_store()


@pytest.fixture
def feed(harness: MysqlFeedHarness) -> BinlogFeed:
    """From the oldest file that is kept on."""
    return BinlogFeed(harness.server, shard=SHARD, clock=SystemClock())


@pytest.fixture
def opened(feed: BinlogFeed) -> Iterator[Callable[[str | None], BinlogReader]]:
    """Opens readers, and closes them in the end."""
    readers: list[BinlogReader] = []

    def open_reader(position: str | None) -> BinlogReader:
        readers.append(feed.open(position))
        return readers[-1]

    yield open_reader
    for reader in readers:
        reader.close()


Opened = Callable[[str | None], BinlogReader]


def read_to_end(reader: BinlogReader, harness: MysqlFeedHarness, limit: int = 100) -> list[FeedItem]:
    """Everything that was committed before."""
    end = end_of_binlog(harness.server)
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + DEADLINE_S
    items: list[FeedItem] = []
    while not includes(reader.position, end):
        assert clock.monotonic_s() < deadline_s, f"{reader.position} does not come to {end}"
        items += reader.read(limit, 0.05)
    while page := reader.read(limit, 0.0):
        items += page
    return items


def lost(reader: BinlogReader) -> TierUnavailable:
    """Read until the connection is found lost."""
    with pytest.raises(TierUnavailable) as caught:
        wait_for(lambda: reader.read(100, 0.2) and None, "the reader notices")
    return caught.value


def test_a_killed_connection_is_told(harness: MysqlFeedHarness, store: HotStore, opened: Opened, run: Run) -> None:
    """In the middle of a transaction: the reader is done for, and another goes on from the boundary before it."""
    create_all(store, 2)
    batch = create_all(store, 9)
    reader = opened(harness.begin)
    first = reader.read(3, DEADLINE_S)
    assert isinstance(first[-1], Boundary)
    assert len(reader.read(4, DEADLINE_S)) == 4
    for (number,) in run(DUMPS):
        run(f"KILL {number}")
    lost(reader)
    with pytest.raises(TierUnavailable, match="closed"):
        reader.read(1, 0.0)
    rows = transactions(read_to_end(opened(first[-1].position), harness))
    assert [[event.order for event in transaction] for transaction in rows] == [batch]


def test_each_boundary_is_where_a_reader_may_go_on(harness: MysqlFeedHarness, store: HotStore, opened: Opened) -> None:
    """Also over a change of files, others' transactions and a restart of the server: exactly what follows."""
    for number in range(1, 6):
        change_all(store, create_all(store, number), Status.SUCCESS)
    items = read_to_end(opened(harness.begin), harness, 3)
    assert len(boundaries(items)) == 10
    for index, item in enumerate(items):
        if isinstance(item, Boundary):
            assert read_to_end(opened(item.position), harness, 7) == items[index + 1 :]


def test_a_server_that_is_killed_and_comes_back(
    harness: MysqlFeedHarness, store: HotStore, opened: Opened, mariadb: MariadbServer
) -> None:
    """What it acknowledged is in its binlog; tables are numbered anew, files begin anew, positions stay."""
    first = create_all(store, 3)
    reader = opened(harness.begin)
    before = read_to_end(reader, harness)
    mariadb.kill()
    lost(reader)
    mariadb.start()
    with mariadb.session() as run:
        run("SET GLOBAL binlog_row_metadata = FULL")
    harness.hot.restart()
    second = create_all(harness.open_store(), 2)
    after = read_to_end(opened(boundaries(before)[-1]), harness)
    assert [event.order for event in events(before) + events(after)] == first + second
    assert read_to_end(opened(harness.begin), harness) == before + after


def test_a_purged_binlog_is_told(harness: MysqlFeedHarness, store: HotStore, opened: Opened, run: Run) -> None:
    """Whoever stands before what was purged is told so and what to do; a new reader begins with what is kept."""
    create_all(store, 2)
    [position] = boundaries(read_to_end(opened(harness.begin), harness))
    change_all(store, create_all(store, 1), Status.FAILED)
    run("FLUSH BINARY LOGS")
    kept = create_all(store, 2)
    newest = run("SHOW BINARY LOGS")[-1][0]

    def is_purged() -> bool:
        # A file that a reader is being sent is not purged, and the server notices late that a reader has gone.
        for (number,) in run(DUMPS):
            run(f"KILL {number}")
        run(f"PURGE BINARY LOGS TO '{newest}'")
        return len(run("SHOW BINARY LOGS")) == 1

    wait_for(is_purged, "the old files are purged")
    with pytest.raises(FeedPurged, match="purged") as caught:
        opened(position)
    assert "binlog_expire_logs_seconds" in str(caught.value.hint)
    items = read_to_end(opened(None), harness)
    assert [event.order for event in events(items)] == kept
    assert read_to_end(opened(boundaries(items)[-1]), harness) == []


def test_a_position_of_another_database_is_refused(harness: MysqlFeedHarness, opened: Opened) -> None:
    """One that the server never came to; and what is no position of such a server at all."""
    with pytest.raises(FeedPurged, match="not in the master's binlog"):
        opened("0-1-999999")
    for position in ("", "x", "binlog.000001:4", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7"):
        with pytest.raises(TierRejected, match="no position"):
            opened(position)


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_metadata", "MINIMAL", "FULL"),
        ("log_bin_compress", "ON", "OFF"),
    ],
)
def test_a_server_that_is_set_otherwise_is_refused(opened: Opened, run: Run, name: str, bad: str, good: str) -> None:
    """Before a row of it is read, with the setting's name."""
    run(f"SET GLOBAL {name} = '{bad}'")
    try:
        with pytest.raises(TierRejected, match=f"{name} is {bad}"):
            opened(None)
    finally:
        run(f"SET GLOBAL {name} = '{good}'")


def test_a_server_that_cannot_be_reached(harness: MysqlFeedHarness, mariadb: MariadbServer) -> None:
    """Or that does not let us in."""
    for changes in ({"port": 1}, {"password": Secret("wrong")}):
        server = msgspec.structs.replace(harness.server, **changes)
        with pytest.raises(TierUnavailable):
            BinlogFeed(server, shard=SHARD, clock=SystemClock()).open(None)


def test_a_user_that_is_no_replica_is_refused(harness: MysqlFeedHarness, run: Run) -> None:
    """The hint says what to grant."""
    run("CREATE USER 'reader'@'127.0.0.1' IDENTIFIED BY 'reads'")
    run(f"GRANT SELECT ON {harness.server.database}.* TO 'reader'@'127.0.0.1'")
    server = msgspec.structs.replace(harness.server, user="reader", password=Secret("reads"))
    try:
        for position in (None, harness.begin):
            with pytest.raises(TierRejected) as caught:
                BinlogFeed(server, shard=SHARD, clock=SystemClock()).open(position)
            assert "REPLICATION SLAVE" in str(caught.value.hint)
    finally:
        run("DROP USER 'reader'@'127.0.0.1'")


def test_the_stream_may_be_encrypted(harness: MysqlFeedHarness, store: HotStore, mariadb: MariadbServer) -> None:
    """It waits, it goes on, and it holds what was written."""
    server = msgspec.structs.replace(harness.server, tls_ca=str(mariadb.ca))
    reader = BinlogFeed(server, shard=SHARD, clock=SystemClock()).open(harness.begin)
    try:
        for number in (1, 700):
            assert reader.read(9, 0.05) == []
            orders = create_all(store, number)
            assert [event.order for event in events(read_to_end(reader, harness))] == orders
    finally:
        reader.close()


def test_a_connection_that_hangs_is_noticed(harness: MysqlFeedHarness, store: HotStore) -> None:
    """A quiet server shows that it is there; when nothing comes any more, the reader is done for."""
    proxy = TcpProxy(harness.server.host, harness.server.port)
    server = msgspec.structs.replace(harness.server, port=proxy.port)
    feed = BinlogFeed(server, shard=SHARD, clock=SystemClock(), heartbeat_s=0.1, silence_max_s=SILENCE_MAX_S)
    try:
        reader = feed.open(harness.begin)
        try:
            create_all(store, 2)
            assert len(read_to_end(reader, harness)) == 3
            assert reader.read(9, 2 * SILENCE_MAX_S) == [], (
                "twice the silence that would be too long, but for heartbeats"
            )
            proxy.hang()
            assert "nothing came" in str(lost(reader))
        finally:
            reader.close()
    finally:
        proxy.close()


def test_a_schema_change_in_the_middle_is_followed(
    harness: MysqlFeedHarness, store: HotStore, opened: Opened, mariadb: MariadbServer
) -> None:
    """What comes before it is read by the old table, what comes after by the new."""
    before = create_all(store, 2)
    with mariadb.session(database=harness.server.database) as here:
        here(
            "ALTER TABLE orders ADD COLUMN note VARCHAR(20) DEFAULT 'new' AFTER amount, ADD COLUMN extra INT NULL FIRST"
        )
        after = create_all(store, 2)
        here("UPDATE orders SET extra = 7, status_reason = 'by hand'")
    found = events(read_to_end(opened(harness.begin), harness))
    assert [event.order for event in found[:4]] == before + after
    assert {event.order.status_reason for event in found[4:]} == {"by hand"}
    assert len(found) == 8


def test_rows_that_were_compressed_or_cut_are_refused(
    harness: MysqlFeedHarness, store: HotStore, opened: Opened, run: Run, mariadb: MariadbServer
) -> None:
    """By a session that was set otherwise than the server, or a server that was set otherwise for a while."""
    reader = opened(harness.begin)
    with mariadb.session(database=harness.server.database) as here:
        here("SET SESSION binlog_row_image = MINIMAL")
        create_all(store, 1)
        here("UPDATE orders SET amount = 7")
    with pytest.raises(TierRejected, match="lacks columns"):
        read_to_end(reader, harness)
    position = end_of_binlog(harness.server)
    run("SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10")
    try:
        create_all(store, 1)
    finally:
        run("SET GLOBAL log_bin_compress = OFF")
    with pytest.raises(TierRejected, match="compressed"):
        read_to_end(opened(position), harness)


def test_others_transactions_move_the_position_on(harness: MysqlFeedHarness, mariadb: MariadbServer) -> None:
    """Once in a while the reader of a quiet shard is given a boundary: its checkpoint must not stay until it is purged."""
    feed = BinlogFeed(harness.server, shard=SHARD, clock=SystemClock(), idle_boundary_s=0.0)
    reader = feed.open(end_of_binlog(harness.server))
    try:
        with mariadb.session(database=harness.server.database) as here:
            here("CREATE TABLE others (id INT PRIMARY KEY) ENGINE = InnoDB")
            here("INSERT INTO others VALUES (1), (2)")
        end = end_of_binlog(harness.server)
        items = read_to_end(reader, harness)
        assert items[-1] == Boundary(end)
        assert reader.read(9, 0.1) == []
    finally:
        reader.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 2**64 - 1), st.none() | TEXTS, st.integers(0, 2**62)), max_size=4)
)
def test_whatever_the_values_are(
    harness: MysqlFeedHarness, store: HotStore, values: list[tuple[str, str, int, str | None, int]]
) -> None:
    """What the server holds is what comes out of its binlog."""
    position = end_of_binlog(harness.server)
    wanted = [
        an_order(
            merchant_id=f"m{text}", payment_method=method, amount=amount, status_reason=reason, deadline_at=time_us
        )
        for text, method, amount, reason, time_us in values
    ]
    made = [o.order for o in store.create([Draft(order, bytes(32)) for order in wanted]) if isinstance(o, Created)]
    assert len(made) == len(wanted)
    reader = BinlogFeed(harness.server, shard=SHARD, clock=SystemClock()).open(position)
    try:
        found = [(event.op, event.order) for event in events(read_to_end(reader, harness))]
    finally:
        reader.close()
    assert sorted(found, key=_by_id) == sorted([(Op.CREATE, order) for order in made], key=_by_id)


def _by_id(found: tuple[Op, Order]) -> str:
    return found[1].order_id


def test_a_backlog_is_read_in_bounded_memory(harness: MysqlFeedHarness, store: HotStore, opened: Opened) -> None:
    """What a reader holds is a page and what it received ahead, however much there is, and nothing is left out."""
    for _ in range(BACKLOG // 500):
        store.create(drafts(500))
    end = end_of_binlog(harness.server)
    reader = opened(harness.begin)
    rows = ends = 0
    position = harness.begin
    tracemalloc.start()
    try:
        while position != end:
            page = reader.read(200, DEADLINE_S)
            assert 0 < len(page) <= 200
            positions = boundaries(page)
            rows, ends = rows + len(page) - len(positions), ends + len(positions)
            position = positions[-1] if positions else position
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (rows, ends) == (BACKLOG, BACKLOG // 500)
    assert peak < MEMORY_MAX
