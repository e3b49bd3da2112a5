"""What the contract suite of expirations needs: a cache whose time passes and whose memory runs out, and who listens to it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from orderctl.stores.cache import CacheStore
from orderctl.stores.expirations import Expiration, Expirations

PATIENCE_S = 60.0
"""A node looks for what has expired when it has time; nothing takes longer."""


class ExpirationsHarness(Protocol):
    """One cache, empty at first, and listeners that are connected before anything goes."""

    def open(self) -> CacheStore:
        """A store on the cache; the harness closes it."""
        ...

    def listen(self) -> Expirations:
        """A further listener, as if in another process; the harness closes it."""
        ...

    def now_us(self) -> int:
        """The time by the cache node's own clock, Unix microseconds."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let that much pass on the node's clock."""
        ...

    def run_out_of_memory(self) -> None:
        """Let the cache evict all that it may."""
        ...


def hear(listener: Expirations, until: Callable[[list[Expiration]], bool]) -> list[Expiration]:
    """What goes until the condition holds."""
    heard: list[Expiration] = []
    begin_s = monotonic()
    while not until(heard):
        assert monotonic() - begin_s < PATIENCE_S, f"waited {PATIENCE_S} s in vain; heard {heard[-5:]}"
        heard += listener.poll(0.05)
    return heard


def hear_of(listener: Expirations, *wanted: Expiration) -> list[Expiration]:
    """What goes until each of these has."""
    return hear(listener, lambda heard: set(wanted) <= set(heard))
