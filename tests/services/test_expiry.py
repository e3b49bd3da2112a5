"""Expiry: what goes out of the cache comes to the log, once or more, and nothing that fails is more than a delay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from orderctl.errors import TierUnavailable
from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.services.expiry import PUBLISH_MAX, Expired, Expiry, decode_expired, encode_expired
from orderctl.stores.cache import Applied
from orderctl.stores.log import EXPIRED, Message, Place
from tests.contract.cache_harness import GROUPS, an_order, at_version, put
from tests.services.tiers import Bench, Failing, away


def an_expiry(bench: Bench, kept_max: int = 100) -> Expiry:
    """A new one stands for another process."""
    return Expiry(
        bench.tiers.expirations,
        bench.log,
        groups=GROUPS,
        clock=bench.clock,
        metrics=bench.metrics,
        kept_max=kept_max,
    )


def due(bench: Bench, number: int = 1, in_s: float = 0.5) -> list[Order]:
    """Open orders that have timers and nothing else."""
    deadline_at = bench.clock.now_us() + int(in_s * 1_000_000)
    orders = [structs.replace(an_order(), deadline_at=deadline_at) for _ in range(number)]
    assert bench.tiers.cache.apply([put(order) for order in orders]) == [Applied.NOTHING] * number
    return orders


def published(bench: Bench) -> list[Message]:
    """All of `orders.expired`."""
    return [m for group in range(GROUPS) for m in bench.tiers.log.read(Place(EXPIRED, group), 0, 10_000)]


def ids(orders: list[Order]) -> list[str]:
    return sorted(order.order_id for order in orders)


def test_a_timer_becomes_a_message(bench: Bench) -> None:
    """In the partition that is the order's group, by the order's id; it says when it was heard."""
    expiry, [order] = an_expiry(bench), due(bench)
    assert expiry.listen(0) == 0
    bench.clock.advance(0.7)
    assert (expiry.listen(0), expiry.kept) == (1, 1)
    assert (expiry.publish(), expiry.kept) == (0, 0)
    [message] = published(bench)
    assert message.place == Place(EXPIRED, group_of(order.order_id, GROUPS))
    assert message.key == order.order_id.encode()
    assert message.value == b'{"order_id":"%s","expired_at_ms":%d}' % (message.key, bench.clock.now_us() // 1000)
    assert decode_expired(message.value) == Expired(order.order_id, bench.clock.now_us() // 1000)
    assert bench.counted("expired_published_total") == bench.counted("cache_gone_total", what="timer") == 1


def test_nothing_else_becomes_a_message(bench: Bench) -> None:
    """An entry whose time is over is counted; an order that was settled in time is not heard of."""
    expiry, [settled] = an_expiry(bench), due(bench)
    bench.tiers.cache.apply([put(at_version(settled, 2, status=Status.SUCCESS))])
    bench.tiers.cache.lookup([settled.order_id], tokens=[b"t" * 16])
    bench.clock.advance(3)
    assert expiry.listen(0) == 1
    assert expiry.publish() == 0
    assert published(bench) == []
    assert bench.counted("cache_gone_total", what="record_expired") == 1


def test_it_waits_for_something_to_go(bench: Bench) -> None:
    """Up to the time given, and no longer than until something goes."""
    expiry = an_expiry(bench)
    due(bench)
    begin_us = bench.clock.now_us()
    assert expiry.listen(0.25) == 0
    assert bench.clock.now_us() - begin_us == 250_000
    assert expiry.listen(60) == 1
    assert bench.clock.now_us() - begin_us < 1_000_000


def test_what_the_log_does_not_take_is_published_later(bench: Bench) -> None:
    """Each once, whatever was heard meanwhile."""
    expiry, first = an_expiry(bench), due(bench, 3)
    bench.clock.advance(1)
    expiry.listen(0)
    bench.log.error = away("log")
    for _ in range(3):
        with pytest.raises(TierUnavailable):
            expiry.publish()
    second = due(bench, 2)
    bench.clock.advance(1)
    expiry.listen(0)
    bench.log.error = None
    assert expiry.kept == 5
    assert expiry.publish() == 0
    assert sorted(decode_expired(message.value).order_id for message in published(bench)) == ids(first + second)


def test_an_order_that_is_told_of_twice_is_one_message(bench: Bench) -> None:
    """While it waits; it was late when it was heard first."""
    expiry, [order] = an_expiry(bench), due(bench)
    bench.clock.advance(1)
    expiry.listen(0)
    heard_ms = bench.clock.now_us() // 1000
    bench.tiers.cache.apply([put(order)])
    bench.clock.advance(1)
    assert (expiry.listen(0), expiry.kept) == (1, 1)
    expiry.publish()
    assert [decode_expired(message.value) for message in published(bench)] == [Expired(order.order_id, heard_ms)]


def test_beyond_the_bound_the_newest_are_left_to_the_sweep(bench: Bench) -> None:
    """And counted."""
    expiry, first = an_expiry(bench, kept_max=3), due(bench, 3)
    bench.clock.advance(1)
    expiry.listen(0)
    due(bench, 4)
    bench.clock.advance(1)
    assert (expiry.listen(0), expiry.kept) == (4, 3)
    assert bench.counted("expired_dropped_total") == 4
    expiry.publish()
    assert sorted(decode_expired(message.value).order_id for message in published(bench)) == ids(first)


def test_a_flood_is_published_in_bounded_batches(bench: Bench) -> None:
    """So that a step ends."""
    expiry = an_expiry(bench, kept_max=3 * PUBLISH_MAX)
    due(bench, PUBLISH_MAX + 10)
    bench.clock.advance(1)
    while expiry.listen(0):
        pass
    assert (expiry.publish(), expiry.publish(), expiry.publish()) == (10, 0, 0)
    assert len(published(bench)) == PUBLISH_MAX + 10


def test_of_several_instances_each_does_what_it_hears(bench: Bench) -> None:
    """Together they publish every order's message at least once."""
    one, other = an_expiry(bench), an_expiry(bench)
    orders = due(bench, 50)
    bench.clock.advance(1)
    for expiry in (one, other, one, other):
        expiry.listen(0)
        expiry.publish()
    assert {decode_expired(message.value).order_id for message in published(bench)} == set(ids(orders))


def test_a_cache_that_tells_nothing_is_said(bench: Bench) -> None:
    """What was heard before is published all the same."""
    failing = Failing(bench.tiers.expirations)
    expiry = Expiry(failing, bench.log, groups=GROUPS, clock=bench.clock, metrics=bench.metrics)
    due(bench, 2)
    bench.clock.advance(1)
    expiry.listen(0)
    failing.error = away("cache")
    with pytest.raises(TierUnavailable, match="cache"):
        expiry.listen(0)
    assert expiry.publish() == 0
    assert len(published(bench)) == 2


@given(st.integers(0, 2**53))
def test_a_message_comes_back(expired_at_ms: int) -> None:
    """As it was; a reader that knows more members than these takes it, too."""
    expired = Expired(an_order().order_id, expired_at_ms)
    assert decode_expired(encode_expired(expired)) == expired
    assert decode_expired(encode_expired(expired)[:-1] + b',"more":1}') == expired


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"{}",
        b'{"order_id":"018bcfe5-6800-7abc-8000-000000000001"}',
        b'{"order_id":"018BCFE5-6800-7ABC-8000-000000000001","expired_at_ms":1}',
        b'{"order_id":"x","expired_at_ms":1}',
        b'{"order_id":null,"expired_at_ms":1}',
        b'{"order_id":"018bcfe5-6800-7abc-8000-000000000001","expired_at_ms":"1"}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_message_is_refused(value: bytes) -> None:
    """In one way, whatever it is."""
    with pytest.raises(ValueError):  # noqa: PT011  messages of a library
        decode_expired(value)
