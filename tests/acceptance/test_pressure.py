"""Look-ups under pressure, embedded and on real servers: an order is loaded once, and the databases bear no more than allowed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from msgspec import Struct
from redis import Redis

from orderctl.config import Config
from orderctl.ids import new_order_id
from orderctl.stores.mysql_driver import connect
from orderctl.stores.mysql_hot import server_of
from orderctl.stores.record import Kind
from orderctl.stores.rows import id_bytes
from orderctl.stores.tiers import Tiers
from tests.acceptance.deployment import Deployment
from tests.acceptance.pressure import PATIENCE_S, Gauges, Meter, Readers, at_once, create, kinds_of, look_up, p99_ms
from tests.acceptance.quiet import Record, opened
from tests.acceptance.server import PATIENTLY, Answer, Server, call, until
from tests.acceptance.weather import Weather
from tests.stack import needs

AT_ONCE = 1_000
BATCHES_A_SECOND, BATCH, SECONDS = 20, 500, 3
LOADS_MAX = 500
TAKEN_OVER_S = 4.0
"""From a kill to the answer that another process has loaded."""
ORDERS = 5_000


class Place(Struct, frozen=True):
    """Where servers run, and how to start more of them there."""

    data_dir: Path
    settings: dict[str, str]
    config: Config
    orders: int

    @property
    def loads_per_s(self) -> int:
        """So few that it is felt."""
        return max(2_000, self.orders // 10)

    @property
    def long_s(self) -> float:
        """How long reading all of the orders may take."""
        return 60 + self.orders / 1_000

    def server(self, *daemons: str) -> Server:
        bounds = {"LOADS_MAX": LOADS_MAX, "LOADS_PER_S": self.loads_per_s}
        settings = {f"ORDERCTL_QUERY__{name}": str(value) for name, value in bounds.items()}
        return Server(self.data_dir, *daemons, settings=self.settings | settings)

    def tiers(self) -> AbstractContextManager[Tiers]:
        return opened(self.data_dir, self.config)


@pytest.fixture(params=["embedded", pytest.param("real", marks=needs("sql", "redis", "kafka", "cassandra"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A deployment that is ready to be served."""
    if request.param == "embedded":
        return Place(tmp_path / "data", {}, Config(), request.config.getoption("orders") or ORDERS)
    place: Place = request.getfixturevalue("place_of_real_servers")
    return place


@pytest.fixture
def place_of_real_servers(request: pytest.FixtureRequest, deployment: Deployment) -> Place:
    """Such a deployment on real servers."""
    return Place(
        deployment.data_dir, deployment.settings, deployment.config, request.config.getoption("orders") or ORDERS
    )


@pytest.fixture
def servers(place: Place) -> Iterator[tuple[Server, Server]]:
    """A command and a query server, each a process."""
    with place.server("command") as command, place.server("query") as query:
        yield command, query


def empty_cache(place: Place, tiers: Tiers, order_ids: Sequence[str]) -> None:
    """Let the cache lose everything: FLUSHALL on every node; and the embedded one these orders."""
    if not place.config.redis.nodes:
        forget(tiers, order_ids)
    for node in place.config.redis.nodes:
        host, _, port = node.rpartition(":")
        with closing(Redis(host=host, port=int(port))) as connection:
            connection.flushall()


def forget(tiers: Tiers, order_ids: Sequence[str]) -> None:
    """Let the cache lose these orders."""
    for start in range(0, len(order_ids), BATCH):
        tiers.cache.invalidate(order_ids[start : start + BATCH])


def test_a_thousand_look_ups_at_once_are_one_load(
    place: Place, servers: tuple[Server, Server], record_property: Record
) -> None:
    """Of an order that the cache does not have: one order loaded from one database, and all are answered."""
    command, query = servers
    (order_id,) = create(command, 1)
    with place.tiers() as tiers:
        forget(tiers, [order_id])
    gauges = Gauges(query)
    answers = at_once(query.ready["query"], f"/v1/orders/{order_id}", query.key("demo"), AT_ONCE)
    assert Counter(answer.status for answer in answers) == {200: AT_ONCE}
    assert gauges.loads() == {"mysql": 1, "cassandra": 0}
    record_property("p99_ms", p99_ms([answer.seconds for answer in answers]))


def test_a_reader_that_died_with_the_lease_holds_nobody_up(
    place: Place, servers: tuple[Server, Server], record_property: Record
) -> None:
    """Others are told `pending` until its time is over, and load then."""
    command, query = servers
    (order_id,) = create(command, 1)
    with place.tiers() as tiers:
        forget(tiers, [order_id])
        tiers.cache.lookup([order_id], tokens=[os.urandom(16)])
    died_s = time.monotonic()
    target = f"/v1/orders/{order_id}"
    early = query.query("GET", target)
    late = query.query("GET", target, Prefer="wait=8")
    seconds = time.monotonic() - died_s
    assert (early.status, early.json, late.status) == (202, {"lookup": "pending"}, 200)
    assert late.headers["cache-status"] == "redis; fwd=miss; detail=mysql"
    record_property("seconds", round(seconds, 2))


def test_ids_that_were_never_created_are_a_bounded_load(
    place: Place, servers: tuple[Server, Server], record_property: Record
) -> None:
    """10 000 a second in batches of 500: none is found, none is an error, and no more are loaded, or at a time, than allowed."""
    _, query = servers
    url, key = query.ready["query"], query.key("demo")
    gauges = Gauges(query)
    meter = Meter(gauges)
    batches = [[strange(n * BATCH + i) for i in range(BATCH)] for n in range(BATCHES_A_SECOND * SECONDS)]
    in_flight = [0.0]
    asking: list[Future[Answer]] = []
    with ThreadPoolExecutor(32) as clients, meter.reading():
        began_s = time.monotonic()
        for number, batch in enumerate(batches):  # at their times, whether those before were answered or not
            threading.Event().wait(began_s + number / BATCHES_A_SECOND - time.monotonic())
            asking.append(clients.submit(look_up, url, key, batch))
            in_flight.append(gauges.read()["loads_in_flight"])
        told = sum((kinds_of(f.result(), b) for f, b in zip(asking, batches, strict=True)), Counter[str]())
        seconds = time.monotonic() - began_s
    assert set(told) <= {"not_found", "pending"}
    assert told["not_found"] > 0
    assert max(in_flight) <= 2 * LOADS_MAX
    most_per_s = meter.check(place.loads_per_s)
    again = kinds_of(look_up(url, key, batches[-1], Prefer="wait=10"), batches[-1])
    assert again == {"not_found": BATCH}
    seen = {
        "most_in_flight": max(in_flight),
        "most_loads_per_s": most_per_s,
        "ids_per_s": round(told.total() / seconds),
    }
    for name, value in {**told, **seen}.items():
        record_property(name, value)


def strange(number: int) -> str:
    return new_order_id(time.time_ns() // 1_000_000, number % 4096, os.urandom)


def test_a_cold_cache_takes_no_database_down(
    place: Place, servers: tuple[Server, Server], record_property: Record
) -> None:
    """Every record vanishes under a steady load: no wrong answer, no 404, bounded loads, and soon all are hits again."""
    command, query = servers
    order_ids = create(command, place.orders)
    gauges = Gauges(query)
    meter = Meter(gauges)
    readers = Readers(query.ready["query"], query.key("demo"), order_ids)
    with place.tiers() as tiers, readers.reading(), meter.reading():
        until(lambda: readers.count("found") > place.orders, seconds=place.long_s, what="all were read once")
        before = gauges.loads()
        empty_cache(place, tiers, order_ids)
        cold_s = time.monotonic()
        until(lambda: hit_rate(place, gauges, readers) > 0.99, seconds=place.long_s, what="a hit rate of 99 %")
        seconds = time.monotonic() - cold_s
    assert set(readers.told) <= {"found", "pending"}, readers.told
    loaded = gauges.loads()["mysql"] - before["mysql"]
    assert loaded <= 1.2 * place.orders
    record_property("most_loads_per_s", meter.check(place.loads_per_s))
    record_property("loads", loaded)
    record_property("seconds_to_99_percent_hits", round(seconds, 2))
    record_property("look_ups", readers.told.total())


def hit_rate(place: Place, gauges: Gauges, readers: Readers) -> float:
    """The part of the next look-ups of all orders that needs no database."""
    loads, found = gauges.loads()["mysql"], readers.told.total()
    until(
        lambda: readers.told.total() > found + place.orders, seconds=place.long_s, what="all were asked for once more"
    )
    return 1 - (gauges.loads()["mysql"] - loads) / (readers.told.total() - found)


@needs("sql", "redis", "kafka", "cassandra")
@pytest.mark.parametrize(("how", "turns"), [("freeze", 3), ("stop", 1)])
def test_an_archive_that_is_away_slows_nobody_who_does_not_need_it(
    place_of_real_servers: Place, weather: Weather, record_property: Record, how: str, turns: int
) -> None:
    """Orders of the cache and of MySQL are answered as before, without one call to Cassandra. The times are for a report."""
    place = place_of_real_servers
    took: dict[str, list[float]] = {"there": [], "away": []}
    with place.server("command") as command, place.server("query") as query, place.tiers() as tiers:
        order_ids = create(command, 600)
        key, gauges = query.key("demo"), Gauges(query)
        for archive in ("there", "away") * turns:
            if archive == "away":
                weather.freeze("cassandra") if how == "freeze" else weather.stop("cassandra")
            forget(tiers, order_ids[::2])
            took[archive] += [lookup_s(query, key, order_id) for order_id in order_ids]
            weather.thaw()
        assert gauges.loads()["cassandra"] == 0
        assert gauges.loads()["mysql"] >= len(order_ids) * turns
    record_property("p99_ms", {archive: p99_ms(seconds) for archive, seconds in took.items()})


def lookup_s(query: Server, key: str, order_id: str) -> float:
    """How long a look-up of an order that is there takes."""
    began_s = time.monotonic()
    answer = call(query.ready["query"], "GET", f"/v1/orders/{order_id}", key, Prefer=PATIENTLY)
    assert answer.status == 200, answer.body
    return time.monotonic() - began_s


@contextmanager
def locked(config: Config, order_id: str) -> Iterator[Callable[[], None]]:
    """Another transaction holds the order's row; gives what lets it go."""
    with closing(connect(server_of(config.mysql.shards[0]))) as connection:
        connection.begin()
        with connection.cursor() as cursor:
            cursor.execute("SELECT version FROM orders WHERE order_id = %s FOR UPDATE", (id_bytes(order_id),))
        yield connection.rollback


@needs("sql", "redis", "kafka", "cassandra")
def test_the_holder_of_a_lease_is_killed_in_the_middle_of_its_load(
    place_of_real_servers: Place, tmp_path: Path, record_property: Record
) -> None:
    """Its load waits for a lock on the row; another process loads the order within 4 s of the kill."""
    place = place_of_real_servers
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place.data_dir / "keys", elsewhere / "keys")
    with (
        place.server("command") as command,
        place.server("query") as other,
        Server(elsewhere, "query", settings=place.settings) as holder,
        place.tiers() as tiers,
        ThreadPoolExecutor(1) as client,
    ):
        (order_id,) = create(command, 1)
        forget(tiers, [order_id])
        target = f"/v1/orders/{order_id}"
        with locked(place.config, order_id) as let_go:
            held = client.submit(holder.query, "GET", target)
            until(lambda: is_leased(tiers, order_id), seconds=PATIENCE_S, what="the holder has the lease")
            assert other.query("GET", target).status == 202
            holder.kill()
            killed_s = time.monotonic()
            let_go()
            answer = other.query("GET", target, Prefer="wait=8")
            seconds = time.monotonic() - killed_s
        assert answer.status == 200
        assert held.exception(30) is not None, "the holder died, and answered nobody"
        record_property("seconds", round(seconds, 2))
        assert seconds < TAKEN_OVER_S


def is_leased(tiers: Tiers, order_id: str) -> bool:
    (entry,) = tiers.cache.get([order_id])
    return entry is not None and entry.kind is Kind.LEASE
