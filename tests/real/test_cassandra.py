"""The archive on Cassandra in bad weather: a node that hangs, is cut off, or is not there yet, and batches of every shape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from msgspec import structs

from orderctl.clock import SystemClock
from orderctl.errors import TierUnavailable
from orderctl.order import Order
from orderctl.stores.cassandra import CassandraArchiveStore, open_cassandra_archive
from orderctl.stores.cassandra_driver import BATCH_BYTES_MAX, RECONNECT_S, CassandraAccess
from orderctl.stores.cassandra_link import PAUSE_S
from tests.contract.archive_cassandra_harness import LAYOUT, TemporaryKeyspace
from tests.contract.archive_contract_writing import days_later
from tests.contract.archive_harness import a_final, at_version, finals, ref_of
from tests.real.tcp_proxy import TcpProxy
from tests.stack import RunningStack, needs

pytestmark = needs("cassandra")

CONNECT_S = 3.0
ANSWER_S = 3.0
SLACK_S = 30.0
"""A busy machine is slow to notice that time is up. Whoever waits for one part after another waits for hours."""
RECOVERY_S = 60.0

Call = Callable[[CassandraArchiveStore], object]


@pytest.fixture(scope="module")
def keyspace(stack: RunningStack) -> Iterator[TemporaryKeyspace]:
    keyspace = TemporaryKeyspace(stack.config.cassandra)
    keyspace.migrate()
    yield keyspace
    keyspace.drop()


@pytest.fixture
def proxy(keyspace: TemporaryKeyspace) -> Iterator[TcpProxy]:
    proxy = TcpProxy(keyspace.access.hosts[0], keyspace.access.port)
    yield proxy
    proxy.close()


@pytest.fixture
def access(keyspace: TemporaryKeyspace, proxy: TcpProxy) -> CassandraAccess:
    """By way of the proxy, impatiently."""
    return structs.replace(
        keyspace.access, hosts=("127.0.0.1",), port=proxy.port, connect_s=CONNECT_S, answer_s=ANSWER_S
    )


@pytest.fixture
def store(access: CassandraAccess) -> Iterator[CassandraArchiveStore]:
    store = open_cassandra_archive(access, LAYOUT, clock=SystemClock())
    answers_at_last(store)
    yield store
    store.close()


@pytest.fixture
def patient(keyspace: TemporaryKeyspace) -> Iterator[CassandraArchiveStore]:
    """For those who have much to write, and no weather."""
    store = open_cassandra_archive(keyspace.access, LAYOUT, clock=SystemClock())
    answers_at_last(store)
    yield store
    store.close()


def calls() -> list[Call]:
    """Every call that asks a node."""
    order = a_final()
    return [
        lambda store: store.ping(),
        lambda store: store.write([order]),
        lambda store: store.load([order.order_id]),
        lambda store: store.resolve([ref_of(order)]),
    ]


def seconds(work: Callable[[], object]) -> float:
    clock = SystemClock()
    begun_s = clock.monotonic_s()
    work()
    return clock.monotonic_s() - begun_s


def fails(store: CassandraArchiveStore, call: Call) -> None:
    with pytest.raises(TierUnavailable):
        call(store)


def answers_at_last(store: CassandraArchiveStore) -> None:
    """Ask again and again, as daemons do."""
    clock, pause = SystemClock(), threading.Event()
    deadline_s = clock.monotonic_s() + RECOVERY_S
    while clock.monotonic_s() < deadline_s:
        with suppress(TierUnavailable):
            store.ping()
            return
        clock.wait(pause, 0.05)
    pytest.fail(f"the archive was not found again within {RECOVERY_S} s")


def test_a_node_that_hangs_fails_a_call_in_time_and_is_found_again(
    store: CassandraArchiveStore, proxy: TcpProxy
) -> None:
    """Each call by itself; what was written before is there afterwards, and nobody has to open anything anew."""
    order = a_final()
    store.write([order])
    proxy.hang()
    for call in calls():
        assert seconds(partial(fails, store, call)) < ANSWER_S + SLACK_S
    proxy.heal()
    answers_at_last(store)
    assert store.load([order.order_id]) == [order]


def test_a_node_that_is_cut_off_fails_a_call_in_time_and_is_found_again(
    store: CassandraArchiveStore, proxy: TcpProxy
) -> None:
    """Connections break under the store, and new ones are refused for longer than it takes to try once."""
    order = a_final()
    store.write([order])
    for _ in range(2):
        proxy.cut()
        until_s = SystemClock().monotonic_s() + 1.5 * RECONNECT_S
        while SystemClock().monotonic_s() < until_s:
            for call in calls():
                assert seconds(partial(fails, store, call)) < ANSWER_S + SLACK_S
        proxy.heal()
        answers_at_last(store)
        assert store.load([order.order_id]) == [order]


def test_a_large_batch_fails_in_time_too(store: CassandraArchiveStore, proxy: TcpProxy) -> None:
    """The first part that is not answered ends it; the others are not waited for one after another."""
    orders = [days_later(order, number) for number, order in enumerate(finals(1000))]
    proxy.hang()
    assert seconds(partial(fails, store, lambda s: s.write(orders))) < ANSWER_S + SLACK_S
    assert seconds(partial(fails, store, lambda s: s.load([o.order_id for o in orders]))) < ANSWER_S + SLACK_S


def test_a_write_of_unknown_outcome_is_written_again(store: CassandraArchiveStore, proxy: TcpProxy) -> None:
    """What was on its way may arrive after its repetition, and after a later version: the rows end the same."""
    orders = finals(50)
    store.ping()
    proxy.hang()
    fails(store, lambda s: s.write(orders))
    proxy.heal()
    answers_at_last(store)
    store.write(orders)
    assert store.load([order.order_id for order in orders]) == orders
    newer = [at_version(order, 9) for order in orders]
    store.write(newer)
    store.write(orders)
    assert store.load([order.order_id for order in orders]) == newer


@pytest.mark.parametrize("weather", [TcpProxy.hang, TcpProxy.cut], ids=["hangs", "is cut off"])
def test_a_process_starts_without_the_archive(
    access: CassandraAccess, proxy: TcpProxy, weather: Callable[[TcpProxy], None]
) -> None:
    """In bounded time; it says that the archive is away, in between at once, and has it as soon as it is there."""
    weather(proxy)
    opened: list[CassandraArchiveStore] = []
    bound_s = CONNECT_S + SLACK_S
    assert seconds(lambda: opened.append(open_cassandra_archive(access, LAYOUT, clock=SystemClock()))) < bound_s
    [store] = opened
    try:
        for call in calls():
            assert seconds(partial(fails, store, call)) < bound_s
        assert min(seconds(partial(fails, store, lambda s: s.ping())) for _ in range(20)) < PAUSE_S / 2
        proxy.heal()
        answers_at_last(store)
    finally:
        store.close()


def test_closing_ends_calls_that_wait(access: CassandraAccess, proxy: TcpProxy) -> None:
    """They say that the archive cannot be reached, and do not sit out their time."""
    patient = structs.replace(access, answer_s=60.0)
    store = open_cassandra_archive(patient, LAYOUT, clock=SystemClock())
    store.load([a_final().order_id])
    proxy.hang()
    waiting = threading.Thread(target=partial(fails, store, lambda s: s.load([a_final().order_id])))
    waiting.start()
    assert proxy.wait_until_held()
    store.close()
    waiting.join(RECOVERY_S)
    assert not waiting.is_alive()


def test_a_wrong_data_centre_is_told(keyspace: TemporaryKeyspace) -> None:
    """Nobody is asked who is far away; the hint names the key."""
    elsewhere = structs.replace(keyspace.access, datacenter="mars")
    store = open_cassandra_archive(elsewhere, LAYOUT, clock=SystemClock())
    try:
        with pytest.raises(TierUnavailable) as caught:
            store.ping()
        assert "datacenter" in str(caught.value.hint)
    finally:
        store.close()


def large(order: Order) -> Order:
    """As large as an order may be."""
    return structs.replace(order, metadata='{"a":"' + "b" * 1010 + '"}', status_reason="\N{OK HAND SIGN}" * 256)


def test_a_partition_takes_more_than_one_batch(patient: CassandraArchiveStore) -> None:
    """1000 orders of one group and hour, of the largest size, are more than the server takes at once."""
    first = a_final()
    orders = [structs.replace(large(first), order_id=f"{first.order_id[:-4]}{number:04x}") for number in range(1000)]
    assert len(orders) * 2000 > 40 * BATCH_BYTES_MAX
    patient.write(orders)
    assert patient.load([order.order_id for order in orders]) == orders


def test_orders_of_many_slots_share_a_call(patient: CassandraArchiveStore) -> None:
    """Every order in a partition of its own."""
    orders = [days_later(order, number) for number, order in enumerate(finals(1500))]
    patient.write(orders)
    assert patient.load([order.order_id for order in orders]) == orders
    assert patient.resolve([ref_of(order) for order in orders]) == [order.order_id for order in orders]
