"""Events of a Redis Cluster in bad weather: servers that die, hang, move, fail over, or do not let us have what we need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from time import monotonic

import pytest
from msgspec import structs
from redis.exceptions import MovedError

from orderctl.clock import SystemClock
from orderctl.errors import TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Order
from orderctl.secret import Secret
from orderctl.stores.expirations import Expiration, Gone
from orderctl.stores.redis import RedisCacheStore, entry_key, mark_key, timer_key
from orderctl.stores.redis_expirations import RedisExpirations, open_redis_expirations
from orderctl.stores.redis_nodes import Access
from tests.contract.cache_harness import GROUPS, an_order, filled, orders_of, put, token
from tests.contract.expirations_harness import hear, hear_of
from tests.real.redis_servers import DEADLINE_S, Move, RedisServers, Server, redis_servers, wait_for
from tests.real.redis_suite import group_on, is_answered
from tests.stack import needs

pytestmark = needs()

OPTION = "notify-keyspace-events"
TIMEOUT_S = 2.0
"""What a listener waits for a server that hangs."""
AWAY_S = 30.0
"""Servers that are away hold nobody up for longer, however busy the machine is: not for ever, nor one after another."""
USER = Access(username="app", password=Secret("secret"), timeout_s=TIMEOUT_S)


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    """A cluster of the test's own, that tells nothing until it is told to."""
    with redis_servers(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


@pytest.fixture
def cache(servers: RedisServers) -> Iterator[RedisCacheStore]:
    with closing(servers.open()) as store:
        yield store


@pytest.fixture
def listener(servers: RedisServers) -> Iterator[RedisExpirations]:
    """Somebody who has begun to listen."""
    with closing(listening(servers)) as found:
        found.poll(0)
        yield found


def listening(servers: RedisServers, access: Access | None = None) -> RedisExpirations:
    return open_redis_expirations(
        servers.addresses, groups=GROUPS, access=access or Access(timeout_s=TIMEOUT_S), clock=SystemClock()
    )


def due(group: int, *, in_ms: int = 100) -> Order:
    """A new order of the group with a deadline close by."""
    return structs.replace(orders_of(group, 1)[0], deadline_at=SystemClock().now_us() + in_ms * 1000)


def timer(order: Order) -> Expiration:
    return Expiration(order.order_id, Gone.TIMER)


def hears(cache: RedisCacheStore, listener: RedisExpirations, group: int, *, within_s: float = DEADLINE_S) -> bool:
    """Whether a timer of the group that is set now is heard of."""
    order = due(group, in_ms=20)
    cache.apply([put(order)])
    begin_s = monotonic()
    while monotonic() - begin_s < within_s:
        if timer(order) in listener.poll(0.05):
            return True
    return False


def hears_soon(cache: RedisCacheStore, listener: RedisExpirations, group: int) -> bool:
    """The same, for those who ask again with another timer: this one may have gone before anybody listened."""
    return hears(cache, listener, group, within_s=0.5)


def allow(servers: RedisServers, *rules: str) -> None:
    """Make a user of these rights on every server."""
    for server in servers.servers:
        server.ask("ACL", "SETUSER", "app", "reset", "on", ">secret", "~*", *rules)


def test_another_program_s_keys_are_passed_over(
    servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations
) -> None:
    """Though they look like ours at first sight; and what other databases' events there are is nobody's concern."""
    order = due(7, in_ms=200)
    foreign = ["session", "t:{7}:x", timer_key(an_order().order_id, GROUPS).replace("t:", "u:")]
    for server in servers.servers:
        for key in foreign:
            with suppress(MovedError):
                server.ask("SET", key, "", "PX", 10)
    cache.apply([put(order)])
    assert hear_of(listener, timer(order)) == [timer(order)]


def test_flags_that_are_there_stay(servers: RedisServers, listener: RedisExpirations) -> None:
    """Other programs may need them; what is missing is added, on each server, and once."""
    for server in servers.servers:
        assert set(server.ask("CONFIG", "GET", OPTION)[1].decode()) == set("Exe")
        server.ask("CONFIG", "SET", OPTION, "Kg")
    with closing(listening(servers)) as another:
        another.poll(0)
        assert another.deaf() == []
    for server in servers.servers:
        assert set(server.ask("CONFIG", "GET", OPTION)[1].decode()) == set("KgExe")


def test_a_server_that_forgot_is_told_again(
    servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations
) -> None:
    """Somebody has switched the events off; the connection is as it was."""
    for server in servers.servers:
        server.ask("CONFIG", "SET", OPTION, "")
    for group in [group_on(servers, server) for server in servers.servers]:
        wait_for(partial(hears_soon, cache, listener, group), "its events come again")


def test_a_server_that_is_restarted(servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations) -> None:
    """The others' events come meanwhile, and it is said that its own do not; then they do, though it began without."""
    gone, other = servers.servers[0], servers.servers[1]
    group, others = group_on(servers, gone), group_on(servers, other)
    gone.kill()
    assert hears(cache, listener, others)
    wait_for(lambda: listener.poll(0) or listener.deaf(), "it is missed")
    [line] = listener.deaf()
    assert line.startswith(f"127.0.0.1:{gone.port}: ")
    assert hears(cache, listener, others)
    gone.start()
    wait_for(lambda: is_answered(cache, group), "the server is back")
    wait_for(partial(hears_soon, cache, listener, group), "its events come again")
    assert listener.deaf() == []


def test_a_server_that_hangs(servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations) -> None:
    """It keeps nobody else's events back for long, is missed after a few unanswered signs, and comes back."""
    stuck, other = servers.servers[2], servers.servers[1]
    group, others = group_on(servers, stuck), group_on(servers, other)
    with stuck.hanging():
        orders = [due(others, in_ms=100 * number) for number in range(1, 30)]
        cache.apply([put(order) for order in orders])
        begin_s = monotonic()
        hear_of(listener, *map(timer, orders))
        assert monotonic() - begin_s < AWAY_S
        wait_for(lambda: listener.poll(0.05) or listener.deaf(), "it is missed")
        assert listener.deaf()[0].startswith(f"127.0.0.1:{stuck.port}: ")
    wait_for(lambda: is_answered(cache, group) and hears_soon(cache, listener, group), "its events come again")
    wait_for(lambda: listener.poll(0.05) or not listener.deaf(), "nobody is missed")


def test_all_servers_are_away(servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations) -> None:
    """It is an error within the time-outs, each time; afterwards all goes on by itself."""
    for server in servers.servers:
        server.kill()
    for _ in range(3):
        begin_s = monotonic()
        with pytest.raises(TierUnavailable, match="cache"):
            hear(listener, lambda heard: False)
        assert monotonic() - begin_s < AWAY_S
    for server in servers.servers:
        server.start()
    groups = [group_on(servers, server) for server in servers.servers]
    wait_for(lambda: is_answered(cache, *groups), "the cluster is back")
    wait_for(lambda: all(comes_back(cache, listener, group) for group in groups), "all events come again")


def comes_back(cache: RedisCacheStore, listener: RedisExpirations, group: int) -> bool:
    try:
        return hears_soon(cache, listener, group)
    except TierUnavailable:
        return False


def test_whoever_begins_before_the_cluster(servers: RedisServers) -> None:
    """Nothing is asked of it before the first poll, which says that it is away."""
    for server in servers.servers:
        server.kill()
    with closing(listening(servers)) as early:
        with pytest.raises(TierUnavailable, match="cache"):
            early.poll(0)
        assert early.deaf() != []


def replica_of(servers: RedisServers, primary: Server) -> Server:
    """A further server that copies all that the primary has."""
    replica = servers.add_server()
    servers.meet()
    wait_for(lambda: primary.node_id.encode() in replica.ask("CLUSTER", "NODES"), "it knows its primary")
    replica.ask("CLUSTER", "REPLICATE", primary.node_id)
    wait_for(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"), "it follows")
    return replica


def test_a_fail_over(servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations) -> None:
    """The new primary tells of what the old one was to, also of timers that were set there."""
    primary = servers.servers[0]
    group = group_on(servers, primary)
    replica = replica_of(servers, primary)
    order = due(group, in_ms=6_000)
    cache.apply([put(order)])
    wait_for(lambda: replica.ask("DBSIZE") == primary.ask("DBSIZE"), "the replica has all")
    primary.kill()
    replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
    hear_of(listener, timer(order))
    assert SystemClock().now_us() >= order.deadline_at
    wait_for(lambda: is_answered(cache, group) and hears_soon(cache, listener, group), "the new primary tells")
    wait_for(lambda: listener.poll(0.05) or not listener.deaf(), "the old one is not missed")


def test_a_slot_that_moves_to_a_new_server(
    servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations
) -> None:
    """A timer goes along, and whoever had it before is listened to as long as it owns anything."""
    group = 11
    source, target = servers.owner(group), servers.add_server()
    servers.meet()
    order = due(group, in_ms=8_000)
    cache.apply([put(order)])
    move = Move(group, source, target)
    move.begin()
    move.end()
    assert target.ask("EXISTS", timer_key(order.order_id, GROUPS)) == 1
    wait_for(lambda: all(server.owns(move.slot, target) for server in servers.servers), "all know of the move")
    hear_of(listener, timer(order))
    assert hears(cache, listener, group)
    assert hears(cache, listener, group_on(servers, source))


def test_writing_while_keys_are_at_both_ends(
    servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations
) -> None:
    """A timer that cannot be reached is no reason not to write its order, and none is made that the other end may have."""
    group = 11
    old, torn, loaded, new = (due(group, in_ms=10_000) for _ in range(4))
    cache.apply([put(old), put(torn)])
    for number, order in enumerate((old, torn), start=1):
        cache.lookup([order.order_id], tokens=[token(number)])
        assert cache.fill([filled(order, token(number))]) == [True]
    move = Move(group, servers.owner(group), next(s for s in servers.servers if s is not servers.owner(group)))
    move.begin()
    move.carry(entry_key(torn.order_id, GROUPS))
    cache.lookup([loaded.order_id], tokens=[token(3)])
    assert cache.fill([filled(loaded, token(3))]) == [True]
    orders = [structs.replace(order, version=2) for order in (old, torn, new)]
    cache.apply([put(order) for order in orders])
    move.end()
    left = cache.timer_ttl_ms([order.order_id for order in (old, torn, loaded, new)])
    assert [one is None for one in left] == [False, False, True, True]
    entries = cache.get([order.order_id for order in (old, torn, loaded)])
    assert [entry and entry.version for entry in entries] == [2, 2, 1]
    cache.apply([put(structs.replace(loaded, version=2)), put(new)])
    hear_of(listener, *map(timer, (old, torn, loaded, new)))


@pytest.mark.parametrize("refused", ["-config", "-config|set"])
def test_a_user_who_may_not_switch_events_on(servers: RedisServers, cache: RedisCacheStore, refused: str) -> None:
    """It is said of each server; once somebody else has switched them on, events come, and nothing is said any more."""
    allow(servers, "&*", "+@all", refused)
    groups = [group_on(servers, server) for server in servers.servers]
    with closing(listening(servers, USER)) as listener:
        assert listener.poll(0) == []
        lines = listener.deaf()
        assert len(lines) == len(servers.servers)
        assert all(OPTION in line and "Exe" in line for line in lines)
        for server in servers.servers:
            server.ask("CONFIG", "SET", OPTION, "Exe")
        assert all(hears(cache, listener, group) for group in groups)
        assert listener.deaf() == []


def test_a_user_who_may_not_listen(servers: RedisServers) -> None:
    """Nobody tells anything: an error, which says why."""
    allow(servers, "resetchannels", "+@all")
    with closing(listening(servers, USER)) as listener:
        with pytest.raises(TierUnavailable, match="NoPermissionError"):
            listener.poll(0)
        assert len(listener.deaf()) == len(servers.servers)


def test_a_few_among_many(servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations) -> None:
    """Soon, though by itself a server would look at all the other keys that expire some time first: for many minutes."""
    crowd = "for i = 1, 20000 do redis.call('SET', '{7}' .. ARGV[1] .. ':' .. i, '', 'PX', 3600000 + i) end"
    for number in range(10):
        servers.owner(7).ask("EVAL", crowd, 1, mark_key(7), number)
    passed = [due(7, in_ms=-1_000) for _ in range(20)]
    orders = [due(7, in_ms=500) for _ in range(200)]
    cache.apply([put(order) for order in passed + orders])
    hear_of(listener, *map(timer, passed + orders))
    assert SystemClock().now_us() >= max(order.deadline_at for order in orders)
    assert servers.owner(7).ask("KEYS", "t:*") == []


def test_a_flood_is_heard_whole(servers: RedisServers, cache: RedisCacheStore, listener: RedisExpirations) -> None:
    """Ten thousand deadlines in one moment."""
    deadline_at = SystemClock().now_us() + 3_000_000
    orders = [structs.replace(an_order(), deadline_at=deadline_at) for _ in range(10_000)]
    for start in range(0, len(orders), 500):
        cache.apply([put(order) for order in orders[start : start + 500]])
    seen = {each.order_id for each in hear_of(listener, *map(timer, orders))}
    assert seen == {order.order_id for order in orders}
    assert {group_of(order_id, GROUPS) for order_id in seen} == set(range(GROUPS))
