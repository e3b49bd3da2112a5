"""Order ids: a UUIDv7 that tells every tier where its order is, without asking anybody.

Layout (RFC 9562, section 5.7), most significant bits first:

    48 bits   creation time, Unix milliseconds       which database to ask first
     4 bits   version, 7
    12 bits   rand_a: the partition                  hash(merchant_id, merchant_ref) mod 4096
     2 bits   variant, 0b10
    62 bits   rand_b: random

The partition is the same in every deployment. A deployment's *group* is the partition modulo its number of groups: the Kafka
partition, the Redis hash tag, part of the Cassandra partition key, and what picks the MySQL shard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from uuid import UUID

from orderctl.errors import InvalidOrderId

PARTITIONS = 4096
PARTITION_DIGITS = slice(15, 18)
"""Where an id's text holds the partition, in hexadecimal."""
FUTURE_MAX_MS = 60_000
"""An id from further in the future than this was not made by us: it is refused before any tier is asked."""

RandomBytes = Callable[[int], bytes]

_TIME_MAX_MS = (1 << 48) - 1
_FIRST = str(UUID(int=0))
_VARIANT = 0b10 << 62
_RAND_B_MASK = (1 << 62) - 1
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch


def partition_of(merchant_id: str, merchant_ref: str) -> int:
    """The partition, 0 … 4095, of the order that `merchant_id` calls `merchant_ref`.

    BLAKE2b-64 over both texts, the first one's length in front so that no two pairs read the same.
    """
    merchant = merchant_id.encode()
    digest = blake2b(len(merchant).to_bytes(2, "big") + merchant + merchant_ref.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % PARTITIONS


def new_order_id(created_ms: int, partition: int, random: RandomBytes) -> str:
    """A fresh id's canonical text.

    Args:
        created_ms: creation time in Unix milliseconds.
        partition: 0 … 4095, see `partition_of`.
        random: gives that many random bytes; `os.urandom` outside tests.

    """
    if not (0 <= created_ms <= _TIME_MAX_MS and 0 <= partition < PARTITIONS):
        raise ValueError(f"no UUIDv7 holds time {created_ms} ms and partition {partition}")
    rand_b = int.from_bytes(random(8), "big") & _RAND_B_MASK
    return str(UUID(int=created_ms << 80 | 7 << 76 | partition << 64 | _VARIANT | rand_b))


def parse_order_id(text: str, *, now_ms: int) -> str:
    """The canonical form of an order id that somebody sent.

    Raises:
        InvalidOrderId: `text` is no UUIDv7 of 36 characters, or it is from more than 60 s after `now_ms`.

    """
    canonical = text.lower() if text.isascii() else ""
    if not is_canonical(canonical):
        raise InvalidOrderId("not an order id: expected a UUIDv7 such as 0197b0de-5c00-7abc-8000-0123456789ab")
    if created_ms(canonical) > now_ms + FUTURE_MAX_MS:
        raise InvalidOrderId("not an order id of ours: it is from more than 60 s in the future")
    return canonical


def are_order_ids(texts: Sequence[str], *, now_ms: int) -> bool:
    """Whether `parse_order_id` would return each of these as it is."""
    return all(map(_CANONICAL, texts)) and created_ms(max(texts, default=_FIRST)) <= now_ms + FUTURE_MAX_MS


def is_canonical(text: str) -> bool:
    """Whether `text` is an order id as everything inside writes it."""
    return _CANONICAL(text) is not None


def created_ms(order_id: str) -> int:
    """When the order was created, in Unix milliseconds. `order_id` is canonical text."""
    return int(order_id[0:8] + order_id[9:13], 16)


def partition_in(order_id: str) -> int:
    """The partition that the id holds, 0 … 4095. `order_id` is canonical text."""
    return int(order_id[15:18], 16)


def group_of(order_id: str, groups: int) -> int:
    """The order's group in a deployment of `groups` (a power of two up to 4096). `order_id` is canonical text."""
    return int(order_id[15:18], 16) & (groups - 1)


def is_valid_group_count(groups: int) -> bool:
    """Whether a deployment may have that many groups: a power of two, 1 … 4096."""
    return 0 < groups <= PARTITIONS and groups & (groups - 1) == 0
