"""Commands in Redis's protocol: the same bytes as the driver's own packer makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.connection import Connection

from orderctl.stores.redis_words import spell, spell_put

WORDS = st.lists(st.binary() | st.text() | st.integers())


@given(st.sampled_from(["MGET", "EVALSHA"]), WORDS)
def test_words_are_spelt_as_the_driver_does(name: str, words: list[bytes | str | int]) -> None:
    """Whatever they are: bytes, text that is more bytes than characters, numbers."""
    packed = Connection(protocol=2).pack_command(name, *words)  # type: ignore[no-untyped-call]
    assert spell([name, *words]) == b"".join(packed)


@given(WORDS, st.binary(), st.integers(1), st.integers(0))
def test_a_put_is_three_words(words: list[bytes | str | int], value: bytes, ttl_ms: int, timer_at_ms: int) -> None:
    """Anywhere in a command, and counted as three."""
    put = spell_put(value, ttl_ms, timer_at_ms)
    assert spell(["X", *words, put, put]) == spell(["X", *words, *(value, ttl_ms, timer_at_ms) * 2])
