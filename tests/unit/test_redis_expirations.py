"""What a keyspace event says of an order, and which flags a server lacks."""

from __future__ import annotations

import pytest

from orderctl.stores.expirations import Expiration, Gone
from orderctl.stores.redis import entry_key, timer_key
from orderctl.stores.redis_expirations import expiration_of, missing_flags
from orderctl.stores.redis_subscription import EVICTED, EXPIRED, KeyEvent

ORDER_ID = "018bcfe5-6800-7abc-8000-000000000001"
GROUPS = 64


@pytest.mark.parametrize(
    ("channel", "key", "what"),
    [
        (EXPIRED, timer_key(ORDER_ID, GROUPS), Gone.TIMER),
        (EVICTED, timer_key(ORDER_ID, GROUPS), Gone.TIMER_EVICTED),
        (EXPIRED, entry_key(ORDER_ID, GROUPS), Gone.RECORD_EXPIRED),
        (EVICTED, entry_key(ORDER_ID, GROUPS), Gone.RECORD_EVICTED),
    ],
)
def test_what_an_event_says(channel: bytes, key: str, what: Gone) -> None:
    """By the key's first letter and the channel."""
    assert expiration_of(KeyEvent(channel, key.encode()), GROUPS) == Expiration(ORDER_ID, what)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"session:17",
        b"m:{60}",
        b"t:{60}:",
        b"t:{60}:018bcfe5-6800-4abc-8000-000000000001",
        b"t:{60}:018BCFE5-6800-7ABC-8000-000000000001",
        b"t:{60}:018bcfe5-6800-7abc-8000-000000000001x",
        b"t:{60}:018bcfe5-6800-7abc-8000-00000000000\n",
        b"t:{61}:018bcfe5-6800-7abc-8000-000000000001",
        b"t:{060}:018bcfe5-6800-7abc-8000-000000000001",
        b"x:{60}:018bcfe5-6800-7abc-8000-000000000001",
        b"\xff\xfe",
    ],
)
def test_another_program_s_key_says_nothing(key: bytes) -> None:
    """A cache may be shared; and ours are in their own group's place."""
    assert expiration_of(KeyEvent(EXPIRED, timer_key(ORDER_ID, GROUPS).encode()), GROUPS) is not None
    assert expiration_of(KeyEvent(EXPIRED, key), GROUPS) is None
    assert expiration_of(KeyEvent(b"__keyevent@0__:del", timer_key(ORDER_ID, GROUPS).encode()), GROUPS) is None


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ("", "Exe"),
        ("Kxeg", "E"),
        ("KEA", ""),
        ("A", "E"),
        ("E", "xe"),
        ("Kg$E", "xe"),
        ("xeE", ""),
        ("m", "Exe"),
    ],
)
def test_which_flags_are_missing(flags: str, missing: str) -> None:
    """`A` stands for every kind of event, but not for how they are told."""
    assert missing_flags(flags) == missing
