"""Order ids sort by time, carry their partition, and nothing else passes for one."""

import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderctl import ids
from orderctl.errors import InvalidOrderId

TIMES = st.integers(0, 2**48 - 1)
PARTITIONS = st.integers(0, ids.PARTITIONS - 1)
RANDOM = st.binary(min_size=8, max_size=8)
NOW_MS = 1_760_000_000_000


@given(TIMES, PARTITIONS, RANDOM)
def test_an_id_is_a_uuidv7_that_gives_back_what_it_was_made_of(created_ms: int, partition: int, random: bytes) -> None:
    """Standard tools read the id, and we read our two facts out of it."""
    order_id = ids.new_order_id(created_ms, partition, lambda _: random)
    standard = uuid.UUID(order_id)
    assert (standard.version, standard.variant) == (7, uuid.RFC_4122)
    assert str(standard) == order_id
    assert ids.created_ms(order_id) == created_ms
    assert ids.partition_in(order_id) == partition
    assert standard.int & (2**62 - 1) == int.from_bytes(random, "big") & (2**62 - 1)


@given(TIMES, TIMES, PARTITIONS, PARTITIONS)
def test_ids_sort_by_time(one_ms: int, other_ms: int, one: int, other: int) -> None:
    """As text and as bytes, an earlier id comes first, whatever its partition."""
    first = ids.new_order_id(one_ms, one, os.urandom)
    second = ids.new_order_id(other_ms, other, os.urandom)
    if one_ms != other_ms:
        assert (first < second) is (one_ms < other_ms)
        assert (uuid.UUID(first).bytes < uuid.UUID(second).bytes) is (one_ms < other_ms)


@pytest.mark.parametrize(
    ("merchant_id", "merchant_ref", "partition"),
    [("demo", "order-1", 3679), ("demo", "order-2", 132), ("a", "bc", 3172), ("ab", "c", 2288), ("ü", "x", 1287)],
)
def test_the_partition_is_the_same_for_ever(merchant_id: str, merchant_ref: str, partition: int) -> None:
    """Every deployment, now and later, puts a merchant's reference into the same partition: these numbers never change."""
    assert ids.partition_of(merchant_id, merchant_ref) == partition


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_partitions_and_groups_are_in_range(merchant_id: str, merchant_ref: str) -> None:
    """A group is a partition modulo the number of groups, so that doubling the groups splits each in two."""
    partition = ids.partition_of(merchant_id, merchant_ref)
    order_id = ids.new_order_id(NOW_MS, partition, os.urandom)
    for groups in (1, 64, 4096):
        assert ids.group_of(order_id, groups) == partition % groups


def test_partitions_are_spread_evenly() -> None:
    """40 960 references over 64 groups: no group is more than a fifth off its share."""
    counts = [0] * 64
    for number in range(40_960):
        counts[ids.partition_of("merchant", f"ref-{number}") % 64] += 1
    assert all(512 <= count <= 768 for count in counts)


@given(st.text(max_size=40))
def test_rubbish_is_no_id(text: str) -> None:
    """What is not 36 characters of a UUIDv7 is refused."""
    with pytest.raises(InvalidOrderId):
        ids.parse_order_id(text, now_ms=NOW_MS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0199bd6e-5c00-4abc-8000-0123456789ab",  # version 4
        "0199bd6e-5c00-7abc-c000-0123456789ab",  # another variant
        "0199bd6e5c007abc80000123456789ab",
        "{0199bd6e-5c00-7abc-8000-0123456789ab}",
        "0199bd6e-5c00-7abc-8000-0123456789ab\n",
        " 0199bd6e-5c00-7abc-8000-0123456789ab",
        "0199bd6e-5c00-7abc-8000-0123456789a\uff22",  # a full-width B, which lower() leaves a letter
        "0199bd6e-5c00-7abc-8000-0123456789a\u0663",  # an Arabic digit, which int() reads
    ],
)
def test_near_misses_are_no_ids(text: str) -> None:
    """Other versions and variants, other spellings and other digits are refused."""
    with pytest.raises(InvalidOrderId):
        ids.parse_order_id(text, now_ms=NOW_MS)


def test_upper_case_is_the_same_id() -> None:
    """RFC 9562 lets readers take either case; everything inside uses the canonical one."""
    order_id = ids.new_order_id(NOW_MS, 0xABC, os.urandom)
    assert ids.parse_order_id(order_id.upper(), now_ms=NOW_MS) == order_id


def test_ids_from_the_future_are_refused_beyond_a_minute() -> None:
    """Clocks differ a little; by more than 60 s they do not, so nobody made such an id."""
    at_the_edge = ids.new_order_id(NOW_MS + 60_000, 1, os.urandom)
    assert ids.parse_order_id(at_the_edge, now_ms=NOW_MS) == at_the_edge
    with pytest.raises(InvalidOrderId, match="future"):
        ids.parse_order_id(ids.new_order_id(NOW_MS + 60_001, 1, os.urandom), now_ms=NOW_MS)


@pytest.mark.parametrize(("created_ms", "partition"), [(-1, 0), (2**48, 0), (0, -1), (0, 4096)])
def test_what_does_not_fit_is_not_squeezed_in(created_ms: int, partition: int) -> None:
    """A time or a partition outside its bits is an error, not another id."""
    with pytest.raises(ValueError, match="no UUIDv7"):
        ids.new_order_id(created_ms, partition, os.urandom)


def test_group_counts_are_powers_of_two_up_to_4096() -> None:
    """Thirteen of them."""
    assert [n for n in range(-2, 5000) if ids.is_valid_group_count(n)] == [2**k for k in range(13)]
