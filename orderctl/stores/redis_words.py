"""Commands as the protocol spells them (RESP): a list of byte strings, each behind its length.

The driver packs a word at a time, at a quarter of a microsecond each with hiredis, and cache-sync sends four an event. Here words
that belong together are spelt in one go. What comes back is the driver's to parse.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

Argument = bytes | str | int


class Spelt(Struct, frozen=True, gc=False):
    """Words that are spelt already: how many, and their bytes."""

    count: int
    data: bytes


Word = Argument | Spelt


def spell(command: Iterable[Word]) -> bytes:
    """The bytes that are sent for `command`."""
    count, parts = 0, [b""]
    for word in command:
        if isinstance(word, Spelt):
            count += word.count
            parts.append(word.data)
        else:
            data = word if isinstance(word, bytes) else str(word).encode()
            count += 1
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    parts[0] = b"*%d\r\n" % count
    return b"".join(parts)


def spell_put(value: bytes, ttl_ms: int, timer_at_ms: int) -> Spelt:
    """The three words that go with an entry that is to be applied."""
    ttl, timer = b"%d" % ttl_ms, b"%d" % timer_at_ms
    data = b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(value), value, len(ttl), ttl, len(timer), timer)
    return Spelt(3, data)
